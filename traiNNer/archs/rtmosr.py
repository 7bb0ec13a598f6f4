"""RTMoSR: a real-time network of gated convolutions, trained wide and run as plain 3x3 and 5x5; umzi2, 2025.

Of the traiNNer-redux community. Its convolutions are sums of branches with learned weights. What they amount to is
computed at every call, so training and use are one function; the stored sum is for programs that read it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from traiNNer.archs import NETWORKS, NetworkFacts, recorded
from traiNNer.archs.detectors import Guess, recognises
from traiNNer.archs.fuse import Foldable
from traiNNer.archs.mosrv2 import ChannelRMSNorm
from traiNNer.archs.padding import allowed_size, mirrored
from traiNNer.archs.span import Conv3XC
from traiNNer.archs.variants import variant
from traiNNer.archs.weights_file import Weights
from traiNNer.registry import ConfigError

# N: batch, C: channels, H, W: height and width, O, I: output and input channels of a convolution, M: those between


class Sequence(nn.Module):
    """A 1x1 and a 3x3 convolution with nothing between them, and one kernel in the end."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        first = nn.Conv2d(in_channels, 2 * out_channels, 1)
        second = nn.Conv2d(2 * out_channels, out_channels, 3)
        self.k0, self.b0, self.k1, self.b1 = first.weight, first.bias, second.weight, second.bias

    def merged(self) -> tuple[Tensor, Tensor]:
        """Weight `(o, i, 3, 3)` and bias `(o,)`."""
        assert self.b0 is not None and self.b1 is not None
        weight = torch.einsum("omhw,mi->oihw", self.k1, self.k0[:, :, 0, 0])
        return weight, self.k1.sum((2, 3)) @ self.b0 + self.b1


