"""The fixed upscaling that the networks add detail to: frozen separable filters, or a bicubic base.

Nearest-neighbour upscaling by s followed by a 5-tap filter is linear with period s, so it is computed as
one small convolution of the LQ image per sub-pixel position and a pixel shuffle, with the same result up to
rounding, borders included (16 x 3 x 48 x 48 to x2 on one CPU core: 3 ms instead of 16 ms).
Shapes: N batch, C channels, H and W of the LQ image, S scale, K taps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from traiNNer.archs.fuse import Foldable
from traiNNer.registry import ConfigError

PREFILTER_TAPS = (-1 / 32, 0.0, 9 / 32, 16 / 32, 9 / 32, 0.0, -1 / 32)
"""Half-band low-pass (unit DC, zero at Nyquist); its users call it a sharpener."""
RECONSTRUCTION_TAPS = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""Binomial filter that smooths the nearest-neighbour upscaling."""

Padding: TypeAlias = Literal["zeros", "replicate"]
"""What a filter sees beyond the border of the image."""
Base: TypeAlias = Literal["magic", "bicubic"]
"""The fixed upscaling that the network adds detail to."""
Weights: TypeAlias = tuple[Tensor, Tensor]
"""Horizontal `(c, 1, 1, k)` and vertical `(c, 1, k, 1)` filters."""


