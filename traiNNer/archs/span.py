"""SPAN, the Swift Parameter-free Attention Network: six blocks, no attention weights.

C. Wan et al., Swift Parameter-free Attention Network for Efficient Super-Resolution, CVPRW 2024
(arXiv 2311.12770). Each 3x3 convolution is trained as a wider chain with a shortcut and used as the one
convolution they amount to.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from traiNNer.archs import NETWORKS, NetworkFacts, recorded
from traiNNer.archs.detectors import Guess, recognises
from traiNNer.archs.fuse import Foldable
from traiNNer.archs.linear_start import end_linear, pass_through
from traiNNer.archs.variants import variant
from traiNNer.archs.weights_file import Weights
from traiNNer.registry import ConfigError
from traiNNer.wording import counted

# N: batch, C: channels, H, W: low-resolution height and width, O, I: output and input channels of a
# convolution, M: channels within the wide chain

GAIN = 2
"""How many times wider the chain is than the convolution it stands for, as in the reference."""
DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean colour of the training set of DIV2K, RGB, 0 to 1."""


class Conv3XC(Foldable):
    """A 3x3 convolution, trained as 1x1, 3x3, 1x1 of `GAIN` times the width beside a 1x1 shortcut.

    In training mode the branches run as they are. In evaluation mode their product runs, computed from the
    branches at every call, so that weights may change between calls. `eval_conv` is that product for the
    programs that read it from a file: it is brought up to date whenever the state dict is taken and is never
    read here.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.sk = nn.Conv2d(in_channels, out_channels, 1)
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, in_channels * GAIN, 1),
            nn.Conv2d(in_channels * GAIN, out_channels * GAIN, 3),
            nn.Conv2d(out_channels * GAIN, out_channels, 1),
        )
        self.eval_conv = nn.Conv2d(in_channels, out_channels, 3, padding=1).requires_grad_(False)
        self.register_state_dict_pre_hook(_refresh)

    def merged(self) -> tuple[Tensor, Tensor]:
        """Weight `(o, i, 3, 3)` and bias `(o,)` of the one convolution; differentiable in the branches."""
        (w1_MIHW, b1), (w2_MMHW, b2), (w3_OMHW, b3) = (_parameters(conv) for conv in self.conv)
        shortcut_OIHW, shortcut_bias = _parameters(self.sk)
        w1_MI, w3_OM = w1_MIHW[:, :, 0, 0], w3_OMHW[:, :, 0, 0]
        weight_OIHW = torch.einsum("om,mnhw,ni->oihw", w3_OM, w2_MMHW, w1_MI)
        # every tap sees the bias of the first convolution, those over the padding too
        bias = w3_OM @ (w2_MMHW.sum((2, 3)) @ b1 + b2) + b3
        return weight_OIHW + F.pad(shortcut_OIHW, (1, 1, 1, 1)), bias + shortcut_bias

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, i, h, w)` to `(n, o, h, w)`."""
        if self.training:
            return self.conv(F.pad(x_NCHW, (1, 1, 1, 1))) + self.sk(x_NCHW)
        weight, bias = self.merged()
        return F.conv2d(x_NCHW, weight, bias, padding=1)

    def fold(self) -> nn.Module:
        """The one convolution that this amounts to."""
        _refresh(self)
        return self.eval_conv


@torch.no_grad()
def _refresh(module: Conv3XC, *_: Any) -> None:
    for stored, merged in zip(_parameters(module.eval_conv), module.merged(), strict=True):
        stored.copy_(merged)


def _parameters(conv: nn.Module) -> tuple[Tensor, Tensor]:
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    return conv.weight, conv.bias


