"""The ParagonSR2 families against recorded vectors and key lists, and their shared parts two ways."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_networks import noise
from torch.nn import functional as F

from traiNNer.archs import build_network
from traiNNer.archs.fuse import fuse
from traiNNer.archs.paragonsr2 import attention as attention_module
from traiNNer.archs.paragonsr2.attention import BlendedWindowAttention
from traiNNer.archs.paragonsr2.interpolation import interpolated_attention, nodes_needed
from traiNNer.archs.paragonsr2.resampler import (
    MagicBase,
    MagicUpsampler,
    Sep,
    bicubic_kernels,
    filter_separably,
    upsample,
)
from traiNNer.data.images.resize import imresize
from traiNNer.inference.network import EvalNetwork
from traiNNer.inference.tiles import Tiles
from traiNNer.registry import ConfigError
from traiNNer.release.onnx import taken_sizes

CASES = [
    "a_nano_released_x2",
    "a_nano_untracked_x2",
    "a_tiny_x4_recipe",
    "b1_m_x2_recipe",
    "b1_nano_noattn_nocontent",
    "b1_nano_x2",
    "b1_tiny_x2",
    "b1_xs_x4_recipe",
    "c0_stream_dec21ckpt_x2",
    "c_photo_noattn_small_x2",
    "c_photo_small_x2",
    "c_photo_x4_recipe",
    "c_pro_small_x2",
    "c_realtime_fidelity_v11ckpt_x2",
    "c_realtime_x2",
    "c_stream_x2",
]
MAGIC = ["a_nano_released_x2", "a_tiny_x4_recipe"]
VIDEO = ["c_realtime_x2", "c_stream_x2", "c_realtime_fidelity_v11ckpt_x2"]


class Case:
    """A recorded case: the network with its weights, and the tensors of its file."""

    def __init__(self, folder, name):
        cases = json.loads((folder / "index.json").read_text())["cases"]
        self.about = next(case for case in cases if case["file"] == f"{name}.safetensors")
        self.tensors = load_file(folder / f"{name}.safetensors")
        self.net = build_network(self.about["network"]).eval()
        if self.about["state_dict_stored"]:
            stored = {key[3:]: t for key, t in self.tensors.items() if key.startswith("sd.")}
            if self.about["generation"].startswith("c0"):
                scales = {k: torch.ones_like(t) for k, t in self.net.state_dict().items() if "scale.g" in k}
                stored = scales | stored
            self.net.load_state_dict(stored)
        else:
            spec = importlib.util.spec_from_file_location("fill", folder / "fill.py")
            fill = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(fill)
            fill.apply(self.net, int(self.about["weights"].split(",")[1].split(")")[0]))

    def check(self, ours, name):
        """Compares with a recorded tensor within the case's tolerance."""
        atol, rtol = self.about["atol"], self.about["rtol"]
        torch.testing.assert_close(ours, self.tensors[name], atol=atol, rtol=rtol)


@pytest.fixture
def case(golden_root):
    """Builds the recorded case of a name."""
    return lambda name: Case(golden_root / "paragonsr2", name)


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_recorded_weights_give_the_recorded_output(case, name):
    recorded = case(name)
    outputs = [key for key in recorded.tensors if key.startswith("out.")]
    assert outputs
    for key in outputs:
        recorded.check(recorded.net(recorded.tensors["in." + key[4:]]), key)


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_a_fused_network_gives_the_recorded_output_with_fewer_parameters(case, name):
    recorded = case(name)
    fused = fuse(recorded.net)
    assert len(list(fused.modules())) <= len(list(recorded.net.modules()))
    assert len(list(fused.parameters())) < len(list(recorded.net.parameters()))
    for key in (key for key in recorded.tensors if key.startswith("out.")):
        recorded.check(fused(recorded.tensors["in." + key[4:]]), key)


@pytest.mark.parametrize("name", MAGIC)
@torch.no_grad()
def test_kernels_predicted_for_each_image_give_the_recorded_output(case, name):
    recorded = case(name)
    recorded.net.set_dynamic_inference(True)
    for key in (key for key in recorded.tensors if key.startswith("out_dynamic.")):
        recorded.check(recorded.net(recorded.tensors["in." + key[12:]]), key)
        recorded.check(fuse(recorded.net)(recorded.tensors["in." + key[12:]]), key)


