"""Files of weights: what is read, what is found out from them, what is asked for and refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_networks import noise
from torch import nn

from traiNNer.archs import build_network, load_network
from traiNNer.archs.loading import load_weights
from traiNNer.archs.weights_file import read_weights
from traiNNer.data.images.image_io import read_image
from traiNNer.metrics import psnr
from traiNNer.registry import ConfigError
from traiNNer.release.weights import write_weights

CHECKPOINTS = "checkpoints/2xParagonSR2_{}.safetensors"


def image(path):
    """A picture as `(1, 3, h, w)`, 0 to 1."""
    pixels = torch.from_numpy(read_image(path)).float() / 255
    return pixels.permute(2, 0, 1)[None]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("Realtime_fidelity", {"upsampler_alpha": 0.0}, 36.64),
        ("Nano_Pretrain", {"scale": 2}, 33.99),
    ],
)
@torch.no_grad()
def test_published_weights_reach_their_score_on_set5(data_root, name, options, expected):
    net = load_network(data_root / CHECKPOINTS.format(name), **options)
    scores = []
    for lq in sorted((data_root / "bench/Set5/LRx2").glob("*.png")):
        sr = net(image(lq))
        gt = image(data_root / "bench/Set5/HR" / lq.name)[..., : sr.shape[2], : sr.shape[3]]
        scores.append(psnr(sr, gt, crop_border=2, y_channel=True).item())
    assert len(scores) == 5
    # the published figures were measured without rounding the output to 8 bit, which costs 0.003 to 0.01 dB
    assert sum(scores) / 5 == pytest.approx(expected, abs=0.01)


@torch.no_grad()
def test_the_december_stream_loads_as_recorded_with_layer_scales_of_one(data_root, golden_root):
    net = load_network(data_root / CHECKPOINTS.format("Stream_fidelity_c0"))
    gammas = [p for key, p in net.named_parameters() if key.endswith("scale.gamma")]
    assert len(gammas) == 6
    assert all((gamma == 1).all() for gamma in gammas)
    recorded = load_file(golden_root / "paragonsr2" / "c0_stream_dec21ckpt_x2.safetensors")
    torch.testing.assert_close(net(recorded["in.e"]), recorded["out.e"], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "asked"), [("paragonsr2_realtime", "upsampler_alpha"), ("paragonsr2_magic_nano", "scale")]
)
def test_what_the_file_cannot_tell_is_asked_for_by_name(name, asked, tmp_path):
    net = build_network({"type": name, "scale": 2})
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    with pytest.raises(ConfigError, match=f"does not tell {asked}.*{asked}=\\.\\.\\."):
        load_network(tmp_path / "net.safetensors")


NETWORKS = [
    {"type": "paragonsr2_nano", "scale": 3},
    {
        "type": "paragonsr2_nano",
        "scale": 2,
        "num_feat": 22,
        "ffn_expansion": 1.37,
    },  # int(22 * (30 / 22)) is 29
    {"type": "paragonsr2_tiny", "scale": 2, "use_content_aware": False, "use_attention": False},
    {
        "type": "paragonsr2_xs",
        "scale": 2,
        "fast_body_mode": False,
        "use_norm": False,
        "use_channel_mod": False,
    },
    {"type": "paragonsr2_magic_anime", "scale": 4},
    {"type": "paragonsr2_realtime", "scale": 4},
    {"type": "paragonsr2_stream", "scale": 3},
    {
        "type": "paragonsr2_dual",
        "scale": 2,
        "block": "photo",
        "num_feat": 20,
        "num_groups": 2,
        "num_blocks": 1,
    },
    {"type": "paragonsr2_dual", "scale": 2, "block": "photo", "num_feat": 20, "num_groups": 1}
    | {"num_blocks": 2, "attention": False},
    {"type": "paragonsr2_dual", "scale": 2, "block": "pro", "num_feat": 32, "num_groups": 1, "num_blocks": 2},
    {"type": "paragonsr2_dual", "scale": 2, "block": "pro", "num_feat": 32, "num_groups": 1, "num_blocks": 2}
    | {"attention": False},
]


def written(spec, path, metadata=None):
    """A network with random weights, and the file that holds them."""
    torch.manual_seed(7)
    net = build_network(spec).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape), alpha=0.05)
    save_file(net.state_dict(), path, metadata)
    return net


@pytest.mark.parametrize("spec", NETWORKS, ids=str)
@torch.no_grad()
def test_shapes_tell_everything_but_what_is_said(spec, tmp_path):
    net = written(spec, path := tmp_path / "net.safetensors")
    said = {"upsampler_alpha": net.options["upsampler_alpha"], "scale": spec["scale"]}
    if spec.get("block") == "pro" and spec.get("attention", True):
        said["window_size"] = net.options["window_size"]
    lq = noise(1, 3, 21, 18)
    torch.testing.assert_close(load_network(path, **said)(lq), net(lq), atol=0, rtol=0)


@torch.no_grad()
def test_metadata_tells_what_shapes_cannot_and_overrides_win(tmp_path):
    spec = {"type": "paragonsr2_nano", "scale": 2, "upsampler_alpha": 0.9, "padding": "replicate"}
    torch.manual_seed(0)
    options = {key: value for key, value in spec.items() if key != "type"}
    metadata = {"architecture": "ParagonSR2_Nano", "options": json.dumps(options), "author": "somebody"}
    net = written(spec, path := tmp_path / "net.safetensors", metadata)
    lq = noise(1, 3, 12, 12)
    assert torch.equal(load_network(path)(lq), net(lq))
    other = load_network(path, upsampler_alpha=0.0)
    assert other.options | {"upsampler_alpha": 0.9} == load_network(path).options
    assert not torch.equal(other(lq), net(lq))


@torch.no_grad()
def test_defaults_of_the_named_architecture_count_as_told(tmp_path):
    metadata = {"architecture": "paragonsr2_magic_nano", "options": "{}", "scale": "3"}
    net = written({"type": "paragonsr2_magic_nano", "scale": 3}, path := tmp_path / "n.safetensors", metadata)
    assert load_network(path)(noise(1, 3, 8, 8)).shape == (1, 3, 24, 24)
    assert load_network(path).options["band_kernel_size"] == net.options["band_kernel_size"]


def test_a_network_loads_by_its_metadata_or_by_the_type_that_the_caller_names(tmp_path):
    spec = {"type": "munet", "num_feat": 8, "ch_mult": [1, 2]}
    options = json.dumps({"num_feat": 8, "ch_mult": [1, 2]})
    path = tmp_path / "d.safetensors"
    written(spec, path, {"architecture": "munet", "options": options})
    assert load_network(path).facts.kind == "discriminator"
    written(spec, path)
    assert load_network(path, type="munet", num_feat=8, ch_mult=[1, 2]).facts.kind == "discriminator"


def test_weights_of_no_known_network_are_refused_with_what_they_call_themselves(tmp_path):
    save_file({"a.weight": torch.ones(1)}, path := tmp_path / "x.safetensors", {"architecture": "Foo"})
    with pytest.raises(ConfigError, match="none of the known networks; it calls itself 'Foo'"):
        load_network(path)


def test_a_mistyped_override_is_named_before_anything_is_asked_for(tmp_path):
    written({"type": "paragonsr2_realtime", "scale": 2}, path := tmp_path / "net.safetensors")
    with pytest.raises(ConfigError, match="did you mean 'upsampler_alpha'"):
        load_network(path, upsampler_alfa=0.0)


@pytest.mark.parametrize(
    ("names", "generation"),
    [
        ({"up.0.weight": 4, "conv_mid.weight": 4, "body.0.blocks.0.gated_conv.conv1.weight": 4}, "d "),
        ({"up.0.weight": 4, "conv_mid.weight": 4, "body.0.blocks.0.token_ca.token_dict": 3}, "c-atd"),
        ({"detail_upsampler.up_conv.weight": 4, "global_detail_gain": 0}, "b3"),
        ({"detail_upsampler.stages.0.up_conv.weight": 4, "body.0.mscf.weight": 4}, "v7 or v8"),
        ({"detail_upsampler.up_conv.weight": 4, "conv_in.weight": 4}, "b2"),
        ({"hr_conv_in.weight": 4, "body.0.blocks.0.transformer.dw_mixer.0.weight": 4}, "static"),
        ({"hr_conv_in.weight": 4, "body.0.blocks.0.ls1.gamma": 1}, "a3"),
        ({"hr_conv_in.weight": 4, "body.0.blocks.0.ls1.gamma": 4}, "a4"),
    ],
)
def test_other_generations_are_refused_by_name(names, generation, tmp_path):
    path = tmp_path / "old.safetensors"
    save_file({name: torch.zeros([1] * dims) for name, dims in names.items()}, path)
    with pytest.raises(ConfigError, match=f"ParagonSR2 of generation {generation}.*not supported"):
        load_network(path)


WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        {"params": WEIGHTS},
        {"params": {"a.weight": torch.zeros(2, 3)}, "params_ema": WEIGHTS, "iter": 5},
        {"epoch": 3, "state_dict": {f"module.{name}": t for name, t in WEIGHTS.items()}},
        {f"_orig_mod.module.{name}": t for name, t in WEIGHTS.items()},
        {f"module.module.{name.replace('.', '._orig_mod.')}": t for name, t in WEIGHTS.items()},
        {"state_dict": {"params_ema": WEIGHTS}},
    ],
    ids=range(7),
)
def test_wrappers_of_trainers_are_taken_off(content, tmp_path):
    torch.save(content, path := tmp_path / "net.pth")
    weights, metadata = read_weights(path)
    assert metadata == {}
    assert weights.keys() == WEIGHTS.keys()
    assert all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_what_a_file_says_about_itself_comes_back_from_either_format(suffix, tmp_path):
    about = {"architecture": "compact", "color": "grey", "options": "{}"}
    write_weights(path := tmp_path / f"net.{suffix}", WEIGHTS, about)
    assert read_weights(path)[1] == about


@pytest.mark.parametrize("text", ["a note", "[1, 2]", '{"seed": 1}', "[" * 100_000, 5], ids=range(5))
def test_what_another_program_calls_metadata_is_passed_over(text, tmp_path):
    torch.save({"params": WEIGHTS, "metadata": text}, path := tmp_path / "net.pth")
    assert read_weights(path)[1] == {}


class Hostile:
    """Runs code when unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("code of a file was run",))


