"""Parts that more than one ParagonSR2 family uses: layer scale, RMS norms, depthwise context, initialisation.

Shapes: N batch, C channels, H and W of the map.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from traiNNer.archs.paragonsr2.resampler import Padding
from traiNNer.registry import ConfigError
from traiNNer.wording import counted

NEGATIVE_SLOPE = 0.1
"""Negative slope of every leaky ReLU of the generators."""
LAYER_SCALE_INIT = 1e-5
"""What the published networks started from (Touvron et al. 2021, CaiT)."""
_CONTRAST = 10.0


class LayerScale(nn.Module):
    """One learned factor per channel, `gamma` of the given shape (`(c)` or `(1, c, 1, 1)`)."""

    def __init__(self, *shape: int, init: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full(shape, init))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """The scaled map."""
        return x_NCHW * self.gamma.view(1, -1, 1, 1)


class RMSNorm(nn.Module):
    """scale * x / sqrt(mean over channels of x^2 + 1e-6) + bias; statistics in float32 at least."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """The normalised map."""
        return self.scale * x_NCHW * inverse_rms(x_NCHW) + self.bias


def inverse_rms(x_NCHW: Tensor) -> Tensor:
    """1 / sqrt(mean over channels of x^2 + 1e-6), `(n, 1, h, w)`, computed in float32 at least."""
    wide = x_NCHW if x_NCHW.dtype == torch.float64 else x_NCHW.float()
    return torch.rsqrt(wide.square().mean(1, keepdim=True) + 1e-6).to(x_NCHW.dtype)


class HybridNorm(nn.Module):
    """scale * x / (|x| / sqrt(c) + 1e-6) + offset, the hybrid family's form of the same norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.offset = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """The normalised map."""
        length = torch.linalg.vector_norm(x_NCHW, dim=1, keepdim=True)
        return self.scale * x_NCHW / (length / x_NCHW.shape[1] ** 0.5 + 1e-6) + self.offset


class InceptionContext(nn.Module):
    """Depthwise context on a part of the channels (Yu et al. 2023, InceptionNeXt, eq. 4).

    The channels are split, in this order, into [untouched | square | horizontal band | vertical band], each
    of the last three `int(channels * branch_ratio)` wide, at least 1.
    """

    def __init__(
        self, channels: int, *, square: int, band: int, branch_ratio: float, padding: Padding
    ) -> None:
        super().__init__()
        width = max(1, int(channels * branch_ratio))
        if 3 * width > channels:
            raise ConfigError(
                f"branch_ratio {branch_ratio}: three branches do not fit into {counted(channels, 'channel')}"
            )
        self.widths = [channels - 3 * width, width, width, width]
        self.dwconv_hw = depthwise(width, (square, square), padding)
        self.dwconv_w = depthwise(width, (1, band), padding)
        self.dwconv_h = depthwise(width, (band, 1), padding)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """The map with context, of the same shape."""
        rest, square, row, column = torch.split(x_NCHW, self.widths, dim=1)
        return torch.cat((rest, self.dwconv_hw(square), self.dwconv_w(row), self.dwconv_h(column)), dim=1)


class SkipGroup(nn.Module):
    """Blocks in a row with one skip around them."""

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """A map of the same shape."""
        y_NCHW = x_NCHW
        for block in self.blocks:
            y_NCHW = block(y_NCHW)
        return y_NCHW + x_NCHW


class FoldedContext(nn.Module):
    """x + gamma * context(x) with the layer scale and the sum folded into the filters."""

    def __init__(self, context: InceptionContext, gamma: Tensor) -> None:
        super().__init__()
        self.widths = context.widths
        rest, square, row, column = gamma.detach().flatten().split(self.widths)
        self.register_buffer("keep", 1 + rest.view(1, -1, 1, 1))
        self.convs = nn.ModuleList(
            scale_output(conv, factor, identity=True)
            for conv, factor in (
                (context.dwconv_hw, square),
                (context.dwconv_w, row),
                (context.dwconv_h, column),
            )
        )

    keep: Tensor

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """The sum of the map and its scaled context."""
        rest, *parts = torch.split(x_NCHW, self.widths, dim=1)
        filtered = [conv(part) for conv, part in zip(self.convs, parts, strict=True)]
        return torch.cat((rest * self.keep, *filtered), dim=1)


