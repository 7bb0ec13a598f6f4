"""RealPLKSR: convolution blocks in which a quarter of the channels see a 17x17 neighbourhood.

D. Lee et al., Partial Large Kernel CNNs for Efficient Super-Resolution, 2024 (arXiv 2404.11848), in the
variant of the neosr and traiNNer-redux communities: doubled convolutional channel mixer with Mish,
normalisation at the end (or the start) of a block, optional DySample upsampler (W. Liu et al., Learning to
Upsample by Learning to Sample, ICCV 2023, arXiv 2308.15085).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from traiNNer.archs import NETWORKS, NetworkFacts, recorded
from traiNNer.archs.detectors import Guess, recognises
from traiNNer.archs.dysample import DySample
from traiNNer.archs.variants import variant
from traiNNer.archs.weights_file import Weights
from traiNNer.registry import ConfigError

_MIXER = "feats.1.channel_mixer.0.weight"
"""PLKSR, the network of the paper, has `ccm` in its place."""

# N: batch, C: channels, H, W: low-resolution height and width, G: groups that share offsets, s: scale,
# P: s * s sub-pixel positions, D: the two coordinates (x, y)


def _conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    """A convolution that keeps the size, its weights from a normal of deviation 0.02 as in the reference."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    nn.init.trunc_normal_(conv.weight, std=0.02)
    return conv


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel, in float32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` to the same."""
        x = x_NCHW.float()
        variance, mean = torch.var_mean(x, dim=1, keepdim=True, correction=0)
        x = ((x - mean) * torch.rsqrt(variance + 1e-6)).to(x_NCHW.dtype)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class PartialLargeKernel(nn.Module):
    """A large convolution over the first channels; the others pass."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = _conv(channels, channels, kernel_size)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` to the same."""
        seen = self.conv.in_channels
        return torch.cat([self.conv(x_NCHW[:, :seen]), x_NCHW[:, seen:]], dim=1)


class ElementwiseAttention(nn.Module):
    """Each value is weighed by a sigmoid of its 3x3 neighbourhood."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.f = nn.Sequential(_conv(channels, channels, 3), nn.Sigmoid())

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` to the same."""
        return x_NCHW * self.f(x_NCHW)


class Block(nn.Module):
    """Channel mixer, large kernel, attention and refinement around an identity."""

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int,
        large_channels: int,
        use_ea: bool,
        norm_groups: int,
        layer_norm: bool,
    ) -> None:
        super().__init__()
        self.layer_norm = ChannelNorm(channels) if layer_norm else nn.Identity()
        # the reference leaves the mixer's first convolution at torch's default
        self.channel_mixer = nn.Sequential(
            nn.Conv2d(channels, channels * 2, 3, padding=1), nn.Mish(), _conv(channels * 2, channels, 3)
        )
        self.lk = PartialLargeKernel(large_channels, kernel_size)
        self.attn = ElementwiseAttention(channels) if use_ea else nn.Identity()
        self.refine = _conv(channels, channels, 1)
        self.norm = nn.Identity() if layer_norm else nn.GroupNorm(norm_groups, channels)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` to the same."""
        mixed = self.channel_mixer(self.layer_norm(x_NCHW))
        return x_NCHW + self.norm(self.refine(self.attn(self.lk(mixed))))


@NETWORKS.register("realplksr")
class RealPLKSR(nn.Module):
    """RealPLKSR with the option names and the initialisation of neosr and traiNNer-redux.

    Args:
        scale: Resolution factor.
        dim: Channels.
        n_blocks: Blocks.
        kernel_size: Side of the large kernel, odd.
        split_ratio: Share of the channels that the large kernel sees.
        use_ea: Element-wise attention in every block.
        layer_norm: Normalise each pixel at the start of a block (traiNNer-redux; safe in fp16, and tiles
            agree) instead of the whole image in groups at its end (neosr, and older files).
        norm_groups: Groups of that group normalisation; the file does not tell them.
        dropout: Chance that a channel before the last convolution is dropped in training.
        upsampler: How features become pixels.
        in_ch: Channels of the input.
        out_ch: Channels of the output; must equal `in_ch`, because the input is added to it.
    """

    def __init__(
        self,
        *,
        scale: int = 4,
        dim: int = 64,
        n_blocks: int = 28,
        kernel_size: int = 17,
        split_ratio: float = 0.25,
        use_ea: bool = True,
        layer_norm: bool = True,
        norm_groups: int = 4,
        dropout: float = 0.0,
        upsampler: Literal["pixelshuffle", "dysample"] = "pixelshuffle",
        in_ch: int = 3,
        out_ch: int = 3,
    ) -> None:
        super().__init__()
        self.options = recorded(locals())
        _check(dim, split_ratio, kernel_size, in_ch, out_ch)
        # mixer 2, large kernel, attention 1; group statistics and learned places reach over the whole image
        reach = 2 + n_blocks * (2 + kernel_size // 2 + int(use_ea))
        local = layer_norm and upsampler == "pixelshuffle"
        self.facts = NetworkFacts(
            kind="generator", scale=scale, tile_margin=reach if local else None, channels=in_ch
        )
        self.feats = nn.Sequential(
            _conv(in_ch, dim, 3),
            *(
                Block(
                    dim,
                    kernel_size=kernel_size,
                    large_channels=int(dim * split_ratio),
                    use_ea=use_ea,
                    norm_groups=norm_groups,
                    layer_norm=layer_norm,
                )
                for _ in range(n_blocks)
            ),
            nn.Dropout2d(dropout),
            _conv(dim, out_ch * scale**2, 3),
        )
        self.to_img: nn.Module = nn.PixelShuffle(scale)
        if upsampler == "dysample":
            groups = 4 if scale % 2 == 0 else out_ch
            self.to_img = DySample(out_ch * scale**2, out_ch, scale=scale, groups=groups)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` to `(n, c, h * scale, w * scale)`."""
        repeated = x_NCHW.repeat_interleave(self.facts.scale**2, dim=1)
        return self.to_img(self.feats(x_NCHW) + repeated)