class SPAB(nn.Module):
    """Swift parameter-free attention block: three convolutions whose result weighs itself.

    The weight of each value is its sigmoid less a half, so that both signs count alike. Between them stands SiLU,
    or another `activation`.
    """

    def __init__(self, channels: int, activation: Callable[[Tensor], Tensor] = F.silu) -> None:
        super().__init__()
        self.activation = activation
        self.c1_r = Conv3XC(channels, channels)
        self.c2_r = Conv3XC(channels, channels)
        self.c3_r = Conv3XC(channels, channels)

    def forward(self, x_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """The block's output and the activated output of its first convolution, both `(n, c, h, w)`."""
        first = self.activation(self.c1_r(x_NCHW))
        third = self.c3_r(self.activation(self.c2_r(first)))
        return (third + x_NCHW) * (torch.sigmoid(third) - 0.5), first


@NETWORKS.register("span")
class SPAN(nn.Module):
    """SPAN as published; weights keep the default initialisation of torch, as in the reference, unless asked.

    Args:
        scale: Resolution factor.
        feature_channels: Width of all blocks.
        norm: Subtract `rgb_mean` and multiply by `img_range` first. Without it a buffer `no_norm` says so in
            the state dict.
        img_range: 255 in the reference: the features have the range of 8-bit values.
        rgb_mean: What stands for grey, 0 to 1.
        num_in_ch: Channels of the input; `rgb_mean` needs as many values where `norm` is on.
        num_out_ch: Channels of the output.
        linear_start: Before the first step the network is a linear filter of 3x3 pixels, which is half a
            decibel better than bicubic upscaling, and trains on from there; of use from scratch alone.
    """

    mean: Tensor

    def __init__(
        self,
        *,
        scale: int = 4,
        feature_channels: int = 48,
        norm: bool = True,
        img_range: float = 255.0,
        rgb_mean: tuple[float, ...] = DIV2K_MEAN,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        linear_start: bool = False,
    ) -> None:
        super().__init__()
        self.options = recorded(locals())
        if linear_start and (num_in_ch != num_out_ch or feature_channels <= num_in_ch):
            raise ConfigError("linear_start takes as many channels out as in, and more features than those")
        if norm and len(rgb_mean) != num_in_ch:
            raise ConfigError(
                f"rgb_mean needs {counted(num_in_ch, 'value')}, one a channel, got {len(rgb_mean)}"
            )
        # one pixel for each of 18 + 2 + 1 convolutions in a row
        self.facts = NetworkFacts(kind="generator", scale=scale, tile_margin=21, channels=num_in_ch)
        self.norm = norm
        self.img_range = img_range
        self.register_buffer("mean", torch.tensor(rgb_mean).view(1, -1, 1, 1), persistent=False)
        if not norm:
            self.register_buffer("no_norm", torch.zeros(1))
        self.conv_1 = Conv3XC(num_in_ch, feature_channels)
        self.block_1 = SPAB(feature_channels)
        self.block_2 = SPAB(feature_channels)
        self.block_3 = SPAB(feature_channels)
        self.block_4 = SPAB(feature_channels)
        self.block_5 = SPAB(feature_channels)
        self.block_6 = SPAB(feature_channels)
        self.conv_cat = nn.Conv2d(feature_channels * 4, feature_channels, 1)
        self.conv_2 = Conv3XC(feature_channels, feature_channels)
        self.upsampler = nn.Sequential(
            nn.Conv2d(feature_channels, num_out_ch * scale**2, 3, padding=1), nn.PixelShuffle(scale)
        )
        if linear_start:
            self._start_linear(num_in_ch)

    @torch.no_grad()
    def _start_linear(self, channels: int) -> None:
        *_, widened = self.conv_1.conv
        last = self.upsampler[0]
        for each in _parameters(widened):
            each[:channels] = 0
        pass_through(self.conv_1.sk, channels)
        pass_through(self.conv_cat, channels)
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        end_linear(last, channels, self.facts.scale, input_added=False)
        if self.norm:
            last.weight /= self.img_range
            last.bias += self.mean.flatten().repeat_interleave(self.facts.scale**2)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` to `(n, c, h * scale, w * scale)`."""
        if self.norm:
            x_NCHW = (x_NCHW - self.mean) * self.img_range
        shallow = self.conv_1(x_NCHW)
        b1, _ = self.block_1(shallow)
        deep, _ = self.block_2(b1)
        for block in (self.block_3, self.block_4, self.block_5):
            deep, _ = block(deep)
        deep, b6_first = self.block_6(deep)
        features = torch.cat([shallow, self.conv_2(deep), b1, b6_first], dim=1)
        return self.upsampler(self.conv_cat(features))


NETWORKS.register("span_s")(variant(SPAN, feature_channels=32))


@recognises(lambda weights: "conv_1.sk.weight" in weights and "block_1.c1_r.sk.weight" in weights)
def _infer(weights: Weights) -> Guess:
    width, channels = weights["conv_1.sk.weight"].shape[:2]
    options = {
        "scale": math.isqrt(weights["upsampler.0.weight"].shape[0] // channels),
        "feature_channels": width,
        "norm": "no_norm" not in weights,
        "num_in_ch": channels,
        "num_out_ch": channels,
    }
    return Guess("span", options, assumed={"img_range": 255.0, "rgb_mean": DIV2K_MEAN})