def spatial(in_channels: int, out_channels: int, size: int, padding: Padding) -> nn.Conv2d:
    """A square convolution that keeps the size."""
    return nn.Conv2d(in_channels, out_channels, size, padding=size // 2, padding_mode=padding)


def depthwise(channels: int, size: tuple[int, int], padding: Padding, *, dilation: int = 1) -> nn.Conv2d:
    """One filter per channel, odd height and width, that keeps the size."""
    for side in size:
        if side < 1 or side % 2 == 0:
            raise ConfigError(f"kernel size {side} should be odd, 1 or more")
    reach = (size[0] // 2 * dilation, size[1] // 2 * dilation)
    return nn.Conv2d(
        channels,
        channels,
        size,
        padding=reach,
        dilation=dilation,
        groups=channels,
        padding_mode=padding,
    )


def start_subpixels_equal(conv: nn.Conv2d, scale: int) -> None:
    """ICNR (Aitken et al. 2017): all s * s filters and biases of an output channel start equal.

    So the pixel shuffle starts as repetition, without a checkerboard.
    """
    with torch.no_grad():
        for tensor in (conv.weight, conv.bias):
            if tensor is not None:
                tensor.copy_(tensor[:: scale * scale].repeat_interleave(scale * scale, dim=0))


def start_on_contrast(net: nn.Module, bends: Iterable[tuple[nn.Conv2d, nn.Conv2d]], out: nn.Conv2d) -> None:
    """An initialisation for which blocks bend at edges instead of passing brightness through almost linearly.

    All learned filters start as He et al. (2015) say, without bias; those of a depthwise convolution before an
    activation start without mean, so that flat areas give nothing, and `_CONTRAST` times as strong, so that
    edges of a tenth of the range reach the bend; the projection after it takes the factor back. The detail
    starts at a tenth.

    Args:
        net: Generator; its frozen filters stay.
        bends: The depthwise convolution before each activation, and the convolution after.
        out: The last convolution.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.weight.requires_grad:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            zero_bias(module)
    with torch.no_grad():
        for before, after in bends:
            before.weight -= before.weight.mean((2, 3), keepdim=True)
            before.weight *= _CONTRAST
            after.weight /= _CONTRAST
        out.weight *= 0.1


def zero_bias(conv: nn.Conv2d) -> None:
    """Sets the bias of a convolution to zero."""
    with torch.no_grad():
        if conv.bias is not None:
            conv.bias.zero_()


def scale_output(conv: nn.Conv2d, factor: Tensor, *, identity: bool = False) -> nn.Conv2d:
    """`conv` changed in place to factor * conv(x), plus x if `identity`; one factor or one a channel."""
    with torch.no_grad():
        factor = factor.detach().flatten()
        conv.weight *= factor.view(-1, 1, 1, 1)
        if conv.bias is not None:
            conv.bias *= factor
        if identity:
            nn.init.dirac_(addition := torch.zeros_like(conv.weight), groups=conv.groups)
            conv.weight += addition
    return conv


def expanded(channels: int, ffn_expansion: float) -> int:
    """Width of a block's transform; ConfigError where there is none."""
    width = int(channels * ffn_expansion)
    if width < 1:
        raise ConfigError(f"ffn_expansion {ffn_expansion} leaves no channel of {channels}")
    return width


def require_positive(**counts: int) -> None:
    """Raises ConfigError naming the first count that is below 1."""
    for name, count in counts.items():
        if count < 1:
            raise ConfigError(f"{name} should be at least 1 (got {count})")