class RepConv(Foldable):
    """Three kinds of 3x3 convolution, summed with learned weights."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = Sequence(in_channels, out_channels)
        self.conv2 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv3 = Conv3XC(in_channels, out_channels)
        self.conv_3x3_rep = nn.Conv2d(in_channels, out_channels, 3, padding=1).requires_grad_(False)
        self.alpha = nn.Parameter(torch.ones(3))
        self.register_state_dict_pre_hook(_refresh)

    def merged(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the one convolution; differentiable in the branches."""
        assert self.conv2.bias is not None
        branches = (self.conv1.merged(), (self.conv2.weight, self.conv2.bias), self.conv3.merged())
        weights, biases = zip(*branches, strict=True)
        one, two, three = self.alpha
        return tuple(one * a + two * b + three * c for a, b, c in (weights, biases))  # type: ignore[return-value]

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, i, h, w)` to `(n, o, h, w)`."""
        return F.conv2d(x_NCHW, *self.merged(), padding=1)

    def fold(self) -> nn.Module:
        """The one convolution that this amounts to."""
        _refresh(self)
        return self.conv_3x3_rep


class OmniShift(Foldable):
    """Depthwise filters of 1, 3 and 5 pixels and the input, summed with learned weights a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv2d(channels, channels, 1, groups=channels)
        self.conv3x3 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.conv5x5 = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        for index in range(1, 5):
            self.register_parameter(f"alpha{index}", nn.Parameter(torch.ones(1, channels, 1, 1)))
        self.conv5x5_reparam = nn.Conv2d(channels, channels, 5, padding=2, groups=channels).requires_grad_(
            False
        )
        self.register_state_dict_pre_hook(_refresh)

    def merged(self) -> tuple[Tensor, Tensor]:
        """Weight `(c, 1, 5, 5)` and bias `(c,)` of the one convolution; differentiable in the filters."""
        same, point, small, large = (self.get_parameter(f"alpha{i}").transpose(0, 1) for i in range(1, 5))
        convs = (self.conv1x1, self.conv3x3, self.conv5x5)
        one, three, five = (F.pad(conv.weight, [2 - conv.kernel_size[0] // 2] * 4) for conv in convs)
        identity = F.pad(torch.ones_like(self.conv1x1.weight), (2, 2, 2, 2))
        weight = same * identity + point * one + small * three + large * five
        biases = [conv.bias for conv in convs if conv.bias is not None]
        bias = sum(a.flatten() * b for a, b in zip((point, small, large), biases, strict=True))
        assert isinstance(bias, Tensor)
        return weight, bias

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` to the same."""
        return F.conv2d(x_NCHW, *self.merged(), padding=2, groups=x_NCHW.shape[1])

    def fold(self) -> nn.Module:
        """The one convolution that this amounts to."""
        _refresh(self)
        return self.conv5x5_reparam


@torch.no_grad()
def _refresh(module: RepConv | OmniShift, *_: Any) -> None:
    stored = module.conv_3x3_rep if isinstance(module, RepConv) else module.conv5x5_reparam
    assert stored.bias is not None
    for kept, merged in zip((stored.weight, stored.bias), module.merged(), strict=True):
        kept.copy_(merged)


class ChannelWeights(nn.Module):
    """Squeeze and excitation with half the width inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.squeezing = nn.Sequential(
            nn.Conv2d(channels, inner, 1), nn.ReLU(), nn.Conv2d(inner, channels, 1), nn.Hardsigmoid()
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` to the same."""
        return x_NCHW * self.squeezing(x_NCHW.mean((2, 3), keepdim=True))


class HalfSize(nn.Module):
    """2x2 pixels as channels, plus a convolution of their maxima."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.poll = nn.Sequential(nn.MaxPool2d(2), RepConv(channels, channels * 4))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` to `(n, 4 c, h / 2, w / 2)`."""
        return F.pixel_unshuffle(x_NCHW, 2) + self.poll(x_NCHW)


class GatedBlock(nn.Module):
    """A gate, part of whose channels are filtered at half the resolution."""

    def __init__(self, channels: int, ffn_expansion: float, *, dccm: bool, se: bool) -> None:
        super().__init__()
        hidden, inner = int(ffn_expansion * channels), channels * 4
        self.norm = ChannelRMSNorm(channels)
        self.fc1 = RepConv(channels, hidden * 2)
        self.sizes = [hidden, hidden - channels, channels]
        weights = ChannelWeights(inner) if se else nn.Identity()
        self.conv = nn.Sequential(HalfSize(channels), OmniShift(inner), weights, nn.PixelShuffle(2))
        self.fc2 = RepConv(hidden, channels) if dccm else nn.Conv2d(hidden, channels, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` to the same; even sides."""
        gate, passed, seen = self.fc1(self.norm(x_NCHW)).split(self.sizes, dim=1)
        return F.mish(self.fc2(F.mish(gate) * torch.cat([passed, self.conv(seen)], dim=1))) + x_NCHW


@NETWORKS.register("rtmosr")
class RTMoSR(nn.Module):
    """RTMoSR as shared.

    Args:
        scale: Resolution factor.
        dim: Channels.
        ffn_expansion: Width inside a block over that outside, at least 1.
        n_blocks: Gated blocks.
        unshuffle_mod: For scale 1 and 2: fold pixels into channels and upscale by four (faster by that, squared).
        dccm: The second convolution of a block is 3x3 instead of 1x1.
        se: Weighs channels by their means over the image.
    """

    def __init__(
        self,
        *,
        scale: int = 2,
        dim: int = 32,
        ffn_expansion: float = 2.0,
        n_blocks: int = 2,
        unshuffle_mod: bool = False,
        dccm: bool = True,
        se: bool = True,
    ) -> None:
        super().__init__()
        self.options = recorded(locals())
        if unshuffle_mod and scale == 3:
            raise ConfigError("rtmosr: unshuffle_mod is not for scale 3")
        fold = 4 // scale if unshuffle_mod and scale < 4 else 1
        self.fold = fold
        self.facts = NetworkFacts(
            "generator",
            scale=scale,
            min_size=2 * fold,
            multiple_of=2 * fold,
            tile_margin=None if se else 2 * fold * (5 * n_blocks + 2),
        )
        entry = RepConv(3 * fold**2, dim)
        self.to_feat = nn.Sequential(nn.PixelUnshuffle(fold), entry) if fold > 1 else entry
        self.body = nn.Sequential(
            *(GatedBlock(dim, ffn_expansion, dccm=dccm, se=se) for _ in range(n_blocks))
        )
        self.to_img = nn.Sequential(RepConv(dim, 3 * (scale * fold) ** 2), nn.PixelShuffle(scale * fold))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, 3, h, w)` to `(n, 3, h * scale, w * scale)`."""
        scale, cell = self.facts.scale, self.facts.multiple_of
        height, width = x_NCHW.shape[2:]
        larger = (allowed_size(side, least=cell, multiple=cell) for side in (height, width))
        out = self.to_img(self.body(self.to_feat(mirrored(x_NCHW, *larger))))
        base = F.interpolate(x_NCHW, scale_factor=float(scale), mode="nearest")
        return out[..., : height * scale, : width * scale] + base


NETWORKS.register("rtmosr_l")(variant(RTMoSR, unshuffle_mod=True))
NETWORKS.register("rtmosr_ul")(variant(RTMoSR, ffn_expansion=1.5, unshuffle_mod=True, dccm=False))


@recognises(lambda weights: "to_img.0.conv_3x3_rep.weight" in weights and "body.0.norm.offset" in weights)
def _infer(weights: Weights) -> Guess:
    entry = weights.get("to_feat.1.conv2.weight", weights.get("to_feat.conv2.weight"))
    if entry is None:
        raise ConfigError("an RTMoSR without its first convolution: the file is incomplete")
    dim = entry.shape[0]
    fold = math.isqrt(entry.shape[1] // 3)
    inner = math.isqrt(weights["to_img.0.conv2.weight"].shape[0] // 3)
    hidden = weights["body.0.fc1.conv2.weight"].shape[0] // 2
    ratio = hidden / dim
    options = {
        "scale": inner // fold,
        "dim": dim,
        "ffn_expansion": ratio if int(ratio * dim) == hidden else math.nextafter(ratio, 9),
        "n_blocks": len({name.split(".")[1] for name in weights if name.startswith("body.")}),
        "unshuffle_mod": fold > 1,
        "dccm": "body.0.fc2.conv2.weight" in weights,
        "se": "body.0.conv.2.squeezing.0.weight" in weights,
    }
    return Guess("rtmosr", options)