class Sep(nn.Module):
    """Per channel a horizontal 1xK, then a vertical Kx1 correlation with frozen taps and zero padding.

    Keys `conv_h.weight (C, 1, 1, K)` and `conv_v.weight (C, 1, K, 1)`, both without gradient. Gradients flow
    to the input.
    """

    def __init__(self, channels: int, taps: Sequence[float]) -> None:
        super().__init__()
        self.conv_h = _frozen(channels, taps, horizontal=True)
        self.conv_v = _frozen(channels, taps, horizontal=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """The filtered map, of the same size."""
        return filter_separably(x_NCHW, *self.weights(), "zeros")

    def weights(self) -> Weights:
        """The filters."""
        return self.conv_h.weight, self.conv_v.weight


class KernelSep(nn.Module):
    """The frozen taps of `Sep` under the keys of the final family: `kernel (K)`, `h.weight`, `v.weight`.

    The kernel is stored beside the filters but, as in the published networks, nothing is computed from it.
    """

    kernel: Tensor

    def __init__(self, channels: int, taps: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.tensor(taps))
        self.h = _frozen(channels, taps, horizontal=True)
        self.v = _frozen(channels, taps, horizontal=False)

    def weights(self) -> Weights:
        """The filters."""
        return self.h.weight, self.v.weight


class MagicUpsampler(Foldable):
    """The magic resampler under the keys of the first and the hybrid family (`sharpen`, `resample_conv`)."""

    def __init__(
        self, channels: int, *, scale: int, alpha: float, padding: Padding = "zeros", base: Base = "magic"
    ) -> None:
        super().__init__()
        self.sharpen = Sep(channels, PREFILTER_TAPS)
        self.resample_conv = Sep(channels, RECONSTRUCTION_TAPS)
        self.rule = Upsampling(channels, scale=scale, alpha=alpha, padding=padding, base=base)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h * s, w * s)`."""
        return self.rule(x_NCHW, self.sharpen.weights(), self.resample_conv.weights())

    def fold(self) -> nn.Module:
        """One convolution and a pixel shuffle, after the pre-filter if there is one."""
        return self.rule.fold(self.sharpen.weights(), self.resample_conv.weights())


class MagicBase(Foldable):
    """`MagicUpsampler` for RGB under the keys of the final family (`sharp`, `blur`)."""

    def __init__(self, *, scale: int, alpha: float, padding: Padding = "zeros", base: Base = "magic") -> None:
        super().__init__()
        self.sharp = KernelSep(3, PREFILTER_TAPS)
        self.blur = KernelSep(3, RECONSTRUCTION_TAPS)
        self.rule = Upsampling(3, scale=scale, alpha=alpha, padding=padding, base=base)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, 3, h * s, w * s)`."""
        return self.rule(x_NCHW, self.sharp.weights(), self.blur.weights())

    def fold(self) -> nn.Module:
        """One convolution and a pixel shuffle, after the pre-filter if there is one."""
        return self.rule.fold(self.sharp.weights(), self.blur.weights())


def in_full_precision(upsampling: nn.Module, x_NCHW: Tensor) -> Tensor:
    """The upscaled image, not rounded by autocast: bfloat16 has steps of a grey level in bright pixels."""
    device = x_NCHW.device.type
    if x_NCHW.is_meta or not torch.is_autocast_enabled(device):
        return upsampling(x_NCHW)
    with torch.autocast(device, enabled=False):
        return upsampling(x_NCHW.float())


class Upsampling(nn.Module):
    """How an image is upscaled by s, given the weights of pre-filter and reconstruction filter. No state.

    base magic: y = x + alpha (prefilter(x) - x) if alpha > 0, repeated s x s, then smoothed by 5 taps.
    base bicubic: `bicubic_kernels` with replicate padding; the weights are not used.
    """

    spread: Tensor

    def __init__(self, channels: int, *, scale: int, alpha: float, padding: Padding, base: Base) -> None:
        if not 0 <= alpha <= 1:
            raise ConfigError(f"upsampler_alpha should be between 0 and 1 (got {alpha})")
        super().__init__()
        self.scale, self.alpha = scale, alpha
        self.padding: Padding = padding if base == "magic" else "replicate"
        self.register_buffer("spread", _spread(scale, len(RECONSTRUCTION_TAPS)), persistent=False)
        kernels = bicubic_kernels(channels, scale) if base == "bicubic" else None
        self.register_buffer("bicubic", kernels, persistent=False)

    bicubic: Tensor | None

    def forward(self, x_NCHW: Tensor, prefilter: Weights, reconstruction: Weights) -> Tensor:
        """`(n, c, h * s, w * s)`."""
        if self.bicubic is not None:
            return upsample(x_NCHW, self.bicubic, self.scale, self.padding)
        if self.alpha > 0:
            y_NCHW = filter_separably(x_NCHW, *prefilter, self.padding)
            x_NCHW = torch.lerp(x_NCHW, y_NCHW.to(x_NCHW.dtype), self.alpha)  # autocast may have lowered it
        return upsample(x_NCHW, fold_repetition(*reconstruction, self.spread), self.scale, self.padding)

    def fold(self, prefilter: Weights, reconstruction: Weights) -> nn.Module:
        """The same with all filters computed beforehand."""
        if self.bicubic is not None:
            return FoldedUpsampling(self.bicubic, self.scale, self.padding)
        kernels = fold_repetition(*reconstruction, self.spread)
        upsampling = FoldedUpsampling(kernels, self.scale, self.padding)
        if self.alpha <= 0:
            return upsampling
        return nn.Sequential(FoldedPrefilter(*prefilter, self.alpha, self.padding), upsampling)


class FoldedUpsampling(nn.Module):
    """`upsample` with fixed kernels."""

    kernels: Tensor

    def __init__(self, kernels: Tensor, scale: int, padding: Padding) -> None:
        super().__init__()
        self.scale = scale
        self.padding: Padding = padding
        self.register_buffer("kernels", kernels.detach())

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h * s, w * s)`."""
        return upsample(x_NCHW, self.kernels, self.scale, self.padding)


class FoldedPrefilter(nn.Module):
    """x + alpha (prefilter(x) - x); at alpha 1 the two passes alone.

    A single 7x7 filter would take 49 instead of 14 multiplications a pixel.
    """

    weight_h: Tensor
    weight_v: Tensor

    def __init__(self, weight_h: Tensor, weight_v: Tensor, alpha: float, padding: Padding) -> None:
        super().__init__()
        self.alpha = alpha
        self.padding: Padding = padding
        self.register_buffer("weight_h", weight_h.detach())
        self.register_buffer("weight_v", weight_v.detach())

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """The filtered map, of the same size."""
        y_NCHW = filter_separably(x_NCHW, self.weight_h, self.weight_v, self.padding)
        return y_NCHW if self.alpha == 1 else torch.lerp(x_NCHW, y_NCHW.to(x_NCHW.dtype), self.alpha)


