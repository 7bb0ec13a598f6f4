import functools
import math

import pytest
import torch
import torch.nn.functional as F

from traiNNer.archs import build_network
from traiNNer.archs.vgg_features import shared_network
from traiNNer.data.images.resize import imresize
from traiNNer.losses import LOSSES, LossInputs, compares_luma_alone, uses_discriminator
from traiNNer.losses.adversarial import discriminator_output
from traiNNer.losses.precision import at_least_float32
from traiNNer.metrics import ssim

PIXEL = {"L1Loss", "MSELoss", "CharbonnierLoss", "HuberLoss", "PSNRLoss"}
RANDOM = {"pretrained": False}  # the values do not matter here, and there may be no file of weights
NEEDED = {  # by every test that takes whatever the registry holds
    "PerceptualLoss": {**RANDOM, "layer_weights": {"conv1_2": 0.5, "relu2_1": 2.0}},
    "LPIPSLoss": {**RANDOM, "net": "alex"},
    "DISTSLoss": RANDOM,
    "ContextualLoss": {**RANDOM, "layers": ["conv2_1"]},
}
SPECS = [{"type": name} | NEEDED.get(name, {}) for name in LOSSES.names()] + [
    {"type": "HuberLoss", "delta": 0.02},
    {"type": "LumaLoss", "criterion": "l2"},
    {"type": "PSNRLoss", "toY": True, "eps": 1e-6},
    {"type": "ColorLoss", "criterion": "charbonnier", "scale": 1},
    {"type": "GradientVarianceLoss", "patch_size": 5, "criterion": "l1"},
    {
        "type": "PerceptualLoss",
        **RANDOM,
        "layers": ["pool1"],
        "style_weight": 3.0,
        "criterion": "charbonnier",
    },
    {"type": "PerceptualLoss", **RANDOM, "layers": ["relu2_2"], "vgg_type": "vgg16", "criterion": "fro"},
    {"type": "PerceptualLoss", **RANDOM, "layers": ["relu1"], "vgg_type": "alexnet", "criterion": "l2"},
    {"type": "ContextualLoss", **RANDOM, "layers": ["conv1_1"], "max_1d_size": 9, "band_width": 1.0},
    {"type": "FocalFrequencyLoss", "alpha": 0.5, "log_matrix": True, "patch_factor": 3},
    {"type": "MSSWDLoss", "num_scale": 2, "num_proj": 5, "patch_size": 3},
    {"type": "LQConsistencyLoss", "criterion": "l2", "luma_weight": 0.2, "chroma_weight": 2.0},
    {"type": "MSSIMLoss", "test_y_channel": False, "include_luminance": True},
    {"type": "SSIMLoss", "test_y_channel": False},
    {"type": "HSLuvLoss", "criterion": "charbonnier"},
    {"type": "GANLoss", "gan_type": "ragan"},
    {"type": "GANLoss", "gan_type": "r3gan"},
    {"type": "LDLLoss", "ksize": 3},
    {"type": "FeatureMatchingLoss", "layer_weights": {"conv2": 1.0, "conv6": 3.0}, "criterion": "l2"},
]
SMALLEST = {"LPIPSLoss": 31, "DISTSLoss": 16}  # below, a layer of the network has no pixel left
every_loss = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: "-".join(map(str, spec.values())))


@pytest.fixture(scope="module", autouse=True)
def networks():
    """Drawn once: a shared network lives as long as somebody holds it."""
    held = [shared_network(name, (), pretrained=False) for name in ("vgg16", "vgg19", "alexnet")]
    return [*held, shared_network("vgg16", (), pretrained=False, pooling="l2")]


def inputs(output, gt):
    """At scale 2; at scale 1 where the target has an odd side."""
    scale = 1 if any(side % 2 for side in gt.shape[2:]) else 2
    pixels = gt.detach().to(torch.promote_types(gt.dtype, torch.float32)).movedim(1, 3).numpy()
    lq = torch.stack([torch.from_numpy(imresize(image, 1 / scale)) for image in pixels]).movedim(3, 1)
    return LossInputs(output=output, gt=gt, lq=lq, discriminator=discriminate, ema=gt.detach)


@functools.cache
def discriminator(dtype):
    torch.manual_seed(0)
    return build_network({"type": "unetdiscriminatorsn", "num_feat": 4}).eval().to(dtype)


