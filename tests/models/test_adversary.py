"""Generator and discriminator in one step: as two loops written by hand, and both or neither."""

import copy
import math
import weakref

import pytest
import torch
import torch.nn.functional as F
from tiny import CPU, FACTS, Waves, assert_same, tiny_network
from torch import nn

from traiNNer.control import Controls
from traiNNer.data.loader import Batch, TrainLoader
from traiNNer.losses import LOSSES
from traiNNer.losses.adversarial import AdversarialLoss
from traiNNer.models.adversary import Adversary
from traiNNer.models.networks import Networks
from traiNNer.models.sr_model import BatchTooLarge, SRModel, StepSettings, WeightedLoss
from traiNNer.optim.ema import Ema
from traiNNer.optim.learner import Learner
from traiNNer.optim.loss_scaler import LossScaler
from traiNNer.runtime.distributed import DistributedContext


class Critic(nn.Module):
    """Two convolutions with a normalised weight, and a counter that every forward moves."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 3, padding=1))
        self.out = nn.Conv2d(4, 1, 3, padding=1)
        self.register_buffer("seen", torch.zeros(()))
        self.double()

    def forward_features(self, x):
        if self.training:
            self.seen += 1
        features = F.softplus(self.conv(x))
        return {"conv": features, "logits": self.out(features)}


def make_model(
    gan=None,
    *,
    critic=None,
    generator=None,
    trains_at=lambda step: True,
    window=10,
    reg_every=1,
    **schedule,
):
    net, critic = generator or tiny_network(), critic or Critic()
    net[1] = nn.Identity()
    adversarial = LOSSES.build({"type": "GANLoss", **(gan or {"gan_type": "vanilla"})})
    assert isinstance(adversarial, AdversarialLoss)
    losses = {
        "l1": WeightedLoss(LOSSES.build({"type": "L1Loss"}), lambda step: 1.0),
        "gan": WeightedLoss(adversarial, lambda step: 0.1 if trains_at(step) else 0.0),
    }
    adversary = Adversary(
        Learner(critic, torch.optim.AdamW(critic.parameters(), lr=1e-3, fused=True), lambda time: 1.0),
        adversarial,
        trains_at=trains_at,
        precision=CPU,
        penalty_every=reg_every,
        **schedule,
    )
    learner = Learner(net, torch.optim.AdamW(net.parameters(), lr=1e-2, fused=True), lambda time: 1.0)
    return SRModel(
        Networks(learner, FACTS, ema=Ema(net, 0.9), adversary=adversary),
        losses,
        settings=StepSettings(7, window=window),
        precision=CPU,
        collectives=DistributedContext(),
    )


@pytest.fixture
def batch() -> Batch:
    return next(TrainLoader(Waves(), seed=1).batches(0, 8, 8))


def controls(micro_batch=8):
    return Controls(batch=8, micro_batch=micro_batch, lq_size=8)


def train(model, batch, steps, micro_batch=8):
    for step in range(steps):
        model.optimize_parameters(batch, step, controls(micro_batch))
    return model


def weights(net):
    return [parameter.detach().clone() for parameter in net.parameters()]


def by_hand(batch, steps, reg_every):
    """The usual two loops: the generator against a frozen discriminator, then the discriminator, R1 and R2."""
    net, critic = tiny_network(), Critic()
    net[1] = nn.Identity()
    first, second = (
        torch.optim.AdamW(net.parameters(), lr=1e-2),
        torch.optim.AdamW(critic.parameters(), lr=1e-3),
    )
    lq, gt = ((x.permute(0, 3, 1, 2).double() / 255) for x in (batch.lq, batch.gt))

    def logits(images):
        return critic.forward_features(images)["logits"]

    def slope(images):
        images = images.detach().requires_grad_()
        out = logits(images)
        (gradient,) = torch.autograd.grad(out.sum(), images, create_graph=True)
        return gradient.pow(2).sum((1, 2, 3)).mean() / out[0].numel()

    for step in range(steps):
        output = net(lq)
        generator_loss = (output - gt).abs().mean() + 0.1 * F.softplus(-logits(output)).mean()
        gradients = torch.autograd.grad(generator_loss, list(net.parameters()))
        loss = F.softplus(-logits(gt)).mean() + F.softplus(logits(output.detach())).mean()
        if step % reg_every == 0:
            loss = loss + reg_every * (2.0 / 2 * slope(gt) + 1.0 / 2 * slope(output))
        second.zero_grad()
        loss.backward()
        for parameter, gradient in zip(net.parameters(), gradients, strict=True):
            parameter.grad = gradient
        first.step()
        second.step()
    return net, critic


@pytest.mark.parametrize("reg_every", [1, 2])
def test_a_step_is_the_two_loops_written_by_hand(batch, reg_every):
    gan = {"gan_type": "vanilla", "r1_weight": 2.0, "r2_weight": 1.0}
    model = train(make_model(gan, reg_every=reg_every), batch, 5)
    assert model.adversary is not None
    net, critic = by_hand(batch, 5, reg_every)
    for mine, theirs in ((model.generator.net, net), (model.adversary.learner.net, critic)):
        for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


def test_the_discriminator_s_numbers_are_its_loss_and_mean_logits(batch):
    model = make_model({"gan_type": "vanilla", "r1_weight": 1.0}, reg_every=2)
    critic = copy.deepcopy(model.adversary.learner.net).train()
    net = copy.deepcopy(model.generator.net)
    lq, gt = ((x.permute(0, 3, 1, 2).double() / 255) for x in (batch.lq, batch.gt))
    numbers = train(model, batch, 4).read_metrics()
    critic.forward_features(net(lq))  # the generator's turn, which moves the estimate of the norm
    real, fake = critic.forward_features(gt)["logits"], critic.forward_features(net(lq))["logits"]
    assert numbers.discriminator["out_d_real"][0] == pytest.approx(real.mean().item())
    assert numbers.discriminator["out_d_fake"][0] == pytest.approx(fake.mean().item())
    expected = F.softplus(-real).mean() + F.softplus(fake).mean()
    assert numbers.discriminator["l_d"][0] == pytest.approx(expected.item())
    assert [math.isnan(x) for x in numbers.discriminator["l_d_penalty"]] == [False, True, False, True]
    assert numbers.applied == {"g": [True] * 4, "d": [True] * 4}
    assert len(numbers.grad_norm["d"]) == 4


@pytest.mark.parametrize("micro_batch", [1, 3, 4])
def test_any_split_into_micro_batches_moves_both_alike(batch, micro_batch):
    gan = {"gan_type": "hinge", "r1_weight": 1.0}
    freeze = {
        "critic": Critic().eval()
    }  # the norm is estimated anew in every forward, so their number matters
    whole = train(make_model(gan, critic=copy.deepcopy(freeze["critic"])), batch, 3)
    split = train(make_model(gan, critic=copy.deepcopy(freeze["critic"])), batch, 3, micro_batch)
    for name in ("g", "d"):
        for one, other in zip(
            weights(whole.networks.learners[name].net),
            weights(split.networks.learners[name].net),
            strict=True,
        ):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11)
    one, other = whole.read_metrics().discriminator, split.read_metrics().discriminator
    for name, values in one.items():
        assert values == pytest.approx(other[name], rel=1e-8)


class Failing(Critic):
    """Fails at a call: `cause` is raised, or its logits are not finite."""

    def __init__(self, at, cause=None):
        super().__init__()
        self.at, self.cause, self.calls = at, cause, 0

    def forward_features(self, x):
        self.calls += 1
        maps = super().forward_features(x)
        if self.calls == self.at:
            if self.cause:
                raise self.cause
            maps["logits"] = maps["logits"] * math.inf
        return maps


def everything(model):
    return copy.deepcopy({k: v for k, v in model.state_dict().items() if k != "numbers"})


@pytest.mark.parametrize("call", [4, 5, 6], ids=["for the generator", "ground truth", "output"])
def test_a_number_that_is_not_finite_in_either_leaves_both_unchanged(batch, call):
    model = make_model(critic=Failing(call))
    train(model, batch, 1)
    before = everything(model)
    model.optimize_parameters(batch, 1, controls())
    assert_same(before, everything(model))
    model.optimize_parameters(batch, 2, controls())
    numbers = model.read_metrics()
    assert numbers.applied == {"g": [True, False, True], "d": [True, False, True]}
    learned = model.adversary.learner.net.state_dict()["out.weight"]
    assert not torch.equal(learned, before["discriminator"]["net"]["out.weight"])


@pytest.mark.parametrize("call", [1, 2, 3, 4, 6, 7, 8], ids=lambda call: f"call {call}")
def test_memory_that_does_not_suffice_for_either_leaves_both_unchanged(batch, call):
    model = make_model(critic=Failing(call, torch.OutOfMemoryError("pretend")))
    before = everything(model)
    with pytest.raises(BatchTooLarge):
        for step in range(3):
            before = everything(model)
            model.optimize_parameters(batch, step, controls(4))
    assert_same(before, everything(model))
    assert not model.generator.gradients() and not model.adversary.learner.gradients()


class Stingy(torch.optim.AdamW):
    """Has no memory for its state at the first attempt."""

    tried = 0

    def step(self, closure=None):
        self.tried += 1
        if self.tried == 1:
            raise torch.OutOfMemoryError("pretend")
        return super().step(closure)


@pytest.mark.parametrize(("who", "since"), [("g", 0), ("d", 0), ("d", 10)])
def test_an_optimizer_without_memory_for_its_state_leaves_both_unchanged(batch, who, since):
    model = make_model(trains_at=lambda step: step >= since)
    learner = model.networks.learners[who]
    learner.optimizer = Stingy(learner.net.parameters(), lr=1e-3, fused=True)
    for step in range(since):
        model.optimize_parameters(batch, step, controls())
    model.read_metrics()
    before = everything(model)
    with pytest.raises(BatchTooLarge):
        model.optimize_parameters(batch, since, controls())
    assert_same(before, everything(model))
    model.optimize_parameters(batch, since, controls())
    assert model.read_metrics().applied == {"g": [True], "d": [True]}


class FullElsewhere(DistributedContext):
    """One of two processes: the first time that they ask after an update, the other had no memory for it."""

    def __init__(self, model):
        super().__init__()
        self.model, self.told = model, False

    def any(self, flag):
        first = self.model.updating and not self.told
        self.told |= first
        return flag or first


def test_memory_that_does_not_suffice_for_an_update_elsewhere_leaves_both_unchanged_here(batch):
    model = train(make_model(trains_at=lambda step: step >= 10), batch, 10)
    model.read_metrics()
    model._collectives = FullElsewhere(model)
    before = everything(model)
    with pytest.raises(BatchTooLarge):
        model.optimize_parameters(batch, 10, controls())
    assert_same(before, everything(model))
    model.optimize_parameters(batch, 10, controls())
    assert model.read_metrics().applied == {"g": [True], "d": [True]}


def test_each_network_gets_its_own_gradient_alone(batch):
    model = make_model()
    caught = {}
    for name, learner in model.networks.learners.items():
        step = learner.step

        def noting(*args, _name=name, _learner=learner, _step=step, **options):
            caught[_name] = [gradient.clone() for gradient in _learner.gradients()]
            return _step(*args, **options)

        learner.step = noting
    twin = make_model()
    model.optimize_parameters(batch, 0, controls())
    inputs = twin._forward(CPU.images(batch.lq), CPU.images(batch.gt), None)
    total = (inputs.output - inputs.gt).abs().mean() + 0.1 * twin.losses["gan"].module(inputs)
    total.backward()
    assert not twin.adversary.learner.gradients()
    for mine, theirs in zip(caught["g"], twin.generator.gradients(), strict=True):
        torch.testing.assert_close(mine, theirs)
    twin.generator.discard_gradient()
    twin.adversary.accumulate(inputs.gt, inputs.output.detach(), share=1.0, step=0)
    assert not twin.generator.gradients()
    for mine, theirs in zip(caught["d"], twin.adversary.learner.gradients(), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"generator_every": 2}, [0, 1, 0, 1, 0]),
        ({"generator_start": 2}, [0, 0, 1, 1, 1]),
        ({"generator_every": 2, "generator_start": 3}, [0, 0, 0, 1, 0]),
    ],
)
def test_a_generator_whose_update_is_skipped_is_measured_all_the_same(batch, schedule, expected):
    model = make_model(**schedule)
    moved = {"g": [], "d": []}
    for step in range(5):
        before = {name: weights(learner.net) for name, learner in model.networks.learners.items()}
        model.optimize_parameters(batch, step, controls())
        for name, learner in model.networks.learners.items():
            pairs = zip(before[name], weights(learner.net), strict=True)
            moved[name].append(any(not torch.equal(a, b) for a, b in pairs))
    numbers = model.read_metrics()
    assert moved == {"g": [bool(turn) for turn in expected], "d": [True] * 5}
    assert all(norm > 0 for norm in numbers.grad_norm["g"]) and numbers.applied["g"] == [True] * 5


def test_before_it_trains_a_discriminator_costs_and_changes_nothing(batch):
    model = make_model(trains_at=lambda step: step >= 3, window=3)
    before = everything(model)["discriminator"]
    train(model, batch, 3)
    numbers = model.read_metrics()
    assert_same(before, everything(model)["discriminator"])
    assert model.adversary.learner.net.seen == 0
    assert (
        numbers.discriminator == {} and numbers.applied == {"g": [True] * 3} and "gan" not in numbers.losses
    )
    model.optimize_parameters(batch, 3, controls())
    assert set(model.read_metrics().applied) == {"g", "d"}


def test_a_return_to_the_snapshot_takes_both_back(batch):
    model = train(make_model(), batch, 2)
    model.networks.take_snapshot()
    kept = {name: weights(learner.net) for name, learner in model.networks.learners.items()}
    train(model, batch, 3)
    model.networks.roll_back()
    for name, learner in model.networks.learners.items():
        assert all(torch.equal(a, b) for a, b in zip(kept[name], weights(learner.net), strict=True))
        assert not learner.optimizer.state


def test_both_go_on_from_a_saved_state_bit_for_bit(batch):
    model = train(make_model(), batch, 3)
    model.networks.take_snapshot()
    other = make_model()
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    for each in (model, other):
        each.optimize_parameters(batch, 3, controls())
    assert_same(model.state_dict(), other.state_dict())


def test_a_discriminator_that_is_new_to_a_run_begins_afresh(batch):
    model = make_model()
    state = train(make_model(), batch, 2).state_dict()
    state["discriminator"] = None
    before = weights(model.adversary.learner.net)
    model.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model.adversary.learner.net), strict=True))


def test_both_learning_rates_follow_one_schedule_and_one_factor(batch):
    model = make_model()
    model.networks.set_learning_rates(0, 0.25)
    assert model.networks.learning_rates == {"g": 0.25e-2, "d": 0.25e-3}


def test_a_generator_whose_update_is_skipped_lowers_its_loss_scale_all_the_same(batch):
    model = make_model(generator_start=10)
    model.generator.scaler = LossScaler(torch.device("cpu"))
    model.losses["l1"] = WeightedLoss(model.losses["l1"].module, lambda step: math.inf if step == 0 else 1.0)
    model.optimize_parameters(batch, 0, controls())
    model.optimize_parameters(batch, 1, controls())
    assert model.generator.scaler.scale.item() == 32768
    assert model.read_metrics().applied == {"g": [False, True], "d": [False, True]}


def test_a_step_given_up_after_a_return_to_the_snapshot_leaves_what_was_returned_to(batch):
    model = train(make_model(), batch, 2)
    model.networks.take_snapshot()
    kept = everything(model)
    train(model, batch, 3)
    model.networks.roll_back()
    model.networks.discard_step()
    for network in ("generator", "discriminator"):
        assert_same(kept[network]["net"], everything(model)[network]["net"])


def test_the_maps_of_the_generator_s_turn_are_gone_in_that_of_the_discriminator(batch):
    model, maps, alive = make_model(), [], []
    discriminate, accumulate = model.adversary.discriminate, model.adversary.accumulate

    def noting(images):
        outputs = discriminate(images)
        maps.extend(weakref.ref(tap) for tap in outputs.taps.values())
        return outputs

    def counting(*args, **options):
        alive.append(sum(each() is not None for each in maps))
        return accumulate(*args, **options)

    model.adversary.discriminate, model.adversary.accumulate = noting, counting
    model.optimize_parameters(batch, 0, controls(4))
    assert len(maps) == 2 and alive == [0, 0]


def test_processes_average_the_buffers_that_a_step_has_moved_and_no_constants(batch):
    class Collectives(DistributedContext):
        def average(self, tensors):
            averaged.extend(tensors)

    averaged, critic = [], Critic()
    critic.register_buffer("constant", torch.ones(3, dtype=torch.float64))
    model = make_model(critic=critic, generator_start=5)
    model._collectives = Collectives()
    for step in range(3):
        averaged.clear()
        model.optimize_parameters(batch, step, controls())
        if step == 1:
            model.networks.discard_step()
        assert any(each is critic.seen for each in averaged)
        assert not any(each is critic.constant for each in averaged)


def test_gradients_at_the_output_are_measured_through_a_discriminator_in_fp16(batch):
    class Faint(Critic):
        def __init__(self, dtype):
            super().__init__()
            self.dtype = dtype

        def forward_features(self, x):
            maps = super().forward_features(x)
            return {**maps, "logits": (maps["logits"].to(self.dtype) * 1e-4).double()}

    norms, half, double = [], torch.float16, torch.float64
    for dtype, scaler in ((half, None), (half, LossScaler(torch.device("cpu"))), (double, None)):
        model = make_model(critic=Faint(dtype))
        model.generator.scaler = scaler
        model.optimize_parameters(batch, 0, controls())
        norms.append(model.read_metrics().gradient_at_output)
    unscaled, scaled, exact = norms
    assert scaled["gan"] == pytest.approx(exact["gan"], rel=1e-2)
    assert unscaled["gan"] != pytest.approx(exact["gan"], rel=1e-2)
    assert scaled["l1"] == pytest.approx(exact["l1"])
