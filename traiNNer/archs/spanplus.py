"""SPANPlus: SPAN with Mish, groups of blocks and DySample; umzi2, 2024, neosr and traiNNer-redux communities."""

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
from traiNNer.archs.span import SPAB, Conv3XC
from traiNNer.archs.variants import variant
from traiNNer.archs.weights_file import Weights
from traiNNer.registry import ConfigError

# N: batch, C: channels, H, W: low-resolution height and width

_GROUPS = 4


def _conv3xc(in_channels: int, out_channels: int) -> Conv3XC:
    conv = Conv3XC(in_channels, out_channels)
    nn.init.trunc_normal_(conv.sk.weight, std=0.02)
    return conv


def _block(channels: int) -> SPAB:
    block = SPAB(channels, F.mish)
    for conv in (block.c1_r, block.c2_r, block.c3_r):
        nn.init.trunc_normal_(conv.sk.weight, std=0.02)
    return block


class Group(nn.Module):
    """A chain of attention blocks whose beginning, second, last and input are read together."""

    def __init__(self, channels: int, num_blocks: int, drop_rate: float) -> None:
        super().__init__()
        self.block_1 = _block(channels)
        self.block_n = nn.Sequential(*(_block(channels) for _ in range(num_blocks)))
        self.block_end = _block(channels)
        self.conv_2 = _conv3xc(channels, channels)
        self.conv_cat = nn.Conv2d(channels * 4, channels, 1)
        nn.init.trunc_normal_(self.conv_cat.weight, std=0.02)
        self.dropout = nn.Dropout2d(drop_rate)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` to the same."""
        first, _ = self.block_1(x_NCHW)
        deep = first
        for block in self.block_n:
            deep, _ = block(deep)
        deep, inner = self.block_end(deep)
        deep = self.dropout(self.conv_2(deep))
        return self.conv_cat(torch.cat([x_NCHW, deep, first, inner], dim=1))


@NETWORKS.register("spanplus")
class SpanPlus(nn.Module):
    """SPANPlus as shared; its pixels are not normalised.

    Args:
        scale: Resolution factor.
        blocks: Attention blocks of each group besides its first and last.
        feature_channels: Width of all blocks.
        upsampler: `dys` (DySample), `ps` (pixel shuffle) or `conv` (for scale 1 alone).
        drop_rate: Dropout of whole channels at the end of a group, in training.
        num_in_ch: Channels of the input.
        num_out_ch: Channels of the output; those of the input unless `dys` makes it.
    """

    def __init__(
        self,
        *,
        scale: int = 4,
        blocks: tuple[int, ...] = (4,),
        feature_channels: int = 48,
        upsampler: Literal["dys", "ps", "conv"] = "dys",
        drop_rate: float = 0.0,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
    ) -> None:
        super().__init__()
        self.options = recorded(locals())
        if (upsampler == "conv") != (scale == 1) and upsampler != "ps":
            raise ConfigError(f"spanplus: upsampler {upsampler} is not for scale {scale}; 1 takes conv or ps")
        if upsampler != "dys" and num_in_ch != num_out_ch:
            raise ConfigError(f"spanplus: num_out_ch {num_out_ch} takes upsampler dys")
        margin = sum(3 * (count + 2) + 1 for count in blocks) + 2
        self.facts = NetworkFacts(
            "generator",
            scale=scale,
            tile_margin=None if upsampler == "dys" else margin,
            channels=num_in_ch,
        )
        self.feats = nn.Sequential(
            _conv3xc(num_in_ch, feature_channels),
            *(Group(feature_channels, count, drop_rate) for count in blocks),
        )
        self.upsampler: nn.Module
        match upsampler:
            case "dys":
                self.upsampler = DySample(feature_channels, num_out_ch, scale=scale, groups=_GROUPS)
            case "ps":
                conv = nn.Conv2d(feature_channels, num_out_ch * scale**2, 3, padding=1)
                self.upsampler = nn.Sequential(conv, nn.PixelShuffle(scale))
            case "conv":
                self.upsampler = nn.Conv2d(feature_channels, num_out_ch, 3, padding=1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` to `(n, c, h * scale, w * scale)`."""
        return self.upsampler(self.feats(x_NCHW))


NETWORKS.register("spanplus_s")(variant(SpanPlus, blocks=(2,), feature_channels=32))
NETWORKS.register("spanplus_st")(variant(SpanPlus, upsampler="ps"))
NETWORKS.register("spanplus_sts")(variant(SpanPlus, blocks=(2,), feature_channels=32, upsampler="ps"))


@recognises(lambda weights: {"feats.0.sk.weight", "feats.1.block_1.c1_r.sk.weight"} <= weights.keys())
def _infer(weights: Weights) -> Guess:
    width, channels = weights["feats.0.sk.weight"].shape[:2]
    places = [match for name in weights if (match := re.match(r"feats\.(\d+)\.block_n\.(\d+)\.", name))]
    groups = sum(name.endswith(".conv_cat.weight") for name in weights)
    blocks = [len({m[2] for m in places if int(m[1]) == group}) for group in range(1, groups + 1)]
    options = {"blocks": blocks, "feature_channels": width, "num_in_ch": channels, "num_out_ch": channels}
    if "upsampler.offset.weight" in weights:
        scale = math.isqrt(weights["upsampler.offset.weight"].shape[0] // (2 * _GROUPS))
        options |= {
            "scale": scale,
            "upsampler": "dys",
            "num_out_ch": weights["upsampler.end_conv.weight"].shape[0],
        }
    elif "upsampler.weight" in weights:
        options |= {"scale": 1, "upsampler": "conv"}
    else:
        options |= {
            "scale": math.isqrt(weights["upsampler.0.weight"].shape[0] // channels),
            "upsampler": "ps",
        }
    return Guess("spanplus", options, assumed={"drop_rate": 0.0})