def discriminate(image):
    """What a small discriminator makes of it; how it computes is not the matter here."""
    image = at_least_float32(image)
    with torch.autocast("cpu", enabled=False):
        return discriminator_output(discriminator(image.dtype), image)


def at_least(spec, *size):
    """The size, or the smallest that the loss takes, in pixels."""
    return tuple(max(side, SMALLEST.get(spec["type"], 1)) for side in size)


def noisy(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    gt = torch.rand(shape, generator=generator, dtype=dtype)
    return gt + 0.1 * torch.randn(shape, generator=generator, dtype=dtype), gt


def constant(value, size=32):
    return torch.full((2, 3, size, size), value, dtype=torch.float64)


def value(spec, output, gt):
    return LOSSES.build(spec)(inputs(output, gt)).item()


@every_loss
def test_the_minimum_is_where_the_output_equals_the_target(spec):
    if spec["type"] == "GANLoss":
        pytest.skip("a game has its balance there, and no minimum: test_gan.py")
    _, gt = noisy(2, 3, *at_least(spec, 24, 24))
    gt = gt if spec["type"] != "TVLoss" else constant(0.3, 24)  # looks at the output alone
    # charbonnier ends at sqrt(1e-12), which losses of several terms multiply
    assert value(spec, gt.clone(), gt) == pytest.approx(0, abs=4.0001e-6)
    little, more = (0.5, 1) if spec["type"] == "ContextualLoss" else (1e-4, 1e-2)  # is flat near its minimum
    for seed in (1, 2, 3):
        noise = noisy(*gt.shape, seed=seed)[1] - 0.5
        near, far = value(spec, gt + little * noise, gt), value(spec, gt + more * noise, gt)
        assert value(spec, gt, gt) < near < far


@every_loss
def test_colours_are_seen_unless_the_loss_says_that_it_compares_luma_alone(spec):
    _, gt = noisy(2, 3, *at_least(spec, 24, 24))
    tint = noisy(*gt.shape, seed=1)[1][:, :1]
    tinted = gt + torch.cat((0.587 * tint, -0.299 * tint, 0 * tint), dim=1)  # of the same luma
    blind = value(spec, tinted, gt) == pytest.approx(value(spec, gt, gt), abs=1e-9)
    assert blind == compares_luma_alone(spec)


@every_loss
@pytest.mark.parametrize("size", [(11, 12), (22, 23)])
def test_the_gradient_is_that_of_finite_differences(spec, size):
    output, gt = noisy(1, 3, *at_least(spec, *size))
    spec = spec if spec != {"type": "GradientVarianceLoss"} else {**spec, "patch_size": 5}
    spec = spec if spec["type"] != "FocalFrequencyLoss" else {**spec, "alpha": 0.0}  # weights: see below
    loss = LOSSES.build(spec)
    assert torch.autograd.gradcheck(
        lambda x: loss(inputs(x, gt)) * gt.numel(), output.requires_grad_(), fast_mode=True
    )


@every_loss
def test_a_repeated_batch_has_the_same_loss(spec):
    output, gt = noisy(3, 3, *at_least(spec, 25, 33))
    twice = value(spec, output.repeat(2, 1, 1, 1), gt.repeat(2, 1, 1, 1))
    assert twice == pytest.approx(value(spec, output, gt), rel=1e-12)


@every_loss
@pytest.mark.parametrize("split", [(1, 1, 1, 1, 1), (2, 3), (4, 1)])
def test_micro_batches_weighted_by_their_size_give_the_gradient_of_the_batch(spec, split):
    if spec.get("gan_type") == "ragan":
        pytest.skip("compares with the mean of a micro-batch")
    loss = LOSSES.build(spec)
    output, gt = noisy(5, 3, *at_least(spec, 23, 23))
    (expected,) = torch.autograd.grad(loss(inputs(output.requires_grad_(), gt)), output)
    parts = zip(output.detach().split(split), gt.split(split), strict=True)
    found = []
    for piece, target in parts:
        part = piece.clone().requires_grad_()
        found += torch.autograd.grad(loss(inputs(part, target)) * len(part) / 5, part)
    torch.testing.assert_close(torch.cat(found), expected, rtol=1e-9, atol=1e-14)


@every_loss
@pytest.mark.parametrize("size", [(16, 16), (17, 31), (64, 45)])
def test_the_gradient_reaches_every_sample_and_channel(spec, size):
    output, gt = noisy(3, 3, *at_least(spec, *size), dtype=torch.float32)
    LOSSES.build(spec)(inputs(output.requires_grad_(), gt)).backward()
    assert (output.grad.abs().amax((2, 3)) > 0).all()


@every_loss
def test_every_weight_of_a_generator_is_moved(spec):
    torch.manual_seed(1)
    net = build_network({"type": "compact", "scale": 2, "num_feat": 8, "num_conv": 1})
    given = inputs(*noisy(2, 3, 32, 32, dtype=torch.float32))
    LOSSES.build(spec)(inputs(net(given.lq), given.gt)).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@every_loss
@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 65504.0, -65504.0])
def test_value_and_gradient_stay_finite_in_the_range_of_fp16(spec, level):
    gt = noisy(2, 3, 32, 32, dtype=torch.float32)[1]
    for output in (torch.full_like(gt, level), level * (2 * gt - 1)):
        output = output.half().requires_grad_()
        loss = LOSSES.build(spec)(inputs(output, gt.half()))
        (loss / 1e4).backward()  # of an MSE of 4e9 the gradient itself exceeds fp16 otherwise
        assert loss.isfinite()
        assert output.grad.isfinite().all()


