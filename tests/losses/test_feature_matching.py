"""Feature matching over a real discriminator, against its maps compared one by one."""

import pytest
import torch

from traiNNer.archs import build_network
from traiNNer.losses import LOSSES, LossInputs
from traiNNer.losses.adversarial import discriminator_output
from traiNNer.registry import ConfigError

DISCRIMINATORS = [
    {"type": "munet", "num_feat": 8, "ch_mult": [1, 2]},
    {"type": "unetdiscriminatorsn", "num_feat": 4},
    {"type": "patchgan", "ndf": 4, "num_d": 2},
    {"type": "vggstylediscriminator", "num_feat": 4, "input_size": 32},
]


def given(spec):
    """The discriminator, and inputs that it judges."""
    torch.manual_seed(0)
    net = build_network(spec).eval()
    output, gt = torch.rand(2, 3, 32, 32).requires_grad_(), torch.rand(2, 3, 32, 32)
    return net, LossInputs(
        output=output, gt=gt, lq=gt, discriminator=lambda image: discriminator_output(net, image)
    )


def matching(**options):
    return LOSSES.build({"type": "FeatureMatchingLoss", **options})


@pytest.mark.parametrize("spec", DISCRIMINATORS, ids=lambda spec: spec["type"])
def test_the_loss_is_the_mean_over_maps_of_their_mean_error(spec):
    net, inputs = given(spec)
    with torch.no_grad():
        output, gt = net.forward_features(inputs.output), net.forward_features(inputs.gt)
    errors = {name: (output[name] - gt[name]).abs().mean().item() for name in output if "logits" not in name}
    assert len(errors) > 5
    assert matching()(inputs).item() == pytest.approx(sum(errors.values()) / len(errors), rel=1e-5)
    first, *_, last = errors
    some = matching(layers=[first, last])(inputs).item()
    assert some == pytest.approx((errors[first] + errors[last]) / 2, rel=1e-5)
    weighted = matching(layer_weights={first: 1.0, last: 3.0})(inputs).item()
    assert weighted == pytest.approx((errors[first] + 3 * errors[last]) / 4, rel=1e-5)


@pytest.mark.parametrize("spec", DISCRIMINATORS, ids=lambda spec: spec["type"])
def test_the_gradient_goes_through_the_maps_of_the_output_alone(spec):
    net, inputs = given(spec)
    inputs.gt.requires_grad_()
    matching()(inputs).backward()
    assert inputs.output.grad.abs().amax((1, 2, 3)).min() > 0
    assert inputs.gt.grad is None
    *_, (name, bias) = net.named_parameters()  # of the layer that makes the logits
    assert bias.grad is None, name


def test_a_map_that_the_discriminator_does_not_have_is_refused_with_the_nearest():
    _, inputs = given(DISCRIMINATORS[1])
    with pytest.raises(ConfigError, match="no map 'conv11'; did you mean 'conv1'"):
        matching(layers=["conv11"])(inputs)


WRONG = [
    ({"layers": ["conv1"], "layer_weights": {"conv1": 1.0}}, "leave one out"),
    ({"layers": []}, "no layer has a weight"),
    ({"criterion": "fro"}, "criterion"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_wrong_options_are_explained(options, message):
    with pytest.raises(ConfigError, match=message):
        matching(**options)


def test_without_a_discriminator_the_remedy_is_named():
    image = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ConfigError, match="set network_d"):
        matching()(LossInputs(image, image, image))