def test_a_file_that_would_run_code_is_refused(tmp_path):
    torch.save({"params": {"a": Hostile()}}, path := tmp_path / "net.pth")
    with pytest.raises(ConfigError, match="refused"):
        read_weights(path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("absent.pth", None, "no such file"),
        ("short.safetensors", b"\x08\0\0\0\0\0\0\0{}", "not a readable"),
        ("short.pth", b"", "not a readable|refused"),
        ("text.pth", b"hello, these are no weights", "not a readable|refused"),
        ("cut.pth", b"PK\x03\x04 a broken archive", "not a readable|refused"),
    ],
)
def test_a_broken_file_is_named(name, content, says, tmp_path):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=says) as caught:
        read_weights(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [{"params": {}}, {"a": 3}, [1, 2], {"x": WEIGHTS, "y": WEIGHTS}])
def test_a_file_without_weights_by_name_is_refused(content, tmp_path):
    torch.save(content, path := tmp_path / "net.pth")
    with pytest.raises(ConfigError, match="no weights|several sets of weights"):
        read_weights(path)


def test_two_names_that_become_one_are_refused(tmp_path):
    torch.save({"module.a": torch.ones(1), "a": torch.zeros(1)}, path := tmp_path / "net.pth")
    with pytest.raises(ConfigError, match="two tensors"):
        read_weights(path)