@torch.no_grad()
def test_training_tracks_the_recorded_mean_kernels(case):
    recorded = case("a_nano_released_x2")
    recorded.check(recorded.net.train()(recorded.tensors["in.f"]), "out_train.f")
    tracked = "tracked_after_train_f."
    names = [key.removeprefix(tracked) for key in recorded.tensors if key.startswith(tracked)]
    assert len(names) == 4
    for name in names:
        recorded.check(recorded.net.state_dict()[name], tracked + name)


@torch.no_grad()
def test_the_first_batch_of_training_sets_the_tracked_kernels_to_its_mean():
    net = build_network({"type": "paragonsr2_magic_nano", "scale": 2})
    images = noise(2, 3, 12, 12)
    net(images)
    block = net.body[0].blocks[0]
    mixer, x = block.transformer, net.conv_in(images)
    expected = mixer.kernel_generator(mixer.project_in(x + block.ls1(block.context(x)))).mean(0)
    assert mixer.tracked_initialized
    torch.testing.assert_close(mixer.tracked_kernel[:, 0], expected)


@pytest.mark.parametrize("name", VIDEO)
@torch.no_grad()
def test_tapped_and_carried_features_are_those_recorded(case, name):
    recorded = case(name)
    image = next(key for key in recorded.tensors if key.startswith("tap_out."))[8:]
    frame = recorded.tensors["in." + image]
    output, features = recorded.net(frame, feature_tap=True)
    recorded.check(output, "tap_out." + image)
    recorded.check(features, "tap_feat." + image)
    before = recorded.tensors["prev_feat." + image]
    output, features = recorded.net(frame, feature_tap=True, prev_feat=before, alpha=0.2)
    recorded.check(output, "prev_out." + image)
    recorded.check(features, "prev_outfeat." + image)


KEY_LISTS = {
    **{f"a_{v}_x2": (f"paragonsr2_magic_{v}", 2) for v in ("nano", "anime", "tiny", "s")},
    **{f"b1_{v}_x2": (f"paragonsr2_{v}", 2) for v in ("nano", "micro", "tiny", "xs", "s", "m", "l", "xl")},
    "b1_nano_x4": ("paragonsr2_nano", 4),
    **{f"c_{v}_x2": (f"paragonsr2_{v}", 2) for v in ("realtime", "stream", "photo", "pro")},
    "c_realtime_x4": ("paragonsr2_realtime", 4),
    "c_photo_x4": ("paragonsr2_photo", 4),
}


@pytest.mark.parametrize("name", KEY_LISTS)
def test_names_shapes_dtypes_kinds_and_order_are_those_recorded(golden_root, name):
    kind, scale = KEY_LISTS[name]
    with torch.device("meta"):
        net = build_network({"type": kind, "scale": scale})
    learned = {key: p.requires_grad for key, p in net.named_parameters()}
    marks = {True: "P", False: "F", None: "B"}
    ours = [
        f"{marks[learned.get(key)]} {key} {list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
        for key, tensor in net.state_dict().items()
    ]
    lines = (golden_root / "paragonsr2" / "keys" / f"{name}.txt").read_text().splitlines()
    assert ours == [line for line in lines if not line.startswith("#")]


# trainable, all parameters, elements of the state dict; from the tables of the published code
COUNTS = {
    ("paragonsr2_magic_m", 2): (26_303_331, 26_305_635, 26_526_883),
    ("paragonsr2_magic_l", 2): (72_766_211, 72_769_283, 73_230_183),
    ("paragonsr2_magic_xl", 2): (163_345_443, 163_349_283, 164_178_867),
    ("paragonsr2_magic_s", 4): (3_550_193, 3_551_537, 3_601_962),
    ("paragonsr2_nano", 4): (26_219, 26_291, 26_291),
    ("paragonsr2_micro", 4): (47_197, 47_269, 47_269),
    ("paragonsr2_tiny", 4): (104_908, 104_980, 104_980),
    ("paragonsr2_xs", 4): (188_659, 188_731, 188_731),
    ("paragonsr2_s", 4): (464_598, 464_670, 464_670),
    ("paragonsr2_m", 4): (2_228_156, 2_228_228, 2_228_228),
    ("paragonsr2_l", 4): (6_150_196, 6_150_268, 6_150_268),
    ("paragonsr2_xl", 4): (16_252_484, 16_252_556, 16_252_556),
    ("paragonsr2_realtime", 3): (28_308, 28_380, 28_392),
    ("paragonsr2_stream", 3): (156_260, 156_332, 156_344),
    ("paragonsr2_photo", 8): (2_960_900, 2_960_972, 2_960_984),
    ("paragonsr2_pro", 4): (2_436_484, 2_436_556, 2_436_568),
    ("paragonsr2_pro", 8): (4_209_028, 4_209_100, 4_209_112),
}


