"""Our small generators compute what spandrel's do with the same weights, and spandrel reads our files."""

import re

import pytest
import torch
from safetensors.torch import save_file
from spandrel import ModelLoader
from spandrel.architectures.Compact import Compact
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.PLKSR import RealPLKSR
from spandrel.architectures.SPAN import SPAN

from traiNNer.archs import build_network, load_network
from traiNNer.registry import ConfigError

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


@pytest.mark.parametrize("spec", CASES, ids=_name)
def test_training_starts_as_the_reference_does(spec):
    options = {key: value for key, value in spec.items() if key != "type"}
    torch.manual_seed(0)
    first, second = (REFERENCES[spec["type"]](**options).state_dict() for _ in range(2))
    ours = build_network(spec).state_dict()
    for key, start in first.items():
        if torch.equal(start, second[key]):  # ones, zeros, slopes, places
            assert torch.equal(ours[key], start), key
        elif start.numel() > 400 and "eval_conv" not in key:  # which is a product of the others
            assert ours[key].std() == pytest.approx(start.std().item(), rel=0.15), key


def test_esrgans_dense_blocks_start_at_a_tenth_of_he_normal_and_the_rest_at_torchs_default():
    torch.manual_seed(0)
    for key, start in build_network({"type": "esrgan", "num_block": 1}).state_dict().items():
        if ".rdb" in key and key.endswith("bias"):
            assert not start.any(), key
        elif key.endswith("weight"):
            fan_in = start[0].numel()
            expected = 0.1 * (2 / fan_in) ** 0.5 if ".rdb" in key else (1 / (3 * fan_in)) ** 0.5
            assert start.std().item() == pytest.approx(expected, rel=0.05), key


ESRGAN_CASES = [
    ({"scale": 4}, {"scale": 4}),
    ({"scale": 2}, {"scale": 4, "shuffle_factor": 2, "in_nc": 12}),
    ({"scale": 1}, {"scale": 4, "shuffle_factor": 4, "in_nc": 48}),
    ({"scale": 2, "use_pixel_unshuffle": False}, {"scale": 2}),
    ({"scale": 1, "use_pixel_unshuffle": False}, {"scale": 1}),
    ({"scale": 8}, {"scale": 8}),
]
"""Our options and spandrel's for the same network."""


@pytest.mark.parametrize(("spec", "options"), ESRGAN_CASES, ids=str)
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


@pytest.mark.parametrize("spec", CASES, ids=_name)
@torch.no_grad()
def test_a_foreign_file_loads_with_what_it_tells_and_what_is_said(spec, tmp_path):
    options = {key: value for key, value in spec.items() if key != "type"}
    theirs = _shaken(REFERENCES[spec["type"]](**options)).eval()
    save_file(theirs.state_dict(), tmp_path / "net.safetensors")
    said = {key: value for key, value in options.items() if key in {*UNTOLD, "rgb_mean"}}
    ours = load_network(tmp_path / "net.safetensors", **said)
    image = _image(19, 14)
    _assert_same(ours(image), theirs(image.clone()))


@pytest.mark.parametrize(("spec", "options"), ESRGAN_CASES, ids=str)
def test_an_esrgan_file_tells_its_scale_and_whether_pixels_are_folded(spec, options, tmp_path):
    net = build_network({"type": "esrgan", "num_feat": 8, "num_block": 2, "num_grow_ch": 4, **spec})
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    found = load_network(tmp_path / "net.safetensors")
    assert found.facts == net.facts
    assert (found.unshuffle, found.factors) == (net.unshuffle, net.factors)


@pytest.mark.parametrize(("spec", "options"), ESRGAN_CASES, ids=str)
@torch.no_grad()
def test_esrgan_files_under_the_names_of_their_time_load(spec, options, tmp_path):
    theirs = _shaken(ESRGAN(num_filters=8, num_blocks=2, **options)).eval()
    ours = build_network({"type": "esrgan", "num_feat": 8, "num_block": 2, "num_grow_ch": 32, **spec})
    numbered = theirs.state_dict()
    assert "model.1.sub.0.RDB1.conv1.0.weight" in numbered
    today = dict(zip(ours.state_dict(), numbered.values(), strict=True))
    trunk = {re.sub(r"^body\.", "RRDB_trunk.", name).replace("rdb", "RDB"): t for name, t in today.items()}
    for old, new in {"conv_body": "trunk_conv", "conv_up": "upconv", "conv_hr": "HRconv"}.items():
        trunk = {re.sub(f"^{old}", new, name): t for name, t in trunk.items()}
    image = _image(19, 14)
    for weights in (numbered, trunk):
        save_file(weights, tmp_path / "net.safetensors")
        found = load_network(tmp_path / "net.safetensors")
        assert found.facts == ours.facts
        _assert_same(found(image), theirs(image.clone()))


def test_an_activation_without_weights_is_asked_for(tmp_path):
    save_file(
        build_network({"type": "compact", "act_type": "relu"}).state_dict(), tmp_path / "net.safetensors"
    )
    with pytest.raises(ConfigError, match=r"does not tell act_type.*act_type=\.\.\."):
        load_network(tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("in_conv.weight", "up_blocks.0.magic_upsample.sharpen.conv_h.weight"), "MUNet of November 2025"),
    ],
)
def test_relatives_that_are_not_supported_are_refused_by_name(names, says, tmp_path):
    save_file({name: torch.zeros(1) for name in names}, tmp_path / "net.safetensors")
    with pytest.raises(ConfigError, match=says):
        load_network(tmp_path / "net.safetensors")
