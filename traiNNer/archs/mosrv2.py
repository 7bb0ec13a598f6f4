"""MoSRv2: gated convolutions with an inception of depthwise filters beside a bilinear upscaling; umzi2, 2025.

Blocks after MambaOut (W. Yu and X. Wang, CVPR 2025, arXiv 2405.07992), of the traiNNer-redux community.
"""

from __future__ import annotations

import math
import re
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from traiNNer.archs import NETWORKS, NetworkFacts, recorded
from traiNNer.archs.detectors import Guess, recognises
from traiNNer.archs.dysample import DySample
from traiNNer.archs.padding import allowed_size, mirrored
from traiNNer.archs.weights_file import Weights
from traiNNer.registry import ConfigError

# N: batch, C: channels, H, W: low-resolution height and width

_BAND = 11
"""Length of the depthwise filters across and down, in pixels."""
_UPSAMPLERS = ("conv", "pixelshuffledirect", "pixelshuffle", "nearest+conv", "dysample")
"""As numbered in the buffer that files carry; the fourth does not exist here."""
_VERSION, _GROUPS = 2, 4


class ChannelRMSNorm(nn.Module):
    """Values over the root of their mean square across channels, with a learned scale and offset a channel."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(shape))
        self.offset = nn.Parameter(torch.zeros(shape))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` to the same."""
        # in float32: a sum of squares leaves the range of half precision, and its root has no slope at 0
        x = x_NCHW.float()
        root = (x.square().mean(1, keepdim=True) + 1e-12).sqrt()
        normed = (x / (root + 1e-6)).to(x_NCHW.dtype)
        return self.scale.view(-1, 1, 1) * normed + self.offset.view(-1, 1, 1)


class Inception(nn.Module):
    """A square, a wide and a tall depthwise convolution, each of an eighth of the channels; the others pass."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        part = channels // 8
        self.sizes = [channels - 3 * part, part, part, part]
        self.dwconv_hw = nn.Conv2d(part, part, 3, padding=1, groups=part)
        self.dwconv_w = nn.Conv2d(part, part, (1, _BAND), padding=(0, _BAND // 2), groups=part)
        self.dwconv_h = nn.Conv2d(part, part, (_BAND, 1), padding=(_BAND // 2, 0), groups=part)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` to the same."""
        rest, square, wide, tall = x_NCHW.split(self.sizes, dim=1)
        return torch.cat([rest, self.dwconv_hw(square), self.dwconv_w(wide), self.dwconv_h(tall)], dim=1)