def other_weights():
    """Weights for a linear layer and a convolution: one fits, one has another shape, one another name."""
    return {"0.weight": torch.full((2, 3), 5.0), "0.bias": torch.zeros(4), "1.wieght": torch.ones(1, 1, 1, 1)}


def test_strict_loading_names_every_difference_and_changes_nothing():
    net = nn.Sequential(nn.Linear(3, 2), nn.Conv2d(1, 1, 1, bias=False))
    before = {name: t.clone() for name, t in net.state_dict().items()}
    with pytest.raises(ConfigError) as caught:
        load_weights(net, other_weights(), strict=True)
    assert caught.value.problems == (
        "0.bias: should be (2), the file has (4)",
        "1.weight (1, 1, 1, 1): missing; nearest: 1.wieght",
        "1.wieght (1, 1, 1, 1): unknown to the network; nearest: 1.weight",
    )
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())


def test_loose_loading_copies_what_fits_and_lists_the_rest():
    net = nn.Sequential(nn.Linear(3, 2), nn.Conv2d(1, 1, 1, bias=False)).double()
    bias = net[0].bias.clone()
    line, whole = load_weights(net, other_weights(), strict=False)
    assert not whole
    assert line == "loaded 1 of 3 tensors; fresh: 0.bias, 1.weight; not used: 0.bias, 1.wieght"
    assert (net[0].weight == 5).all()
    assert net[0].weight.dtype == torch.float64
    assert torch.equal(net[0].bias, bias)


def test_many_differences_are_counted_after_the_first_twenty():
    given = {f"layer{i}": torch.ones(1) for i in range(50)}
    with pytest.raises(ConfigError) as caught:
        load_weights(nn.Linear(3, 2), given, strict=True)
    assert caught.value.problems[-1] == "and 30 more names"
    assert len(caught.value.problems) == 2 + 20 + 1


def test_matching_weights_are_counted():
    net, other = nn.Linear(3, 2), nn.Linear(3, 2)
    assert load_weights(net, other.state_dict(), strict=True) == ("loaded 2 of 2 tensors", True)
    assert torch.equal(net.weight, other.weight)