@pytest.mark.parametrize(("kind", "scale"), COUNTS, ids=str)
def test_parameter_counts_are_those_of_the_tables(kind, scale):
    with torch.device("meta"):
        net = build_network({"type": kind, "scale": scale})
    trainable = sum(p.numel() for p in net.parameters() if p.requires_grad)
    everything = sum(p.numel() for p in net.parameters())
    stored = sum(t.numel() for t in net.state_dict().values())
    assert (trainable, everything, stored) == COUNTS[kind, scale]


@pytest.mark.parametrize(
    ("kind", "halved"),
    [("micro", 22_158), ("tiny", 60_376), ("xs", 145_998), ("s", 579_160)],
)
def test_without_the_fast_body_a_variant_has_all_its_blocks(kind, halved):
    with torch.device("meta"):
        net = build_network({"type": f"paragonsr2_{kind}", "scale": 2, "fast_body_mode": False})
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == halved


# --- the fixed upscaling ------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_the_resampler_gives_the_recorded_output_in_both_layouts(golden_root, scale, alpha):
    tensors = load_file(golden_root / "paragonsr2" / "unit_magic_upsample.safetensors")
    for image in "ab":
        expected = tensors[f"out.{image}.scale{scale}.alpha{alpha}"]
        for net in (MagicUpsampler(3, scale=scale, alpha=alpha), MagicBase(scale=scale, alpha=alpha)):
            torch.testing.assert_close(net(tensors[f"in.{image}"]), expected, atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(net.fold()(tensors[f"in.{image}"]), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("padding", ["zeros", "replicate"])
@pytest.mark.parametrize("scale", [1, 2, 3, 5])
def test_the_resampler_is_repetition_followed_by_its_filter_at_any_scale_and_border(padding, scale):
    net = MagicUpsampler(3, scale=scale, alpha=0.0, padding=padding)
    with torch.no_grad():  # taps that are not symmetric show a swap of axes or directions
        for part in (net.resample_conv.conv_h, net.resample_conv.conv_v):
            part.weight.copy_(noise(*part.weight.shape, seed=part.kernel_size[0]))
    image = noise(2, 3, 5, 4)
    repeated = image.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    expected = filter_separably(repeated, *net.resample_conv.weights(), padding)
    torch.testing.assert_close(net(image), expected, atol=1e-5, rtol=1e-5)


def test_a_flat_image_is_dark_at_the_border_with_zeros_and_flat_with_replication():
    flat = torch.ones(1, 3, 24, 24)
    dark = MagicUpsampler(3, scale=2, alpha=1.0)(flat)[0, 0]
    steps = [0.5332, 0.7910, 0.9434, 1.0137, 1.0293, 1.0215, 1.0098, 1.0020, 1.0]
    np.testing.assert_allclose(dark[24, :9], steps, atol=5e-5)
    assert dark[0, 0].item() == pytest.approx(0.2843, abs=5e-5)
    for base in ("magic", "bicubic"):
        even = MagicUpsampler(3, scale=2, alpha=1.0, padding="replicate", base=base)(flat)
        torch.testing.assert_close(even, torch.ones(1, 3, 48, 48))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_bicubic_base_is_matlabs_inside_the_image(scale):
    image = noise(1, 3, 17, 14)
    ours = upsample(image, bicubic_kernels(3, scale), scale, "replicate")[0].permute(1, 2, 0).numpy()
    matlab = imresize(image[0].permute(1, 2, 0).double().numpy(), scale)
    inner = slice(2 * scale, -2 * scale)
    np.testing.assert_allclose(ours[inner, inner], matlab[inner, inner], atol=2e-6)
    assert abs(ours - matlab).max() < 0.1


def test_gradients_flow_through_the_frozen_filters_to_the_image():
    image = noise(1, 3, 6, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(MagicUpsampler(3, scale=2, alpha=0.4).double(), image)
    assert torch.autograd.gradcheck(Sep(3, (0.25, 0.5, 0.25)).double(), image)


# --- attention ------------------------------------------------------------------------------------


def windowed(module, u):
    """Attention window by window, as the published code describes it, in plain loops."""
    n, c, h, w = u.shape
    side = [min(32, length) for length in (h, w)]
    overlap = [min(8, s // 4, length // 4) for s, length in zip(side, (h, w), strict=True)]
    if h <= 32 and w <= 32:
        return u + module.gamma * core(module, u)
    total, weights = torch.zeros_like(u), torch.zeros(1, 1, h, w)
    counts = [(x + o - 1) // (s - o) for x, s, o in zip((h, w), side, overlap, strict=True)]
    for i in range(counts[0]):
        for j in range(counts[1]):
            top, left = i * (side[0] - overlap[0]), j * (side[1] - overlap[1])
            bottom, right = min(h, top + side[0]), min(w, left + side[1])
            rows, columns = ramp(top, bottom, h, overlap[0]), ramp(left, right, w, overlap[1])
            weight = rows[:, None] * columns
            total[..., top:bottom, left:right] += weight * core(module, u[..., top:bottom, left:right])
            weights[..., top:bottom, left:right] += weight
    return u + module.gamma * total / (weights + 1e-8)


def ramp(start, end, length, overlap):
    """Weights of a window along one axis."""
    weights = torch.ones(end - start)
    fade = min(overlap, (end - start) // 4)
    if start > 0 and overlap > 0:
        weights[:fade] *= torch.linspace(0, 1, fade)
    if end < length and overlap > 0:
        weights[-fade:] *= torch.linspace(1, 0, fade)
    return weights


def core(module, u):
    """Attention over all pixels of one window."""
    q, k, v = (conv(u).flatten(2) for conv in (module.query, module.key, module.value))
    share = torch.softmax(q.transpose(1, 2) @ k / (u.shape[2] * u.shape[3]) ** 0.5, dim=-1)
    return (share @ v.transpose(1, 2)).transpose(1, 2).reshape(u.shape)


def attention(channels):
    """The module with weights that make its result large."""
    torch.manual_seed(5)
    module = BlendedWindowAttention(channels)
    with torch.no_grad():
        module.gamma.fill_(0.7)
        for conv in (module.query, module.key):
            conv.weight.mul_(8)
    return module


SIZES = [(1, 1), (5, 32), (33, 17), (32, 33), (40, 41), (48, 48), (56, 57), (64, 88), (65, 100)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("channels", [14, 36])
@torch.no_grad()
def test_all_windows_at_once_equal_one_window_after_the_other(size, channels):
    module, u = attention(channels), noise(2, channels, *size)
    torch.testing.assert_close(module(u), windowed(module, u), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("height", "uncovered"), [(40, 639), (64, 1071), (256, 4527)])
@torch.no_grad()
def test_the_pixels_of_the_last_rows_and_columns_stay_as_they_are(height, uncovered):
    u = noise(1, 8, height, height) + 1
    assert ((attention(8)(u) - u).abs().amax(1) == 0).sum() == uncovered


@pytest.mark.parametrize("channels", [14, 36])
def test_one_call_attends_in_all_windows_of_a_batch(monkeypatch, channels):
    calls = []
    original = F.scaled_dot_product_attention
    counted = lambda *tensors, **options: calls.append(1) or original(*tensors, **options)  # noqa: E731
    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    attention(channels)(noise(3, channels, 70, 90))
    assert len(calls) == 1


@pytest.mark.parametrize("spread", [0.005, 0.1, 0.8, 2.2, 4.4])
def test_interpolated_attention_equals_attention_with_its_gradients(spread):
    query, key = noise(2, 3, 500) * 2 - 1, (noise(2, 3, 500, seed=2) * 2 - 1) * spread + 3
    q, k = (F.pad(x[..., None], (0, 15)) for x in (query, key))
    inputs = [x.requires_grad_() for x in (q, k, noise(2, 3, 500, 16, seed=3) - 0.5)]
    nodes = nodes_needed(query, key)
    assert nodes is not None
    ours = interpolated_attention(*inputs, nodes)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    theirs = F.scaled_dot_product_attention(*exact, scale=1.0)
    torch.testing.assert_close(ours.double(), theirs, atol=2e-6, rtol=0)
    towards = noise(*ours.shape, seed=4) - 0.5
    for mine, other in zip(
        torch.autograd.grad(ours, inputs, towards),
        torch.autograd.grad(theirs, exact, towards.double()),
        strict=True,
    ):
        mine, other = mine[..., :1], other[..., :1]
        assert (mine - other).abs().max() < 1e-2 * other.abs().max()


def test_queries_too_far_apart_are_not_interpolated():
    query = torch.tensor([[[-3.0, 3.0]]])
    assert nodes_needed(query, query) is None
    assert nodes_needed(query / 2, query / 2) == 32


def test_the_network_that_interpolates_has_the_gradients_of_the_one_that_does_not(monkeypatch):
    gradients = []
    for limit in (attention_module.nodes_needed, lambda query, key: None):
        monkeypatch.setattr(attention_module, "nodes_needed", limit)
        module = attention(14)
        module(noise(2, 14, 48, 40)).square().mean().backward()
        gradients.append([p.grad for p in module.parameters()])
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-7, rtol=1e-3)


# --- options --------------------------------------------------------------------------------------

FAMILIES = {
    "paragonsr2": {"num_feat": 8, "num_groups": 1, "num_blocks": 1},
    "paragonsr2_dual": {"num_feat": 8, "num_groups": 1, "num_blocks": 1, "block": "stream"},
    "paragonsr2_magic": {"num_feat": 8, "num_groups": 1, "num_blocks": 1},
}


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("option", [{"padding": "replicate"}, {"base": "bicubic"}, {"layer_scale_init": 0.1}])
@torch.no_grad()
def test_an_option_keeps_the_names_and_changes_the_output(kind, option):
    spec = {"type": kind, "scale": 3, **FAMILIES[kind]}
    torch.manual_seed(0)
    plain = build_network(spec)
    torch.manual_seed(0)
    other = build_network(spec | option)
    assert list(plain.state_dict()) == list(other.state_dict())
    if "layer_scale_init" in option:
        changed = [k for k, t in plain.state_dict().items() if not torch.equal(t, other.state_dict()[k])]
        assert changed
        assert all(key.endswith("gamma") for key in changed)
    else:
        other.load_state_dict(plain.state_dict())
        image = noise(1, 3, 9, 7)
        assert (plain.eval()(image) - other.eval()(image)).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["paragonsr2", "paragonsr2_dual"])
@torch.no_grad()
def test_icnr_starts_the_pixel_shuffle_as_repetition(kind):
    spec = {"type": kind, "scale": 3, **FAMILIES[kind]}
    features = noise(1, 8, 6, 5)
    for icnr in (True, False):
        net = build_network(spec | {"icnr": icnr})
        large = (net.upsampler_net if kind == "paragonsr2" else net.up)(features)
        repeated = large[..., ::3, ::3].repeat_interleave(3, 2).repeat_interleave(3, 3)
        assert torch.equal(large, repeated) is icnr


@pytest.mark.parametrize("kind", ["paragonsr2_realtime", "paragonsr2_photo", "paragonsr2_pro"])
@torch.no_grad()
def test_contrast_init_lets_flat_areas_pass_and_edges_reach_the_bend(kind):
    spec = {"type": kind, "scale": 2, "padding": "replicate", "contrast_init": True}
    net, plain = build_network(spec), build_network(spec | {"contrast_init": False})
    assert list(net.state_dict()) == list(plain.state_dict())
    before_the_bend = []
    net.body[0].blocks[0].dw.register_forward_hook(lambda _, __, out: before_the_bend.append(out))
    edge = torch.full((1, 3, 16, 16), 0.45)
    edge[..., 8:] = 0.55
    for image in (torch.full((1, 3, 16, 16), 0.5), edge):
        assert (net(image) - net.base(image)).abs().max() < 0.2
    flat, bent = before_the_bend
    assert flat.abs().max() < 1e-4
    assert bent.abs().max() > 0.5


def test_contrast_init_is_refused_where_no_activation_is():
    with pytest.raises(ConfigError, match="stream"):
        build_network({"type": "paragonsr2_stream", "scale": 2, "contrast_init": True})


def test_recomputing_blocks_changes_neither_output_nor_gradients():
    results = []
    for recompute in (False, True):
        torch.manual_seed(1)
        net = build_network(
            {"type": "paragonsr2_dual", "block": "pro", "scale": 2, "num_feat": 16, "num_groups": 2}
            | {"num_blocks": 1, "window_size": 4, "layer_scale_init": 0.5, "use_checkpointing": recompute}
        )
        runs = []
        net.body[1].blocks[0].conv1.register_forward_hook(lambda *_, runs=runs: runs.append(1))
        output = net(noise(1, 3, 7, 9))
        output.square().mean().backward()
        assert len(runs) == (2 if recompute else 1)
        results.append([output.detach(), *(p.grad for p in net.parameters() if p.requires_grad)])
    for plain, again in zip(*results, strict=True):
        torch.testing.assert_close(plain, again, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"type": "paragonsr2_nano", "upsampler_alpha": 1.5}, "upsampler_alpha"),
        ({"type": "paragonsr2_realtime", "upsampler_alpha": -0.1}, "upsampler_alpha"),
        ({"type": "paragonsr2_nano", "band_kernel_size": 8}, "odd"),
        ({"type": "paragonsr2_nano", "band_kernel_size": 0}, "kernel size 0 should be odd"),
        ({"type": "paragonsr2_nano", "square_kernel_size": -1}, "kernel size -1 should be odd"),
        ({"type": "paragonsr2_nano", "ffn_expansion": 0.01}, "ffn_expansion 0.01 leaves no channel of 12"),
        ({"type": "paragonsr2", "num_feat": 2}, "branch_ratio"),
        ({"type": "paragonsr2_dual", "num_groups": 0}, "num_groups"),
        ({"type": "paragonsr2_photo", "num_feat": 30}, "multiple of 4"),
        ({"type": "paragonsr2_photo", "window": 8}, "window_size"),
        ({"type": "paragonsr2_realtime", "padding": "zero"}, "replicate"),
    ],
)
def test_an_argument_that_cannot_be_is_refused_by_name(spec, says):
    with pytest.raises(ConfigError, match=says):
        build_network({"scale": 2, **spec})


@torch.no_grad()
def test_float16_products_beyond_its_range_stay_finite():
    net = build_network({"type": "paragonsr2_dual", "block": "stream", "scale": 2, **{}} | {"num_feat": 8})
    block = net.body[0].blocks[0].half()
    block.gate.bias.fill_(400)
    block.out.weight.mul_(1e-3)
    assert block(noise(1, 8, 6, 6).half()).isfinite().all()


@pytest.mark.parametrize(
    ("spec", "side", "overlap", "far"),
    [
        ({"type": "paragonsr2_photo", "window_size": 4}, 5, 7, 1e-5),
        ({"type": "paragonsr2", "use_content_aware": False, "use_channel_mod": False}, 20, 20, 0.05),
    ],
)
@torch.no_grad()
def test_windows_of_tiles_are_those_of_the_whole_image(spec, side, overlap, far):
    """Of any tiles: one block without shift is exact, blended windows end otherwise at the end of an image."""
    small = {"scale": 2, "num_feat": 16, "num_groups": 1, "num_blocks": 1, "layer_scale_init": 1.0}
    attention = {"use_attention": True} if spec["type"] == "paragonsr2" else {}
    net = build_network(small | {"detail_gain": 1.0} | attention | spec).eval()
    for name, weight in net.named_parameters():
        if "attention" in name or "qkv" in name:
            weight.mul_(8).add_(name.endswith("gamma") * 2)  # so that where a window begins is seen
    model, lq = EvalNetwork(net, net.facts), noise(1, 3, 83, 37)
    whole = Tiles(0, 0).upscale(model, lq)
    assert (Tiles(side, overlap).upscale(model, lq) - whole).abs().max() < far
    assert taken_sizes(net.facts) == "any size"