class GatedBlock(nn.Module):
    """Two 3x3 convolutions around a gate, part of whose channels the inception sees."""

    def __init__(self, channels: int, expansion_ratio: float) -> None:
        super().__init__()
        hidden = int(expansion_ratio * channels)
        self.norm = ChannelRMSNorm(channels, 1, 1)
        self.fc1 = nn.Conv2d(channels, hidden * 2, 3, padding=1)
        self.sizes = [hidden, hidden - channels, channels]
        self.conv = Inception(channels)
        self.fc2 = nn.Conv2d(hidden, channels, 3, padding=1)
        self.gamma = nn.Parameter(torch.ones(1, channels, 1, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` to the same."""
        gate, passed, seen = self.fc1(self.norm(x_NCHW)).split(self.sizes, dim=1)
        mixed = torch.cat([passed, self.conv(seen)], dim=1)
        return F.mish(self.fc2(F.mish(gate) * mixed)) * self.gamma + x_NCHW


class Upsampler(nn.Sequential):
    """What makes the image of the features, and a buffer by which files say which it is."""

    MetaUpsample: Tensor

    def __init__(self, kind: str, *, scale: int, in_dim: int, out_dim: int, mid_dim: int) -> None:
        layers: list[nn.Module] = []
        if scale == 1 or kind == "conv":
            layers.append(nn.Conv2d(in_dim, out_dim, 3, padding=1))
        elif kind == "pixelshuffledirect":
            layers += [nn.Conv2d(in_dim, out_dim * scale**2, 3, padding=1), nn.PixelShuffle(scale)]
        elif kind == "pixelshuffle":
            layers += [nn.Conv2d(in_dim, mid_dim, 3, padding=1), nn.LeakyReLU()]
            for factor in [3] if scale == 3 else [2] * (scale.bit_length() - 1):
                layers += [nn.Conv2d(mid_dim, mid_dim * factor**2, 3, padding=1), nn.PixelShuffle(factor)]
            layers.append(nn.Conv2d(mid_dim, out_dim, 3, padding=1))
        else:
            if mid_dim != in_dim:
                layers += [nn.Conv2d(in_dim, mid_dim, 3, padding=1), nn.LeakyReLU()]
            layers.append(DySample(mid_dim, out_dim, scale=scale, groups=_GROUPS))
        super().__init__(*layers)
        numbers = [_VERSION, _UPSAMPLERS.index(kind), scale, in_dim, out_dim, mid_dim, _GROUPS]
        self.register_buffer("MetaUpsample", torch.tensor(numbers, dtype=torch.uint8))


@NETWORKS.register("mosrv2")
class MoSRv2(nn.Module):
    """MoSRv2 as shared.

    Args:
        scale: Resolution factor.
        n_block: Gated blocks.
        dim: Channels, a multiple of 8.
        upsampler: How the image is upscaled; `conv` for scale 1.
        expansion_ratio: Width inside a block over that outside, at least 1.
        mid_dim: Channels of the upsampler (pixelshuffle and dysample).
        unshuffle_mod: For scale 1 and 2: fold pixels into channels and upscale by four (faster by that, squared).
        in_ch: Channels of the input and output.
    """

    def __init__(
        self,
        *,
        scale: Literal[1, 2, 3, 4, 8] = 4,
        n_block: int = 24,
        dim: int = 64,
        upsampler: Literal["conv", "pixelshuffledirect", "pixelshuffle", "dysample"] = "pixelshuffledirect",
        expansion_ratio: float = 1.5,
        mid_dim: int = 32,
        unshuffle_mod: bool = True,
        in_ch: int = 3,
    ) -> None:
        super().__init__()
        self.options = recorded(locals())
        fold = 4 // scale if unshuffle_mod and scale < 3 else 1
        if upsampler == "conv" and scale * fold != 1:
            raise ConfigError("mosrv2: upsampler conv is for scale 1 without unshuffle_mod")
        margin = fold * (n_block * (2 + _BAND // 2) + 6)
        self.facts = NetworkFacts(
            "generator",
            scale=scale,
            min_size=fold,
            multiple_of=fold,
            tile_margin=None if upsampler == "dysample" else margin,
            channels=in_ch,
        )
        entry = [nn.PixelUnshuffle(fold)] if fold > 1 else []
        self.gblocks = nn.Sequential(
            *entry,
            nn.Conv2d(in_ch * fold**2, dim, 3, padding=1),
            *(GatedBlock(dim, expansion_ratio) for _ in range(n_block)),
            nn.Conv2d(dim, dim * 2, 3, padding=1),
            nn.Mish(),
            nn.Conv2d(dim * 2, dim, 3, padding=1),
            nn.Mish(),
            nn.Conv2d(dim, dim, 1),
        )
        self.to_img = Upsampler(upsampler, scale=scale * fold, in_dim=dim, out_dim=in_ch, mid_dim=mid_dim)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` to `(n, c, h * scale, w * scale)`."""
        scale, fold = self.facts.scale, self.facts.multiple_of
        height, width = x_NCHW.shape[2:]
        larger = (allowed_size(side, least=fold, multiple=fold) for side in (height, width))
        whole = mirrored(x_NCHW, *larger)
        base = F.interpolate(whole, scale_factor=float(scale), mode="bilinear", align_corners=False)
        return (self.to_img(self.gblocks(whole)) + base)[..., : height * scale, : width * scale]


@recognises(lambda weights: "to_img.MetaUpsample" in weights and _any_gamma(weights))
def _infer(weights: Weights) -> Guess:
    _, kind, inner, width, channels, mid_dim, _ = weights["to_img.MetaUpsample"].tolist()
    first = next(name for name in ("gblocks.1.weight", "gblocks.0.weight") if weights.get(name) is not None)
    fold = math.isqrt(weights[first].shape[1] // channels)
    places = [name for name in weights if re.fullmatch(r"gblocks\.\d+\.gamma", name)]
    options = {
        "scale": inner // fold,
        "n_block": len(places),
        "dim": width,
        "upsampler": _UPSAMPLERS[kind],
        "mid_dim": mid_dim,
        "unshuffle_mod": fold > 1,
        "in_ch": channels,
    }
    hidden = weights[places[0].replace("gamma", "fc2.weight")].shape[1]
    ratio = hidden / width
    options["expansion_ratio"] = ratio if int(ratio * width) == hidden else math.nextafter(ratio, 9)
    return Guess("mosrv2", options)


def _any_gamma(weights: Weights) -> bool:
    return any(re.fullmatch(r"gblocks\.\d+\.gamma", name) for name in weights)
