"""The adversarial games: their formulas written again in numpy, their directions, their minima."""

import numpy as np
import pytest
import torch

from traiNNer.archs import build_network
from traiNNer.losses import LOSSES, DiscriminatorOutput, LossInputs
from traiNNer.losses.adversarial import discriminator_output
from traiNNer.registry import ConfigError

TYPES = ["vanilla", "lsgan", "hinge", "wgan", "wgan_softplus", "ragan", "r3gan"]
every_type = pytest.mark.parametrize("gan_type", TYPES)


def gan(gan_type, **options):
    return LOSSES.build({"type": "GANLoss", "gan_type": gan_type, **options})


def logits(seed=0, scales=((2, 1, 5, 4), (2, 1, 3, 2)), shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    return [shift + 2 * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in scales]


def generator_loss(loss, output, gt):
    """What the generator minimises at fixed logits: the discriminator here gives them whatever the images are."""
    images = torch.zeros(2, 3, 1, 1), torch.ones(2, 3, 1, 1)
    outputs = {0.0: DiscriminatorOutput(tuple(output), {}), 1.0: DiscriminatorOutput(tuple(gt), {})}
    return loss(LossInputs(*images, lq=images[0], discriminator=lambda image: outputs[image.mean().item()]))


def softplus(x):
    return np.log1p(np.exp(x))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


GENERATOR = {  # of the logits of ground truth and output
    "vanilla": lambda r, f: -np.log(sigmoid(f)).mean(),
    "lsgan": lambda r, f: ((f - 1) ** 2).mean(),
    "hinge": lambda r, f: -f.mean(),
    "wgan": lambda r, f: -f.mean(),
    "wgan_softplus": lambda r, f: softplus(-f).mean(),
    "ragan": lambda r, f: (
        -(np.log(1 - sigmoid(r - f.mean())).mean() + np.log(sigmoid(f - r.mean())).mean()) / 2
    ),
    "r3gan": lambda r, f: -np.log(sigmoid(f - r)).mean(),
}
CRITIC = {
    "vanilla": lambda r, f: -np.log(sigmoid(r)).mean() - np.log(1 - sigmoid(f)).mean(),
    "lsgan": lambda r, f: ((r - 1) ** 2).mean() + (f**2).mean(),
    "hinge": lambda r, f: np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean(),
    "wgan": lambda r, f: f.mean() - r.mean(),
    "wgan_softplus": lambda r, f: softplus(-r).mean() + softplus(f).mean(),
    "ragan": lambda r, f: (
        -(np.log(sigmoid(r - f.mean())).mean() + np.log(1 - sigmoid(f - r.mean())).mean()) / 2
    ),
    "r3gan": lambda r, f: -np.log(sigmoid(r - f)).mean(),
}


@every_type
def test_both_losses_are_those_of_the_papers_averaged_over_scales(gan_type):
    gt, output = logits(0), logits(1)
    scales = [(r.numpy(), f.numpy()) for r, f in zip(gt, output, strict=True)]
    loss = gan(gan_type)
    assert generator_loss(loss, output, gt).item() == pytest.approx(
        np.mean([GENERATOR[gan_type](r, f) for r, f in scales]), rel=1e-12
    )
    assert loss.discriminator_loss(gt, output).item() == pytest.approx(
        np.mean([CRITIC[gan_type](r, f) for r, f in scales]), rel=1e-12
    )


@pytest.mark.parametrize(("real", "fake"), [(0.9, 0.0), (1.0, 0.2), (0.8, 0.1)])
def test_labels_move_both_losses(real, fake):
    gt, output = logits(0, scales=[(3, 1)]), logits(1, scales=[(3, 1)])
    r, f = gt[0].numpy(), output[0].numpy()

    def entropy(x, label):
        return -(label * np.log(sigmoid(x)) + (1 - label) * np.log(1 - sigmoid(x))).mean()

    def square(x, label):
        return ((x - label) ** 2).mean()

    for gan_type, distance in (("vanilla", entropy), ("lsgan", square)):
        loss = gan(gan_type, real_label_val=real, fake_label_val=fake)
        assert generator_loss(loss, output, gt).item() == pytest.approx(distance(f, real))
        assert loss.discriminator_loss(gt, output).item() == pytest.approx(
            distance(r, real) + distance(f, fake)
        )


@every_type
def test_the_generator_raises_logits_of_the_output_and_the_critic_lowers_them(gan_type):
    # between the labels and within the margins, where every type wants to move every logit
    gt, output = ([scale.sigmoid().requires_grad_() for scale in logits(seed)] for seed in (0, 1))
    loss = gan(gan_type)
    by_generator = torch.autograd.grad(generator_loss(loss, output, gt), output)
    by_critic = torch.autograd.grad(loss.discriminator_loss(gt, output), [*output, *gt])
    assert all((slope < 0).all() for slope in by_generator)
    assert all((slope > 0).all() for slope in by_critic[: len(output)])
    assert all((slope < 0).all() for slope in by_critic[len(output) :])


@every_type
def test_both_players_are_reached_through_a_discriminator_and_pull_the_output_apart(gan_type):
    torch.manual_seed(0)
    net = build_network({"type": "patchgan", "ndf": 4, "n_layers": 2, "num_d": 2}).eval()
    constants = [p for name, p in net.named_parameters() if name.endswith("6.bias")]
    for constant in constants:
        torch.nn.init.constant_(constant, 0.5)  # logits between the labels of lsgan
    output, gt = torch.rand(2, 3, 17, 20).requires_grad_(), torch.rand(2, 3, 17, 20)
    loss = gan(gan_type)
    inputs = LossInputs(
        output=output, gt=gt, lq=gt, discriminator=lambda image: discriminator_output(net, image)
    )
    (by_generator,) = torch.autograd.grad(loss(inputs), output)
    loss.discriminator_loss(
        discriminator_output(net, gt).logits, discriminator_output(net, output).logits
    ).backward()
    assert (by_generator.abs().amax((2, 3)) > 0).all()
    assert torch.cosine_similarity(by_generator.flatten(), output.grad.flatten(), dim=0) < -0.5
    for constant in constants:  # many types weigh differences of logits, which do not see them
        constant.grad = None
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert len(gradients) == len(list(net.parameters())) - len(constants)
    assert all(gradient.abs().max() > 1e-7 for gradient in gradients)


@every_type
def test_the_generator_gets_no_gradient_through_the_ground_truth(gan_type):
    given = LossInputs(
        output=torch.full((1, 3, 2, 2), 0.2),
        gt=(gt := torch.full((1, 3, 2, 2), 0.6)).requires_grad_(),
        lq=gt,
        discriminator=lambda image: DiscriminatorOutput((image.mean((1, 2, 3), keepdim=True),), {}),
    )
    given.output.requires_grad_()
    gan(gan_type)(given).backward()
    assert given.output.grad.abs().min() > 0
    assert gt.grad is None


BALANCE = {  # losses (of generator and critic) where neither player can tell: r = f
    "vanilla": (np.log(2), 2 * np.log(2), 0.0),
    "wgan_softplus": (np.log(2), 2 * np.log(2), 0.0),
    "lsgan": (0.25, 0.5, 0.5),
    "hinge": (0.0, 2.0, 0.0),
    "wgan": (0.0, 0.0, 0.0),
    "ragan": (np.log(2), np.log(2), 0.0),
    "r3gan": (np.log(2), np.log(2), 0.0),
}


@every_type
def test_where_output_and_ground_truth_look_the_same_the_critic_says_so(gan_type):
    ours, theirs, level = BALANCE[gan_type]
    same = [torch.full((4, 1, 3, 3), level, dtype=torch.float64)]
    loss = gan(gan_type)
    assert generator_loss(loss, same, same).item() == pytest.approx(ours)
    assert loss.discriminator_loss(same, same).item() == pytest.approx(theirs)
    for shift in (-1e-3, 1e-3):  # the one level at which it is best, or any level
        moved = [scale + shift for scale in same]
        assert loss.discriminator_loss(moved, moved).item() >= theirs - 1e-12


@pytest.mark.parametrize("gan_type", ["vanilla", "lsgan", "hinge", "wgan_softplus"])
def test_a_perfect_critic_pays_nothing_and_one_fooled_pays(gan_type):
    low, high = (0.0, 1.0) if gan_type == "lsgan" else (-40.0, 40.0)
    gt, output = [torch.full((2, 1), high).double()], [torch.full((2, 1), low).double()]
    loss = gan(gan_type)
    assert loss.discriminator_loss(gt, output).item() == pytest.approx(0, abs=1e-12)
    assert loss.discriminator_loss(output, gt).item() >= 2


@every_type
@pytest.mark.parametrize("level", [100.0, 3e4])
def test_losses_and_gradients_are_finite_at_logits_that_overflow_exp(gan_type, level):
    gt, output = ([(level * scale).float().requires_grad_() for scale in logits(seed)] for seed in (0, 1))
    loss = gan(gan_type)
    for value in (generator_loss(loss, output, gt), loss.discriminator_loss(gt, output)):
        assert value.isfinite()
        slopes = torch.autograd.grad(value, output)
        assert all(slope.isfinite().all() for slope in slopes)


@every_type
def test_every_scale_counts_the_same(gan_type):
    gt, output = logits(0), logits(1)
    loss = gan(gan_type)
    alone = [loss.discriminator_loss([r], [f]).item() for r, f in zip(gt, output, strict=True)]
    assert loss.discriminator_loss(gt, output).item() == pytest.approx(sum(alone) / 2)
    thrice = [scale.repeat(3, 1, 1, 1) for scale in gt], [scale.repeat(3, 1, 1, 1) for scale in output]
    assert loss.discriminator_loss(*thrice).item() == pytest.approx(sum(alone) / 2)


def test_r3gan_pairs_each_place_and_ragan_compares_with_means():
    gt, output = logits(0), logits(1)
    turned = [scale.flip(2) for scale in output]
    for gan_type, same in (("r3gan", False), ("ragan", True)):
        loss = gan(gan_type)
        found, other = (loss.discriminator_loss(gt, side).item() for side in (output, turned))
        assert (found == pytest.approx(other, rel=1e-12)) is same


def test_penalties_are_those_of_r3gan_unless_something_else_is_asked_for():
    assert (gan("r3gan").gt_penalty, gan("r3gan").output_penalty) == (3.0, 3.0)
    assert (gan("hinge").gt_penalty, gan("hinge").output_penalty) == (0.0, 0.0)
    asked = gan("hinge", r1_weight=10.0), gan("r3gan", r2_weight=0.0)
    assert [(loss.gt_penalty, loss.output_penalty) for loss in asked] == [(10.0, 0.0), (3.0, 0.0)]


WRONG = [
    ({"gan_type": "hinge", "real_label_val": 0.9}, "do nothing with gan_type hinge"),
    ({"gan_type": "r3gan", "fake_label_val": 0.1}, "take gan_type vanilla or lsgan"),
    ({"gan_type": "lsgan", "real_label_val": 0.0}, "must be above fake_label_val"),
    ({"gan_type": "vanilla", "real_label_val": 1.2}, "probabilities"),
    ({"gan_type": "hinge", "r1_weight": -1}, "r1_weight and r2_weight of 0 or more"),
    ({"gan_type": "r4gan"}, "gan_type"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_options_that_do_not_fit_are_explained(options, message):
    with pytest.raises(ConfigError, match=message):
        LOSSES.build({"type": "GANLoss", **options})


def test_files_that_write_the_usual_labels_load_with_every_type():
    for gan_type in TYPES:
        gan(gan_type, real_label_val=1.0, fake_label_val=0.0)


def test_without_a_discriminator_the_remedy_is_named():
    image = torch.zeros(1, 3, 4, 4)
    with pytest.raises(ConfigError, match="set network_d"):
        gan("vanilla")(LossInputs(image, image, image))