NETWORKS.register("realplksr_tiny")(variant(RealPLKSR, n_blocks=12, kernel_size=13, use_ea=False))
NETWORKS.register("realplksr_large")(variant(RealPLKSR, dim=96))


def _check(dim: int, split_ratio: float, kernel_size: int, in_ch: int, out_ch: int) -> None:
    if in_ch != out_ch:
        raise ConfigError(f"realplksr adds its input to its output: in_ch {in_ch} != out_ch {out_ch}")
    if kernel_size % 2 == 0:
        raise ConfigError(f"kernel_size must be odd to keep the size, got {kernel_size}")
    if not 1 <= int(dim * split_ratio) <= dim:
        raise ConfigError(f"split_ratio {split_ratio} of dim {dim} must leave 1 to {dim} of them")


@recognises(lambda weights: {"feats.0.weight", "feats.1.refine.weight", _MIXER} <= weights.keys())
def _infer(weights: Weights) -> Guess:
    last = max(int(name.split(".")[1]) for name in weights if name.startswith("feats."))
    dim, channels = weights["feats.0.weight"].shape[:2]
    large_channels, _, kernel_size, _ = weights["feats.1.lk.conv.weight"].shape
    ratio = large_channels / dim
    options = {
        "scale": math.isqrt(weights[f"feats.{last}.weight"].shape[0] // channels),
        "dim": dim,
        "n_blocks": last - 2,
        "kernel_size": kernel_size,
        # the product with dim is rounded down, and must not fall below by a rounding error
        "split_ratio": ratio if int(dim * ratio) == large_channels else math.nextafter(ratio, 2),
        "use_ea": "feats.1.attn.f.0.weight" in weights,
        "layer_norm": "feats.1.layer_norm.weight" in weights,
        "upsampler": "dysample" if "to_img.init_pos" in weights else "pixelshuffle",
        "in_ch": channels,
        "out_ch": channels,
    }
    return Guess("realplksr", options, assumed={"norm_groups": 4, "dropout": 0.0})