@every_loss
def test_losses_compute_in_float32_whatever_they_are_given(spec):
    output, gt = (x.to(torch.bfloat16) for x in noisy(2, 3, *at_least(spec, 24, 24)))
    loss = LOSSES.build(spec)
    expected = loss(inputs(output.float(), gt.float()))
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(inputs(output, gt))
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    in_double = loss(inputs(output.double(), gt.double()))
    assert in_double.dtype == torch.float64
    assert found.item() == pytest.approx(in_double.item(), rel=2e-4, abs=1e-9)


@every_loss
def test_the_memory_format_changes_nothing(spec):
    output, gt = noisy(2, 3, *at_least(spec, 24, 32))
    other = output.contiguous(memory_format=torch.channels_last)
    assert value(spec, other, gt) == pytest.approx(value(spec, output, gt), rel=1e-12)


@every_loss
def test_inputs_are_left_alone(spec):
    output, gt = noisy(2, 3, *at_least(spec, 24, 24))
    before = output.clone(), gt.clone()
    value(spec, output, gt)
    assert torch.equal(output, before[0])
    assert torch.equal(gt, before[1])


@every_loss
def test_losses_have_nothing_to_learn_and_nothing_to_save(spec):
    loss = LOSSES.build(spec)
    assert list(loss.parameters()) == []
    assert loss.state_dict() == {}
    assert loss.pixel is (spec["type"] in PIXEL)


C1 = 0.01**2
LUMINANCE = (2 * 0.2 * 0.6 + C1) / (
    0.2**2 + 0.6**2 + C1
)  # of constants 0.2 and 0.6; their contrast term is 1
RGB = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64).view(1, 3, 1, 1)
CB = -0.168736 * 0.1 + 0.331264 * 0.2 + 0.5 * 0.3
CR = 0.5 * 0.1 + 0.418688 * 0.2 - 0.081312 * 0.3
RAMP = torch.arange(32, dtype=torch.float64).view(1, 1, 1, 32).expand(2, 3, 32, 32) / 100
STRIPES = torch.tensor([0.0, 0.0, 1.0, 1.0]).double().repeat(8).view(1, 1, 1, 32).expand(2, 3, 32, 32)

RED = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).view(1, 3, 1, 1)
GREY_ALIKE = torch.tensor([0.1, 0.0, -0.1 * 0.299 / 0.114], dtype=torch.float64).view(1, 3, 1, 1)
POINT = F.pad(torch.ones(1, 3, 1, 1, dtype=torch.float64), (4, 4, 4, 4))
CORNER = F.pad(torch.ones(1, 1, 1, 1, dtype=torch.float64), (4, 0, 4, 0))