def filter_separably(x_NCHW: Tensor, weight_h: Tensor, weight_v: Tensor, padding: Padding) -> Tensor:
    """Depthwise horizontal, then vertical correlation; the size stays."""
    channels, taps = weight_h.shape[0], weight_h.shape[-1]
    reach = taps // 2
    if padding == "replicate":
        x_NCHW = F.pad(x_NCHW, (reach, reach, reach, reach), mode="replicate")
        return F.conv2d(F.conv2d(x_NCHW, weight_h, groups=channels), weight_v, groups=channels)
    x_NCHW = F.conv2d(x_NCHW, weight_h, padding=(0, reach), groups=channels)
    return F.conv2d(x_NCHW, weight_v, padding=(reach, 0), groups=channels)


def fold_repetition(weight_h: Tensor, weight_v: Tensor, spread_SKM: Tensor) -> Tensor:
    """Filters on the small image that equal repetition by s followed by a separable filter.

    Args:
        weight_h: `(c, 1, 1, k)`.
        weight_v: `(c, 1, k, 1)`.
        spread_SKM: `(s, k, m)`, 1 where tap k of sub-pixel position s falls on LQ neighbour m.

    Returns:
        `(c * s * s, 1, m, m)` in the channel order of a pixel shuffle.
    """
    rows_CSM = torch.einsum("ck,skm->csm", weight_v.flatten(1), spread_SKM)
    columns_CSM = torch.einsum("ck,skm->csm", weight_h.flatten(1), spread_SKM)
    return torch.einsum("cim,cjn->cijmn", rows_CSM, columns_CSM).flatten(0, 2).unsqueeze(1)


def upsample(x_NCHW: Tensor, kernels: Tensor, scale: int, padding: Padding) -> Tensor:
    """One filter per channel and sub-pixel position, then a pixel shuffle."""
    reach = kernels.shape[-1] // 2
    if padding == "replicate":
        x_NCHW = F.pad(x_NCHW, (reach, reach, reach, reach), mode="replicate")
        reach = 0
    return F.pixel_shuffle(F.conv2d(x_NCHW, kernels, padding=reach, groups=x_NCHW.shape[1]), scale)


def bicubic_kernels(channels: int, scale: int) -> Tensor:
    """Filters for `upsample` that equal bicubic upscaling (Keys 1981, a = -0.5, as in MATLAB).

    `(c * s * s, 1, m, m)`. With replicate padding the result differs from MATLAB's only where its mirrored
    border differs: in the outer 2 s pixels.
    """
    # sub-pixel i lies at (i + 0.5) / s - 0.5 of its LQ pixel; 4 taps reach at most 2 LQ pixels to either side
    centres = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5
    taps_SM = _keys(torch.arange(-2.0, 3.0, dtype=torch.float64) - centres[:, None])
    kernel = torch.einsum("im,jn->ijmn", taps_SM, taps_SM).flatten(0, 1).unsqueeze(1)
    return kernel.repeat(channels, 1, 1, 1).float()


def _keys(x: Tensor) -> Tensor:
    x = x.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _spread(scale: int, taps: int) -> Tensor:
    reach = math.ceil((taps // 2) / scale)
    spread = torch.zeros(scale, taps, 2 * reach + 1)
    for phase in range(scale):
        for tap in range(taps):
            spread[phase, tap, (phase + tap - taps // 2) // scale + reach] = 1
    return spread


def _frozen(channels: int, taps: Sequence[float], *, horizontal: bool) -> nn.Conv2d:
    size = (1, len(taps)) if horizontal else (len(taps), 1)
    conv = nn.Conv2d(channels, channels, size, groups=channels, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor(taps).view(1, 1, *size).expand_as(conv.weight))
    return conv.requires_grad_(False)
