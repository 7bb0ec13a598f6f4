"""The discriminators of other trainers: their names of weights, their values, what they refuse."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from small_networks import assert_close, noise
from torch import nn
from torch.nn.utils import spectral_norm

from traiNNer.archs import build_network, load_network
from traiNNer.archs.spectral import SpectralConv2d
from traiNNer.registry import ConfigError

UNET = {"type": "UNetDiscriminatorSN", "num_feat": 4}
VGG = {"type": "VGGStyleDiscriminator", "num_feat": 4, "input_size": 32}
PATCHGAN = {"type": "patchgan", "ndf": 4, "n_layers": 2, "num_d": 2}


def convolution(*, training=True):
    """Ours and torch's with the same weights and vectors."""
    torch.manual_seed(0)
    ours = SpectralConv2d(3, 5, 4, stride=2, padding=1)
    theirs = spectral_norm(nn.Conv2d(3, 5, 4, stride=2, padding=1))
    theirs.load_state_dict(ours.state_dict())
    return ours.train(training), theirs.train(training)


@pytest.mark.parametrize("training", [True, False])
def test_a_spectral_convolution_is_torchs_with_the_same_names(training):
    ours, theirs = convolution(training=training)
    image = noise(2, 3, 9, 8)
    for _ in range(3):  # in training each pass turns the vectors on
        found, expected = ours(image), theirs(image)
        assert_close(found, expected)
        slopes = torch.autograd.grad(found.square().sum(), [ours.weight_orig, ours.bias])
        wanted = torch.autograd.grad(expected.square().sum(), [theirs.weight_orig, theirs.bias])
        for slope, want in zip(slopes, wanted, strict=True):
            assert_close(slope, want)
    for name, value in theirs.state_dict().items():
        assert_close(ours.state_dict()[name], value)


def test_a_new_spectral_convolution_has_norm_one_nearly():
    torch.manual_seed(0)
    conv = SpectralConv2d(8, 16, 3)
    assert torch.linalg.matrix_norm(conv._normalised().flatten(1), 2).item() == pytest.approx(1, abs=0.05)


def test_two_passes_before_the_backward_pass_keep_their_own_gradients():
    ours, _ = convolution()
    first, second = ours(noise(1, 3, 8, 8)), ours(noise(1, 3, 8, 8, seed=2))
    (first.sum() + second.sum()).backward()
    assert ours.weight_orig.grad.isfinite().all()


def test_the_norm_is_computed_in_float32_under_autocast():
    ours, _ = convolution(training=False)
    expected = ours._normalised()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours._normalised(), expected)


def published_unet(weights, image, *, skip_connection=True):
    """The discriminator as its authors describe it, from the weights of one of their files."""

    def conv(name, x, stride=1):
        weight = weights.get(f"{name}.weight")
        if weight is None:
            weight = weights[f"{name}.weight_orig"]
            u, v = weights[f"{name}.weight_u"], weights[f"{name}.weight_v"]
            weight = weight / (u @ weight.flatten(1) @ v)
        return F.conv2d(x, weight, weights.get(f"{name}.bias"), stride, 1)

    def up(x):
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    downs = [F.leaky_relu(conv("conv0", image), 0.2)]
    for name in ("conv1", "conv2", "conv3"):
        downs.append(F.leaky_relu(conv(name, downs[-1], stride=2), 0.2))
    x = downs.pop()
    for name in ("conv4", "conv5", "conv6"):
        x = F.leaky_relu(conv(name, up(x)), 0.2)
        x = x + downs.pop() if skip_connection else x
    for name in ("conv7", "conv8"):
        x = F.leaky_relu(conv(name, x), 0.2)
    return conv("conv9", x)


UNET_NAMES = {
    *(f"conv{i}.weight_{part}" for i in range(1, 9) for part in ("orig", "u", "v")),
    *("conv0.weight", "conv0.bias", "conv9.weight", "conv9.bias"),
}


@torch.no_grad()
@pytest.mark.parametrize("skip_connection", [True, False])
def test_files_of_real_esrgan_load_by_themselves_and_compute_what_they_say(tmp_path, skip_connection):
    torch.manual_seed(0)
    source = build_network({**UNET, "skip_connection": skip_connection})
    weights = {name: value.clone() for name, value in source.state_dict().items()}
    assert weights.keys() == UNET_NAMES
    torch.save({"params": weights}, tmp_path / "netD.pth")
    net = load_network(tmp_path / "netD.pth", skip_connection=skip_connection)
    image = noise(2, 3, 16, 24)
    assert net.options["num_feat"] == 4
    assert_close(net(image), published_unet(weights, image, skip_connection=skip_connection))


