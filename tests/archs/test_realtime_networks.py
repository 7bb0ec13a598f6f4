"""SPANPlus, MoSRv2 and RTMoSR by their descriptions: branches one by one, as their files name them."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from small_networks import assert_close, noise
from spandrel.architectures.__arch_helpers.dysample import DySample

from traiNNer.archs import build_network, dysample, load_network


def shaken(**spec):
    torch.manual_seed(2)
    net = build_network(spec)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape), alpha=0.05)
    return net.eval()


def conv(weights, name, x, **options):
    return F.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), **options)


def conv3xc(weights, name, x):
    wide = conv(weights, f"{name}.conv.1", conv(weights, f"{name}.conv.0", F.pad(x, (1, 1, 1, 1))))
    return conv(weights, f"{name}.conv.2", wide) + conv(weights, f"{name}.sk", x)


def rep_conv(weights, name, x):
    inner = F.conv2d(x, weights[f"{name}.conv1.k0"], weights[f"{name}.conv1.b0"])
    edge = weights[f"{name}.conv1.b0"].view(1, -1, 1, 1)
    framed = F.pad(inner - edge, (1, 1, 1, 1)) + edge  # the border is what the first makes of zeros
    branches = [
        F.conv2d(framed, weights[f"{name}.conv1.k1"], weights[f"{name}.conv1.b1"]),
        conv(weights, f"{name}.conv2", x, padding=1),
        conv3xc(weights, f"{name}.conv3", x),
    ]
    return sum(a * b for a, b in zip(weights[f"{name}.alpha"], branches, strict=True))


def span_block(weights, name, x):
    first = F.mish(conv3xc(weights, f"{name}.c1_r", x))
    third = conv3xc(weights, f"{name}.c3_r", F.mish(conv3xc(weights, f"{name}.c2_r", first)))
    return (third + x) * (third.sigmoid() - 0.5), first


@pytest.mark.parametrize("upsampler", ["dys", "ps"])
@torch.no_grad()
def test_spanplus_is_what_its_weights_say(upsampler):
    net = shaken(type="spanplus", scale=3, blocks=(2, 1), feature_channels=8, upsampler=upsampler)
    weights, lq = net.state_dict(), noise(2, 3, 14, 11)
    x = conv3xc(weights, "feats.0", lq)
    for group, count in ((1, 2), (2, 1)):
        name = f"feats.{group}"
        first, _ = span_block(weights, f"{name}.block_1", x)
        deep = first
        for index in range(count):
            deep, _ = span_block(weights, f"{name}.block_n.{index}", deep)
        deep, inner = span_block(weights, f"{name}.block_end", deep)
        deep = conv3xc(weights, f"{name}.conv_2", deep)
        x = conv(weights, f"{name}.conv_cat", torch.cat([x, deep, first, inner], 1))
    if upsampler == "ps":
        expected = F.pixel_shuffle(conv(weights, "upsampler.0", x, padding=1), 3)
    else:
        theirs = DySample(8, 3, 3, 4)
        theirs.load_state_dict(
            {k.removeprefix("upsampler."): v for k, v in weights.items() if "upsampler" in k}
        )
        expected = theirs(x)
    assert_close(net(lq), expected)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_reads_at_the_same_places_of_a_wide_image(dtype):
    torch.manual_seed(0)
    upsampler = dysample.DySample(8, 8, scale=2, groups=4, end_conv=False)
    steps = (torch.arange(600) % 8 / 8).expand(1, 8, 2, 600)  # a pixel beside is 1/8 more
    expected = upsampler(steps)
    read = upsampler.to(dtype)(steps.to(dtype))
    assert read.dtype == dtype
    assert_close(read.float(), expected, 1 / 64)


def gated(weights, name, x, fc1, middle, fc2):
    root = x.norm(2, dim=1, keepdim=True) * x.shape[1] ** -0.5
    normed = weights[f"{name}.norm.scale"].view(-1, 1, 1) * (x / (root + 1e-6))
    spread = fc1(normed + weights[f"{name}.norm.offset"].view(-1, 1, 1))
    hidden = spread.shape[1] // 2
    gate, passed, seen = spread.split([hidden, hidden - x.shape[1], x.shape[1]], dim=1)
    return F.mish(fc2(F.mish(gate) * torch.cat([passed, middle(seen)], 1)))


@torch.no_grad()
def test_mosrv2_is_what_its_weights_say():
    net = shaken(type="mosrv2", scale=2, n_block=2, dim=16)
    weights, lq = net.state_dict(), noise(2, 3, 12, 10)
    x = conv(weights, "gblocks.1", F.pixel_unshuffle(lq, 2), padding=1)
    for index in (2, 3):
        name = f"gblocks.{index}"

        def middle(seen, name=name):
            rest, *parts = seen.split([10, 2, 2, 2], dim=1)
            filters = zip(("hw", "w", "h"), parts, ((1, 1), (0, 5), (5, 0)), strict=True)
            made = [
                conv(weights, f"{name}.conv.dwconv_{key}", p, padding=pad, groups=2)
                for key, p, pad in filters
            ]
            return torch.cat([rest, *made], 1)

        def outer(which, name=name):
            return lambda y: conv(weights, f"{name}.{which}", y, padding=1)

        x = x + weights[f"{name}.gamma"] * gated(weights, name, x, outer("fc1"), middle, outer("fc2"))
    x = F.mish(conv(weights, "gblocks.4", x, padding=1))
    x = conv(weights, "gblocks.8", F.mish(conv(weights, "gblocks.6", x, padding=1)))
    expected = F.pixel_shuffle(conv(weights, "to_img.0", x, padding=1), 4)
    assert_close(net(lq), expected + F.interpolate(lq, scale_factor=2, mode="bilinear"))
    assert weights["to_img.MetaUpsample"].tolist() == [2, 1, 4, 16, 3, 32, 4]


@torch.no_grad()
def test_rtmosr_is_what_its_weights_say():
    net = shaken(type="rtmosr", scale=2, dim=8, n_blocks=1)
    weights, lq = net.state_dict(), noise(2, 3, 12, 10)
    x = rep_conv(weights, "to_feat", lq)

    def middle(seen):
        half = F.pixel_unshuffle(seen, 2) + rep_conv(weights, "body.0.conv.0.poll.1", F.max_pool2d(seen, 2))
        shift = {
            f"alpha{i + 2}": conv(weights, f"body.0.conv.1.conv{k}x{k}", half, padding=k // 2, groups=32)
            for i, k in enumerate((1, 3, 5))
        }
        half = sum(weights[f"body.0.conv.1.{key}"] * y for key, y in {"alpha1": half, **shift}.items())
        means = F.relu(conv(weights, "body.0.conv.2.squeezing.0", half.mean((2, 3), keepdim=True)))
        return F.pixel_shuffle(half * F.hardsigmoid(conv(weights, "body.0.conv.2.squeezing.2", means)), 2)

    def outer(which):
        return lambda x: rep_conv(weights, f"body.0.{which}", x)

    x = x + gated(weights, "body.0", x, outer("fc1"), middle, outer("fc2"))
    expected = F.pixel_shuffle(rep_conv(weights, "to_img.0", x), 2) + F.interpolate(lq, scale_factor=2)
    assert_close(net(lq), expected)
    # the stored sum is what other programs run
    stored = conv(weights, "to_feat.conv_3x3_rep", lq, padding=1)
    assert_close(stored, rep_conv(weights, "to_feat", lq))


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "spanplus", "scale": 2, "blocks": (1, 2), "feature_channels": 8},
        {"type": "mosrv2", "scale": 4, "n_block": 1, "dim": 16, "upsampler": "dysample", "mid_dim": 8},
        {"type": "rtmosr_ul", "scale": 1, "dim": 8},
    ],
    ids=lambda spec: spec["type"],
)
@torch.no_grad()
def test_a_bare_file_is_recognised(spec, tmp_path):
    net, lq = shaken(**spec), noise(1, 3, 16, 8)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    assert torch.equal(load_network(tmp_path / "net.safetensors")(lq), net(lq))