BY_HAND = [
    ({"type": "L1Loss"}, constant(0.2), constant(0.6), 0.4),
    ({"type": "MSELoss"}, constant(0.2), constant(0.6), 0.16),
    ({"type": "CharbonnierLoss"}, constant(0.2), constant(0.6), math.sqrt(0.16 + 1e-12)),
    ({"type": "CharbonnierLoss", "eps": 0.09}, constant(0.2), constant(0.6), 0.5),
    ({"type": "HuberLoss"}, constant(0.2), constant(0.6), 0.08),
    ({"type": "HuberLoss", "delta": 0.1}, constant(0.2), constant(0.6), 0.1 * (0.4 - 0.05)),
    ({"type": "PSNRLoss"}, constant(0.2), constant(0.6), 10 * math.log10(1 + 0.16e8)),
    ({"type": "PSNRLoss", "eps": 0.16 / 99}, constant(0.2), constant(0.6), 20.0),
    (
        {"type": "PSNRLoss", "toY": True, "eps": 0.0533**2},
        constant(0.5) + RGB,
        constant(0.5),
        10 * math.log10(2),
    ),
    ({"type": "SSIMLoss"}, constant(0.2), constant(0.6), 1 - LUMINANCE),
    ({"type": "SSIMLoss", "test_y_channel": False}, constant(0.2), constant(0.6), 1 - LUMINANCE),
    ({"type": "SSIMLoss"}, constant(0.5) + GREY_ALIKE, constant(0.5), 0.0),  # other colours, the same luma
    ({"type": "MSSSIMLoss"}, constant(0.2), constant(0.6), 1 - LUMINANCE ** (0.2856 / 0.3304)),
    ({"type": "MSSSIMLoss"}, constant(0.2, 176), constant(0.6, 176), 1 - LUMINANCE**0.1333),
    ({"type": "MSSIMLoss"}, constant(0.2, 176), constant(0.6, 176), 0.0),  # brightness is not compared
    (
        {"type": "MSSIMLoss", "include_luminance": True},
        constant(0.2, 176),
        constant(0.6, 176),
        1 - LUMINANCE**0.1333,
    ),
    ({"type": "CosimLoss"}, constant(0.5) * RED, constant(0.5), 5 * (1 - 1 / math.sqrt(3))),
    ({"type": "CosimLoss", "cosim_lambda": 1.0}, constant(0.2), constant(0.6), 0.0),
    ({"type": "SobelEdgeLoss"}, POINT, 0 * POINT, 2 * (4 * 1 + 2 * 4) / 16 / (2 * 81)),
    # red is (12.177 degrees, 100 %, 53.237 %) in HSLuv, green (127.715, 100 %, 87.736 %): hsluv.org
    (
        {"type": "HSLuvLoss", "saturation_weight": 0.0},
        constant(1.0) * RED,
        constant(1.0) * RED.roll(1, 1),
        (2 * (127.71501294924 - 12.17705063006) / 360 + 0.8773551910966 - 0.5323711559543) / 3,
    ),
    ({"type": "MSSSIML1Loss", "alpha": 0.0}, constant(0.2), constant(0.6), 0.4),
    ({"type": "MSSSIML1Loss", "alpha": 1.0}, constant(0.2), constant(0.6), 1 - LUMINANCE**3),
    ({"type": "LumaLoss"}, constant(0.5) + RGB, constant(0.5), abs(0.0299 - 0.1174 + 0.0342)),
    ({"type": "LumaLoss", "criterion": "l2"}, constant(0.5) + RGB, constant(0.5), 0.0533**2),
    ({"type": "ColorLoss"}, constant(0.5) + RGB, constant(0.5), (CB + CR) / 2),
    ({"type": "ColorLoss", "scale": 5}, constant(0.5) + RGB, constant(0.5), (CB + CR) / 2),
    ({"type": "ColorLoss"}, STRIPES, constant(0.5), 0),  # grey: no colour
    ({"type": "ColorLoss"}, CORNER * RGB, 0 * CORNER, (CB + CR) / 2 / 4),  # one square of four, of one pixel
    ({"type": "FFTLoss"}, constant(0.2), constant(0.6), 0.4 * 32 / (32 * 17 * 2)),  # one bin of the spectrum
    ({"type": "FocalFrequencyLoss"}, constant(0.2), constant(0.6), 0.16),  # one bin, of weight 1
    ({"type": "FocalFrequencyLoss", "patch_factor": 5}, constant(0.2), constant(0.6), 0.16),
    ({"type": "LQConsistencyLoss"}, constant(0.5) + RGB, constant(0.5), 0.0533 + (CB + CR) / 2),
    ({"type": "EdgeLoss"}, RAMP + 0.3, constant(0.5), (0.01 * 30 + 0.005 * 2) / 32 / 2),
    ({"type": "EdgeLoss"}, RAMP.mT + 0.3, constant(0.5), (0.01 * 30 + 0.005 * 2) / 32 / 2),
    # stripes 0 1 1 0 have derivatives of 4 and -4 everywhere: a variance of 16 * n / (n - 1) in one direction
    ({"type": "GradientVarianceLoss"}, STRIPES[:, :, :16, 1:17], constant(0.5, 16), 16 * 256 / 255),
    ({"type": "TVLoss"}, RAMP, constant(0.5), 0.01),
    ({"type": "TVLoss"}, RAMP + RAMP.mT, constant(0.5), 0.02),
]


