"""MUNet computes what was recorded of the original, without its defects."""

import pytest
import torch
from safetensors.torch import load_file

from traiNNer.archs import build_network
from traiNNer.archs.paragonsr2.resampler import PREFILTER_TAPS, RECONSTRUCTION_TAPS

SMALL = {"type": "munet", "num_feat": 16, "ch_mult": [1, 2]}


@pytest.fixture(scope="module")
def recorded(golden_root):
    return load_file(golden_root / "paragonsr2/munet_small.safetensors")


@pytest.fixture
def stored(recorded):
    """The recorded weights, noise in place of the resampling taps included."""
    return {key.removeprefix("sd."): value for key, value in recorded.items() if key.startswith("sd.")}


def _net(state=None):
    torch.manual_seed(0)
    net = build_network(SMALL).eval()
    if state is not None:
        net.load_state_dict(state)
    return net


@torch.no_grad()
@pytest.mark.parametrize(("image", "output"), [("in.a", "out.a"), ("in.b", "out_per_sample.b")])
def test_recorded_weights_with_their_stored_taps_give_the_recorded_logits(recorded, stored, image, output):
    torch.testing.assert_close(_net(stored)(recorded[image]), recorded[output], atol=5e-5, rtol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize(
    ("image", "output"), [("in.a", "out_true_taps.a"), ("in.b", "out_true_taps_per_sample.b")]
)
def test_recorded_weights_with_the_taps_of_a_new_network_give_the_logits_meant(
    recorded, stored, image, output
):
    learned = {key: value for key, value in stored.items() if "magic_upsample" not in key}
    net = _net()
    missing = net.load_state_dict(learned, strict=False).missing_keys
    assert len(missing) == 2 * 4
    torch.testing.assert_close(net(recorded[image]), recorded[output], atol=5e-5, rtol=1e-3)


def test_a_new_network_resamples_with_the_true_taps_at_every_level():
    filters = {k: v for k, v in build_network(SMALL).state_dict().items() if "magic_upsample" in k}
    for key, value in filters.items():
        taps = torch.tensor(PREFILTER_TAPS if "sharpen" in key else RECONSTRUCTION_TAPS)
        assert torch.equal(value.flatten(1), taps.expand(len(value), -1)), key


@pytest.mark.parametrize(
    ("keys", "options", "counts"),
    [
        ("munet_default", {}, (11_272_422, 11_295_462, 11_340_257, 113)),
        ("munet_32_1-2-2", {"num_feat": 32, "ch_mult": [1, 2, 2]}, (413_574, 417_414, 427_185, 100)),
        (None, {"num_feat": 32}, (2_819_190, 2_830_710, 2_853_137, 113)),
    ],
)
def test_keys_shapes_and_counts_are_those_recorded(golden_root, keys, options, counts):
    net = build_network({"type": "munet", **options})
    state, parameters = net.state_dict(), dict(net.named_parameters())
    learned = sum(p.numel() for p in parameters.values() if p.requires_grad)
    every = sum(p.numel() for p in parameters.values())
    assert (learned, every, sum(v.numel() for v in state.values()), len(state)) == counts
    if keys:
        lines = (golden_root / f"paragonsr2/keys/{keys}.txt").read_text().splitlines()
        expected = [line for line in lines if not line.startswith("#")]
        kinds = {key: "P" if p.requires_grad else "F" for key, p in parameters.items()}
        assert expected == [
            f"{kinds.get(key, 'B')} {key} {list(value.shape)} {str(value.dtype).removeprefix('torch.')}"
            for key, value in state.items()
        ]


@torch.no_grad()
def test_a_samples_spectrum_stays_with_the_sample(recorded, stored):
    net = _net(stored)
    images = torch.cat([recorded["in.b"], recorded["in.b"].flip(3), recorded["in.b"] * 0.2])
    alone = [net.forward_features(image[None])["frequency"] for image in images]
    torch.testing.assert_close(net.forward_features(images)["frequency"], torch.cat(alone))


@pytest.mark.parametrize("image", [torch.full((1, 3, 16, 16), 0.5), torch.zeros(1, 3, 16, 16)])
def test_a_gradient_penalty_is_finite_on_flat_images_and_moves_the_weights(image):
    torch.manual_seed(0)
    net = build_network(SMALL)
    torch.nn.init.constant_(net.self_attn.gamma, 0.5)
    image.requires_grad_()
    (slope,) = torch.autograd.grad(net(image).sum(), image, create_graph=True)
    slope.square().sum().backward()
    gradients = {k: p.grad for k, p in net.named_parameters() if p.grad is not None}
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    for key in (
        "in_conv.parametrizations.weight.original",
        "self_attn.value.parametrizations.weight.original",
    ):
        assert gradients[key].any(), key


@torch.no_grad()
def test_features_are_named_in_order_of_depth_and_end_in_the_logits():
    net = _net()
    taps = net.forward_features(image := torch.rand(2, 3, 17, 23))
    assert {name: tuple(tap.shape[1:]) for name, tap in taps.items()} == {
        "in_conv": (16, 17, 23),
        "down_1": (16, 8, 11),
        "down_2": (32, 4, 5),
        "bottleneck": (32, 4, 5),
        "spatial": (16, 17, 23),
        "gradient": (16, 17, 23),
        "frequency": (16, 17, 23),
        "patch": (16, 17, 23),
        "fused": (16, 17, 23),
        "logits": (1, 17, 23),
    }
    assert list(taps)[-1] == "logits"
    assert torch.equal(taps["logits"], net(image))
    torch.testing.assert_close(net.out_conv(taps["fused"]), taps["logits"])


@torch.no_grad()
def test_pooled_frequency_features_do_not_depend_on_the_place_and_need_no_other_weights(recorded, stored):
    pooled = build_network({**SMALL, "pool_frequency": True}).eval()
    pooled.load_state_dict(stored)
    plain = _net(stored)
    features = pooled.forward_features(recorded["in.b"])["frequency"]
    mean = plain.forward_features(recorded["in.b"])["frequency"].mean((2, 3), keepdim=True)
    torch.testing.assert_close(features, mean.expand_as(features))


def test_every_learned_convolution_has_spectral_norm_one():
    torch.manual_seed(0)
    net = build_network(SMALL).train()
    for _ in range(30):
        net(torch.rand(1, 3, 8, 8))
    convs = {k: m for k, m in net.named_modules() if isinstance(m, torch.nn.Conv2d) and "magic" not in k}
    assert len(convs) == 23
    for key, conv in convs.items():
        norm = torch.linalg.matrix_norm(conv.weight.detach().flatten(1), 2)
        torch.testing.assert_close(norm, torch.ones(()), atol=0.02, rtol=0, msg=lambda m, k=key: f"{k}: {m}")
