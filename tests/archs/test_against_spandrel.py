"""Our small generators compute what spandrel's do with the same weights, and spandrel reads our files."""

import pytest
import torch
from spandrel import ModelLoader
from spandrel.architectures.Compact import Compact
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.PLKSR import RealPLKSR
from spandrel.architectures.SPAN import SPAN

from traiNNer.archs import build_network

RGB = {"num_in_ch": 3, "num_out_ch": 3}


def _compact(scale, **options):
    return Compact(upscale=scale, **options)


def _span(scale, **options):
    return SPAN(upscale=scale, **RGB, **options)


def _realplksr(scale, upsampler="pixelshuffle", layer_norm=True, **options):
    return RealPLKSR(
        upscaling_factor=scale, layer_norm=layer_norm, dysample=upsampler == "dysample", **options
    )


REFERENCES = {"compact": _compact, "span": _span, "realplksr": _realplksr}

CASES = [
    {"type": "compact", "scale": 2, "num_feat": 16, "num_conv": 3},
    {"type": "compact", "scale": 4, "num_feat": 24, "num_conv": 2, "act_type": "leakyrelu"},
    {"type": "compact", "scale": 3, "num_feat": 8, "num_conv": 1, "act_type": "relu"},
    {"type": "compact", "scale": 4},
    {"type": "span", "scale": 2, "feature_channels": 16},
    {"type": "span", "scale": 4, "feature_channels": 48},
    {"type": "span", "scale": 3, "feature_channels": 12, "norm": False},
    {"type": "span", "scale": 2, "feature_channels": 12, "img_range": 1.0, "rgb_mean": (0.5, 0.4, 0.3)},
    {"type": "realplksr", "scale": 2, "dim": 16, "n_blocks": 2, "kernel_size": 7},
    {"type": "realplksr", "scale": 4, "dim": 32, "n_blocks": 2, "layer_norm": False},
    {"type": "realplksr", "scale": 1, "dim": 16, "n_blocks": 1, "use_ea": False, "split_ratio": 0.5},
    {"type": "realplksr", "scale": 2, "dim": 16, "n_blocks": 1, "upsampler": "dysample"},
    {"type": "realplksr", "scale": 3, "dim": 16, "n_blocks": 1, "upsampler": "dysample"},
    {
        "type": "realplksr",
        "scale": 4,
        "dim": 24,
        "n_blocks": 2,
        "layer_norm": False,
        "norm_groups": 8,
        "dropout": 0.3,
        "upsampler": "dysample",
    },
]
UNTOLD = {"act_type", "norm_groups", "img_range"}
"""Options that neither keys nor shapes tell."""


def _name(spec):
    return "-".join(f"{value}" for value in spec.values())


def _shaken(net):
    """The network with every parameter moved, so that none hides behind an initial zero or one."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
    return net


def _image(height, width, n=2):
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(1))


def _assert_same(ours, theirs):
    limit = 1e-5 * max(1.0, theirs.abs().max().item())
    assert (ours - theirs).abs().max().item() < limit


@pytest.mark.parametrize("spec", CASES, ids=_name)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@torch.no_grad()
def test_the_same_weights_give_the_same_output(spec, training):
    ours = _shaken(build_network(spec))
    options = {key: value for key, value in spec.items() if key != "type"}
    if training:
        options.pop("dropout", None)  # drops other channels in the two networks
        ours = _shaken(build_network({"type": spec["type"], **options}))
    theirs = REFERENCES[spec["type"]](**options)
    theirs.load_state_dict(ours.state_dict())
    image = _image(19, 14)
    _assert_same(ours.train(training)(image), theirs.train(training)(image.clone()))


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        ({"scale": 4}, {"scale": 4}),
        ({"scale": 2}, {"scale": 4, "shuffle_factor": 2, "in_nc": 12}),
        ({"scale": 1}, {"scale": 4, "shuffle_factor": 4, "in_nc": 48}),
        ({"scale": 2, "use_pixel_unshuffle": False}, {"scale": 2}),
        ({"scale": 1, "use_pixel_unshuffle": False}, {"scale": 1}),
        ({"scale": 8}, {"scale": 8}),
    ],
    ids=str,
)
@torch.no_grad()
def test_esrgan_gives_the_same_output_through_its_own_keys_and_the_old_ones(spec, options):
    ours = _shaken(build_network({"type": "esrgan", "num_feat": 16, "num_block": 2, **spec}))
    theirs = ESRGAN(num_filters=16, num_blocks=2, **options)
    image = _image(19, 14)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    _assert_same(ours(image), theirs(image))
    _assert_same(ours(image), ModelLoader().load_from_state_dict(ours.state_dict()).model(image))


@pytest.mark.parametrize("spec", [case for case in CASES if not UNTOLD & case.keys()], ids=_name)
@torch.no_grad()
def test_spandrel_finds_out_what_our_weights_are(spec):
    ours = _shaken(build_network(spec)).eval()
    found = ModelLoader().load_from_state_dict(ours.state_dict())
    image = _image(19, 14, n=1)
    assert found.scale == spec["scale"]
    _assert_same(ours(image), found.model.eval()(image.clone()))
