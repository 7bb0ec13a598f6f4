"""Compact, the plain chain of 3x3 convolutions that Real-ESRGAN introduced as SRVGGNetCompact.

Everything happens at low resolution; the result is shuffled into pixels and added to the input upscaled by
repetition. X. Wang et al., Real-ESRGAN, ICCVW 2021, and its later release of small models.
"""

from __future__ import annotations

import math
import re
from typing import Literal, TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

from traiNNer.archs import NETWORKS, NetworkFacts, recorded
from traiNNer.archs.detectors import Guess, recognises
from traiNNer.archs.linear_start import end_linear, pass_through
from traiNNer.archs.variants import variant
from traiNNer.archs.weights_file import Weights
from traiNNer.registry import ConfigError

# N: batch, C: channels, H, W: low-resolution height and width, s: scale

Activation: TypeAlias = Literal["relu", "prelu", "leakyrelu"]


def _activation(kind: Activation, channels: int) -> nn.Module:
    match kind:
        case "relu":
            return nn.ReLU(inplace=True)
        case "prelu":
            return nn.PReLU(channels)
        case "leakyrelu":
            return nn.LeakyReLU(0.1, inplace=True)


@NETWORKS.register("compact", "SRVGGNetCompact")
class Compact(nn.Module):
    """A chain of `num_conv` + 2 convolutions with an activation after all but the last.

    Convolutions keep the default initialisation of torch and PReLU starts at 0.25, as in the reference, but for
    the few features of `linear_start`.

    Args:
        scale: Resolution factor; 4, as the published models have it, if nothing else is asked for.
        num_feat: Channels between the convolutions.
        num_conv: Convolutions between the first and the last; 16 or 32 in the published models.
        act_type: Leaky slope is 0.1; PReLU has one slope a channel.
        num_in_ch: Channels of the input.
        num_out_ch: Channels of the output; must equal `num_in_ch`, because the input is added to it.
        linear_start: Before the first step the network is a linear filter of 3x3 pixels, which is half a
            decibel better than bicubic upscaling, and trains on from there; of use from scratch alone.
    """

    def __init__(
        self,
        *,
        scale: int = 4,
        num_feat: int = 64,
        num_conv: int = 16,
        act_type: Activation = "prelu",
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        linear_start: bool = False,
    ) -> None:
        super().__init__()
        self.options = recorded(locals())
        if num_in_ch != num_out_ch:
            raise ConfigError(
                f"compact adds its input to its output: num_in_ch {num_in_ch} != num_out_ch {num_out_ch}"
            )
        self.facts = NetworkFacts(kind="generator", scale=scale, tile_margin=num_conv + 2, channels=num_in_ch)
        layers: list[nn.Module] = []
        for channels in (num_in_ch, *[num_feat] * num_conv):
            layers += [nn.Conv2d(channels, num_feat, 3, padding=1), _activation(act_type, num_feat)]
        layers.append(nn.Conv2d(num_feat, num_out_ch * scale**2, 3, padding=1))
        self.body = nn.Sequential(*layers)
        if linear_start:
            if num_feat <= num_in_ch:
                raise ConfigError(f"linear_start takes more features than channels: num_feat is {num_feat}")
            self._start_linear()

    def _start_linear(self) -> None:
        *inner, last = (layer for layer in self.body if isinstance(layer, nn.Conv2d))
        channels = inner[0].in_channels
        for convolution in inner:
            pass_through(convolution, channels)
        end_linear(last, channels, self.facts.scale, input_added=True)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` to `(n, c, h * scale, w * scale)`."""
        scale = self.facts.scale
        detail = F.pixel_shuffle(self.body(x_NCHW), scale)
        return detail + F.interpolate(x_NCHW, scale_factor=float(scale), mode="nearest")


NETWORKS.register("ultracompact")(variant(Compact, num_conv=8))
NETWORKS.register("superultracompact")(variant(Compact, num_feat=24, num_conv=8))


@recognises(lambda weights: all(re.fullmatch(r"body\.\d+\.(weight|bias)", name) for name in weights))
def _infer(weights: Weights) -> Guess:
    last = max(int(name.split(".")[1]) for name in weights)
    width, channels = weights["body.0.weight"].shape[:2]
    options = {
        "scale": math.isqrt(weights[f"body.{last}.weight"].shape[0] // channels),
        "num_feat": width,
        "num_conv": (last - 2) // 2,
        "num_in_ch": channels,
        "num_out_ch": channels,
    }
    if "body.1.weight" in weights:
        return Guess("compact", {**options, "act_type": "prelu"})
    return Guess("compact", options, asks=("act_type",))