@pytest.mark.parametrize(
    ("spec", "output", "gt", "expected"), BY_HAND, ids=lambda x: x["type"] if isinstance(x, dict) else ""
)
def test_values_known_by_hand(spec, output, gt, expected):
    # the window of SSIM is kept in float32, in which its sum differs from 1
    tolerance = 2e-5 if "SSIM" in spec["type"] else 1e-9
    assert value(spec, output, gt) == pytest.approx(expected, rel=1e-6, abs=tolerance)


def test_every_loss_has_a_value_known_by_hand_or_from_elsewhere():
    elsewhere = {
        "PerceptualLoss",
        "LPIPSLoss",
        "DISTSLoss",
        "ContextualLoss",
        "MSSWDLoss",
        "GANLoss",
        "LDLLoss",
        "FeatureMatchingLoss",
        "FLIPLoss",
    }  # other files here
    assert {spec["type"] for spec, *_ in BY_HAND} | elsewhere == set(LOSSES.names())


@pytest.mark.parametrize("length", [0.5, 1 / 200, 1e-4, 1e-7])
def test_the_gradient_of_cosim_is_bounded_near_black_and_its_values_are_the_cosine(length):
    gt, colours = (x.abs().clamp(0.01, 1) for x in noisy(1, 3, 4, 4))
    output = (length * colours / colours.norm(dim=1, keepdim=True)).requires_grad_()
    loss = LOSSES.build({"type": "CosimLoss", "cosim_lambda": 16.0})(inputs(output, gt))  # 1 a pixel
    plain = 16 * (1 - F.cosine_similarity(output, gt, dim=1, eps=1e-20).mean())
    assert loss.item() == pytest.approx(plain.item(), abs=1e-6)
    found, before = (torch.autograd.grad(x, output, retain_graph=True)[0] for x in (loss, plain))
    assert found.norm(dim=1).max() <= 255
    torch.testing.assert_close(found, before * min(1.0, 255 * length), rtol=1e-4, atol=1e-6)


def test_ssim_loss_is_one_minus_the_metric():
    output, gt = ((x.clamp(0, 1) * 255).round() / 255 for x in noisy(2, 3, 40, 30))
    expected = 1 - ssim(output, gt).mean().item()
    assert value({"type": "SSIMLoss", "test_y_channel": False}, output, gt) == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.parametrize(("size", "scales"), [(21, 1), (22, 2), (64, 3), (128, 4), (176, 5)])
def test_ms_ssim_takes_the_scales_that_fit(size, scales):
    weights = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333][:scales]
    luminance_only = value({"type": "MSSSIMLoss"}, constant(0.2, size), constant(0.6, size))
    expected = 1 - LUMINANCE ** (weights[-1] / sum(weights))
    assert luminance_only == pytest.approx(expected, abs=2e-5)


def test_ms_ssim_of_one_scale_is_ssim():
    output, gt = noisy(2, 3, 20, 21)
    whole = value({"type": "SSIMLoss", "test_y_channel": False}, output, gt)
    assert value({"type": "MSSSIMLoss"}, output, gt) == pytest.approx(whole)


TOO_SMALL = [
    ({"type": "SSIMLoss"}, 10, "SSIMLoss"),
    ({"type": "MSSSIMLoss"}, 10, "MSSSIMLoss"),
    ({"type": "GradientVarianceLoss"}, 10, "GradientVarianceLoss"),
    ({"type": "LPIPSLoss", **RANDOM, "net": "alex"}, 30, "alexnet: images of 30 x 20 pixels .* pool2"),
    ({"type": "PerceptualLoss", **RANDOM}, 15, "vgg19: images of 15 x 20 pixels are too small for pool4"),
    ({"type": "FocalFrequencyLoss", "patch_factor": 11}, 10, "FocalFrequencyLoss"),
    ({"type": "MSSWDLoss"}, 5, "MSSWDLoss"),
]