@torch.no_grad()
def test_the_u_net_gives_a_logit_for_each_pixel_of_odd_sizes_too():
    net = build_network(UNET).eval()
    for size in ((8, 8), (13, 22), (17, 9)):
        assert net(noise(1, 3, *size)).shape == (1, 1, *size)
    maps = net.forward_features(noise(1, 3, 16, 16))
    assert list(maps) == [*(f"conv{i}" for i in range(9)), "logits"]
    assert maps["conv3"].shape == (1, 32, 2, 2)


@pytest.mark.parametrize(
    ("spec", "count"),  # of the layers that the originals list
    [
        ({"type": "unetdiscriminatorsn"}, 4_376_897),
        ({"type": "VGGStyleDiscriminator128"}, 14_499_401),
        ({"type": "VGGStyleDiscriminator", "input_size": 256}, 21_055_049),
        ({"type": "patchgan", "num_d": 1, "norm": "none"}, 2_764_737),
        ({"type": "MultiscalePatchGANDiscriminatorSN"}, 3 * 2_764_737),
    ],
    ids=lambda spec: spec["type"] if isinstance(spec, dict) else "",
)
def test_default_sizes_are_those_of_the_originals(spec, count):
    with torch.device("meta"):
        net = build_network(spec)
    assert sum(parameter.numel() for parameter in net.parameters()) == count


@torch.no_grad()
def test_the_vgg_style_discriminator_is_the_chain_of_its_named_layers():
    torch.manual_seed(0)
    net = build_network(VGG).eval()
    for name, buffer in net.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    x = image = noise(2, 3, 32, 32)
    parts = dict(net.named_children())
    assert list(parts) == [
        *("conv0_0", "conv0_1", "bn0_1"),
        *(f"{kind}{level}_{half}" for level in (1, 2) for half in (0, 1) for kind in ("conv", "bn")),
        *("linear1", "linear2"),
    ]
    for conv, norm in (
        *(("conv0_0", None), ("conv0_1", "bn0_1")),
        *((f"conv{level}_{half}", f"bn{level}_{half}") for level in (1, 2) for half in (0, 1)),
    ):
        x = parts[conv](x)
        x = F.leaky_relu(parts[norm](x) if norm else x, 0.2)
    assert x.shape == (2, 16, 4, 4)
    expected = net.linear2(F.leaky_relu(net.linear1(x.flatten(1)), 0.2))
    assert_close(net(image), expected)


@pytest.mark.parametrize("size", [(64, 64), (32, 33), (16, 32)])
def test_another_size_than_that_of_the_vgg_style_discriminator_is_explained(size):
    with pytest.raises(
        ConfigError, match=f"32 x 32 pixels and got {size[0]} x {size[1]}: set its input_size"
    ):
        build_network(VGG)(noise(2, 3, *size))


def test_sizes_that_do_not_halve_to_four_pixels_are_refused():
    with pytest.raises(ConfigError, match="input_size"):
        build_network({**VGG, "input_size": 192})


@torch.no_grad()
@pytest.mark.parametrize("norm", ["spectral", "instance", "none"])
def test_patchgan_judges_the_halved_image_by_networks_of_its_own(tmp_path, norm):
    torch.manual_seed(0)
    net = build_network({**PATCHGAN, "norm": norm}).eval()
    image = noise(2, 3, 33, 40)
    half = F.avg_pool2d(image, 3, 2, 1, count_include_pad=False)
    full, coarse = net(image)
    assert torch.equal(full, net.layer1(image))  # the last one judges at full resolution, as in pix2pixHD
    assert torch.equal(coarse, net.layer0(half))
    assert full.shape == (2, 1, 11, 13)
    maps = net.forward_features(image)
    levels = [f"layer{scale}_{depth}" for scale in (1, 2) for depth in (1, 2, 3)]
    assert list(maps) == [*levels[:3], "logits_1", *levels[3:], "logits_2"]
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    loaded = load_network(tmp_path / "net.safetensors")
    assert loaded.options == net.options


def test_a_logit_of_patchgan_sees_70_pixels():
    torch.manual_seed(0)
    net = build_network({"type": "patchgan", "ndf": 2, "num_d": 1, "norm": "none"}).double()
    image = noise(1, 3, 128, 128).double().requires_grad_()
    (logits,) = net(image)
    (slope,) = torch.autograd.grad(logits[0, 0, 9, 9], image)
    rows = slope.abs().amax((0, 1, 3)).nonzero().flatten()
    assert rows.max() - rows.min() + 1 == 70


@pytest.mark.parametrize("option", ["n_layers", "num_d"])
def test_patchgan_needs_a_layer_and_a_resolution(option):
    with pytest.raises(ConfigError, match="at least 1"):
        build_network({**PATCHGAN, option: 0})