@pytest.mark.parametrize(("spec", "size", "message"), TOO_SMALL)
def test_patches_that_are_too_small_are_refused(spec, size, message):
    with pytest.raises(ValueError, match=message):
        value(spec, *noisy(1, 3, size, 20))


WRONG = [
    ({"type": "CharbonnierLoss", "eps": 0}, "eps above 0"),
    ({"type": "HuberLoss", "delta": -1}, "delta above 0"),
    ({"type": "PSNRLoss", "eps": 0}, "eps above 0"),
    ({"type": "ColorLoss", "scale": 0}, "at least 1 pixel"),
    ({"type": "GradientVarianceLoss", "patch_size": 1}, "at least 2"),
    ({"type": "LumaLoss", "criterion": "l3"}, "criterion: "),
    ({"type": "CharbonierLoss"}, "did you mean 'CharbonnierLoss'"),
    ({"type": "L1Loss", "loss_weight": 1.0}, "unknown parameter"),
    (
        {"type": "PerceptualLoss", **RANDOM, "vgg_type": "vgg16", "layers": ["relu3_4"]},
        "did you mean 'relu3_3'",
    ),
    (
        {"type": "PerceptualLoss", **RANDOM, "layers": ["pool1"], "layer_weights": {"pool1": 1}},
        "leave one out",
    ),
    ({"type": "PerceptualLoss", **RANDOM, "layers": []}, "no layer has a weight"),
    ({"type": "PerceptualLoss", **RANDOM, "perceptual_weight": 0}, "computes nothing"),
    ({"type": "PerceptualLoss", **RANDOM, "weights": "a.pth"}, "is not read"),
    ({"type": "PerceptualLoss", "weights": "no_such.pth"}, "no such file"),
    ({"type": "LPIPSLoss", **RANDOM, "linear_weights": "a.pth"}, "is not read"),
    ({"type": "DISTSLoss", **RANDOM, "dists_weights": "a.pth"}, "is not read"),
    ({"type": "ContextualLoss", **RANDOM, "band_width": 0}, "band_width above 0"),
    ({"type": "ContextualLoss", **RANDOM, "max_1d_size": 1}, "at least 2"),
    ({"type": "FocalFrequencyLoss", "alpha": -1}, "alpha of 0 or more"),
    ({"type": "FocalFrequencyLoss", "patch_factor": 0}, "patch_factor of 1 or more"),
    ({"type": "MSSWDLoss", "num_proj": 0}, "at least 1"),
    ({"type": "MSSWDLoss", "patch_size": 4}, "odd patch_size"),
    ({"type": "LQConsistencyLoss", "luma_weight": 0, "chroma_weight": 0}, "computes nothing"),
]


@pytest.mark.parametrize(("spec", "message"), WRONG)
def test_a_wrong_loss_is_explained(spec, message):
    with pytest.raises(ValueError, match=message):
        LOSSES.build(spec)


@pytest.mark.parametrize(
    "alias",
    ["l1loss", "L1_LOSS", "charbonnierloss", "msssimloss", "mssim", "colorloss", "gvloss", "msswd", "ffl"],
)
def test_names_of_users_are_known(alias):
    assert LOSSES.build({"type": alias})(inputs(*noisy(1, 3, 24, 24))).isfinite()


@every_loss
def test_planes_of_one_channel_are_compared_unless_colours_are(spec):
    """A plane and its picture of three equal channels are as far apart, but where channels are seen together."""
    kind = LOSSES.find(spec["type"])
    if kind.coloured or uses_discriminator(kind):
        return
    generator = torch.Generator().manual_seed(3)
    output, gt = (torch.rand(1, 1, 64, 64, generator=generator) for _ in range(2))
    loss = LOSSES.build(spec)
    value = loss(inputs(output, gt))
    assert value.ndim == 0 and math.isfinite(value) and value > 0
    if spec["type"] not in ("LDLLoss", "MSSSIML1Loss"):  # a sum and a product over the channels
        pictures = (image.expand(-1, 3, -1, -1).contiguous() for image in (output, gt))
        torch.testing.assert_close(value, loss(inputs(*pictures)), rtol=1e-4, atol=1e-6)
