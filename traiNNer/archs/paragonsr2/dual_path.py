"""The final family (December 2025 to January 2026): a fixed upscaling plus gained detail at LQ resolution.

One body, four kinds of block: realtime (inverted depthwise), stream (two contexts and a gate), photo
(depthwise and window attention) and pro (channel, window and token attention). No skip spans more than one
branch.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from traiNNer.archs import NETWORKS, NetworkFacts, OnnxForm, recorded
from traiNNer.archs.fuse import Foldable
from traiNNer.archs.paragonsr2.attention import ShiftedWindowAttention
from traiNNer.archs.paragonsr2.blocks import (
    LAYER_SCALE_INIT,
    LayerScale,
    RMSNorm,
    depthwise,
    require_positive,
    scale_output,
    spatial,
    start_on_contrast,
    start_subpixels_equal,
)
from traiNNer.archs.paragonsr2.resampler import Base, MagicBase, Padding, in_full_precision
from traiNNer.archs.variants import variant
from traiNNer.registry import ConfigError

BlockKind: TypeAlias = Literal["realtime", "stream", "photo", "pro"]
FLOAT16_MAX = 65504.0


@NETWORKS.register("paragonsr2_dual")
class ParagonSR2Dual(nn.Module):
    """The dual-path network: upscale(x) + detail_gain * detail(x).

    Args:
        scale: Resolution factor, at least 1.
        block: Kind of the blocks.
        num_feat: Width of the body; a multiple of 4 with attention, at least 16 for pro.
        num_groups: Groups of blocks (the published networks name their blocks by group; nothing else).
        num_blocks: Blocks of a group.
        attention: Window attention, in photo and pro blocks.
        window_size: Side of its windows in pixels; every second block shifts them by half.
        upsampler_alpha: Share of the low-pass pre-filter in the fixed upscaling, 0 to 1; 0 is best.
        detail_gain: Initial factor on the detail.
        use_checkpointing: Computes each block again in the backward pass, to save memory.
        padding: What every filter sees beyond the border.
        base: The fixed upscaling.
        layer_scale_init: Initial weight of each branch of a block.
        icnr: Equal initial filters for the sub-pixels.
        contrast_init: Blocks bend at edges from the first step (`start_on_contrast`); replaces the initial
            values of all filters.
    """

    facts: NetworkFacts
    options: dict[str, Any]
    """The arguments it was built with; `{"type": "paragonsr2_dual", **options}` builds it again."""

    def __init__(
        self,
        scale: int,
        *,
        block: BlockKind = "photo",
        num_feat: int = 64,
        num_groups: int = 4,
        num_blocks: int = 4,
        attention: bool = True,
        window_size: int = 16,
        upsampler_alpha: float = 0.5,
        detail_gain: float = 0.1,
        use_checkpointing: bool = False,
        padding: Padding = "zeros",
        base: Base = "magic",
        layer_scale_init: float = LAYER_SCALE_INIT,
        icnr: bool = False,
        contrast_init: bool = False,
    ) -> None:
        options = recorded(locals())
        require_positive(scale=scale, num_feat=num_feat, num_groups=num_groups, num_blocks=num_blocks)
        require_positive(window_size=window_size)
        windowed = attention and block in ("photo", "pro")
        if windowed and num_feat % ShiftedWindowAttention.HEADS:
            raise ConfigError(f"num_feat should be a multiple of 4, one share a head (got {num_feat})")
        if contrast_init and block == "stream":
            raise ConfigError("contrast_init is for blocks with an activation; those of stream have none")
        super().__init__()
        self.options = options

        def make(index: int) -> nn.Module:
            windows = Windows(window_size, window_size // 2 * (index % 2)) if attention else None
            return _BLOCKS[block](num_feat, windows, padding, layer_scale_init)

        self.scale = scale
        self.detail_gain = nn.Parameter(torch.tensor(float(detail_gain)))
        self.base = MagicBase(scale=scale, alpha=upsampler_alpha, padding=padding, base=base)
        self.conv_in = spatial(3, num_feat, 3, padding)
        self.body = nn.ModuleList(
            Group([make(group * num_blocks + i) for i in range(num_blocks)], recompute=use_checkpointing)
            for group in range(num_groups)
        )
        self.conv_mid = spatial(num_feat, num_feat, 3, padding)
        to_subpixels = spatial(num_feat, num_feat * scale * scale, 3, padding)
        self.up = nn.Sequential(to_subpixels, nn.PixelShuffle(scale))
        self.conv_out = spatial(num_feat, 3, 3, padding)
        if contrast_init:
            inverted = (RealtimeBlock, PhotoBlock, ProBlock)
            bends = [(m.dw, m.conv2) for m in self.modules() if isinstance(m, inverted)]
            start_on_contrast(self, bends, self.conv_out)
        if icnr:
            start_subpixels_equal(to_subpixels, scale)
        self.facts = NetworkFacts(
            "generator",
            scale=scale,
            window=window_size if windowed else 1,
            tile_margin=_tile_margin(block, attention, num_groups * num_blocks),
            onnx=OnnxForm(pads=True),
        )

    def forward(
        self,
        x_NCHW: Tensor,
        feature_tap: bool = False,
        prev_feat: Tensor | None = None,
        alpha: float = 0.2,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """`(n, 3, h, w)` RGB 0 to 1 -> `(n, 3, h * scale, w * scale)`, not clamped.

        For video, features are averaged over time: f = (1 - alpha) * conv_in(x) + alpha * prev_feat.

        Args:
            x_NCHW: The image or frame.
            feature_tap: Returns the pair (output, f), f for the next frame: `(n, c, h, w)`.
            prev_feat: f of the frame before; nothing for the first frame and after a cut.
            alpha: Weight of the past, 0 to 1.
        """
        f = self.conv_in(x_NCHW)
        if prev_feat is not None:
            f = torch.lerp(f, prev_feat.to(f.dtype), alpha)
        tapped = f
        for group in self.body:
            f = group(f)
        detail = self.conv_out(self.up(self.conv_mid(f)))
        output = in_full_precision(self.base, x_NCHW) + self.detail_gain * detail
        return (output, tapped) if feature_tap else output


class Windows(NamedTuple):
    """Geometry of a block's attention, in pixels."""

    side: int
    shift: int


class Group(nn.Module):
    """Blocks in a row, each recomputed in the backward pass if asked for and if its input has a gradient."""

    def __init__(self, blocks: list[nn.Module], *, recompute: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.recompute = recompute

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """A map of the same shape."""
        recompute = self.recompute and x_NCHW.requires_grad
        for block in self.blocks:
            x_NCHW = checkpoint(block, x_NCHW, use_reentrant=False) if recompute else block(x_NCHW)
        return x_NCHW


class RealtimeBlock(Foldable):
    """x + gamma * (1x1 to twice the width, depthwise 3x3, GELU, 1x1 back)."""

    def __init__(
        self, channels: int, windows: Windows | None, padding: Padding, layer_scale_init: float
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)
        self.dw = depthwise(2 * channels, (3, 3), padding)
        self.conv2 = nn.Conv2d(2 * channels, channels, 1)
        self.scale = LayerScale(1, channels, 1, 1, init=layer_scale_init)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """A map of the same shape."""
        return x_NCHW + self.scale(self.conv2(F.gelu(self.dw(self.conv1(x_NCHW)))))

    def fold(self) -> nn.Module:
        """The layer scale in the last convolution."""
        scale_output(self.conv2, self.scale.gamma)
        return Residual(nn.Sequential(self.conv1, self.dw, nn.GELU(), self.conv2))


class Residual(nn.Module):
    """x + branch(x)."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """A map of the same shape."""
        return x_NCHW + self.branch(x_NCHW)


class StreamBlock(Foldable):
    """x + gamma * out(p * q): p, q halves of a gate over two mixed depthwise contexts (dilation 1 and 3)."""

    def __init__(
        self, channels: int, windows: Windows | None, padding: Padding, layer_scale_init: float
    ) -> None:
        super().__init__()
        self.dw1 = depthwise(channels, (3, 3), padding)
        self.dw3 = depthwise(channels, (3, 3), padding, dilation=3)
        self.fuse = nn.Conv2d(2 * channels, channels, 1)
        self.proj = nn.Conv2d(channels, 4 * channels, 1)
        self.gate = depthwise(4 * channels, (3, 3), padding)
        self.out = nn.Conv2d(2 * channels, channels, 1)
        self.scale = LayerScale(1, channels, 1, 1, init=layer_scale_init)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """A map of the same shape."""
        return x_NCHW + self.scale(self.branch(x_NCHW))

    def branch(self, x_NCHW: Tensor) -> Tensor:
        """What is added, before the layer scale."""
        context = self.fuse(torch.cat((self.dw1(x_NCHW), self.dw3(x_NCHW)), dim=1))
        p, q = self.gate(self.proj(context)).chunk(2, dim=1)
        # the limit is that of float16, where the product of published weights overflows on noise
        product = (p * q).clamp(-FLOAT16_MAX, FLOAT16_MAX)
        return self.out(product)

    def fold(self) -> nn.Module:
        """The layer scale in the last convolution."""
        scale_output(self.out, self.scale.gamma)
        return FoldedStreamBlock(self)


class FoldedStreamBlock(nn.Module):
    """`StreamBlock` whose layer scale is in its last convolution."""

    def __init__(self, block: StreamBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """A map of the same shape."""
        return x_NCHW + self.block.branch(x_NCHW)


class PhotoBlock(nn.Module):
    """An inverted depthwise branch, then window attention, both behind a norm and one shared layer scale."""

    def __init__(
        self, channels: int, windows: Windows | None, padding: Padding, layer_scale_init: float
    ) -> None:
        super().__init__()
        self.norm = RMSNorm(channels)
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)
        self.dw = depthwise(2 * channels, (3, 3), padding)
        self.conv2 = nn.Conv2d(2 * channels, channels, 1)
        self.scale = LayerScale(1, channels, 1, 1, init=layer_scale_init)
        self.attn_norm = None if windows is None else RMSNorm(channels)
        self.attn = None if windows is None else _attention(channels, windows)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """A map of the same shape."""
        x_NCHW = x_NCHW + self.scale(self.conv2(F.gelu(self.dw(self.conv1(self.norm(x_NCHW))))))
        if self.attn is not None and self.attn_norm is not None:
            x_NCHW = x_NCHW + self.scale(self.attn(self.attn_norm(x_NCHW)))
        return x_NCHW


class ProBlock(nn.Module):
    """Four scaled branches in a row: inverted depthwise, channel weights, window and token attention."""

    def __init__(
        self, channels: int, windows: Windows | None, padding: Padding, layer_scale_init: float
    ) -> None:
        super().__init__()

        def layer_scale() -> LayerScale:
            return LayerScale(1, channels, 1, 1, init=layer_scale_init)

        self.norm1 = RMSNorm(channels)
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)
        self.dw = depthwise(2 * channels, (3, 3), padding)
        self.conv2 = nn.Conv2d(2 * channels, channels, 1)
        self.scale1 = layer_scale()
        self.channel_attn = ChannelAttention(channels)
        self.scale2 = layer_scale()
        self.norm3 = None if windows is None else RMSNorm(channels)
        self.window_attn = None if windows is None else _attention(channels, windows)
        self.scale3 = None if windows is None else layer_scale()
        self.norm4 = RMSNorm(channels)
        self.token_ca = TokenAttention(channels)
        self.scale4 = layer_scale()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """A map of the same shape."""
        x_NCHW = x_NCHW + self.scale1(self.conv2(F.gelu(self.dw(self.conv1(self.norm1(x_NCHW))))))
        x_NCHW = x_NCHW + self.scale2(self.channel_attn(x_NCHW))
        if self.window_attn is not None and self.norm3 is not None and self.scale3 is not None:
            x_NCHW = x_NCHW + self.scale3(self.window_attn(self.norm3(x_NCHW)))
        return x_NCHW + self.scale4(self.token_ca(self.norm4(x_NCHW)))


class ChannelAttention(nn.Module):
    """Squeeze and excitation (Hu et al. 2018) without biases, with a sixteenth of the width inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 16)
        self.fc = nn.Sequential(
            nn.Linear(channels, inner, bias=False),
            nn.GELU(),
            nn.Linear(inner, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """The weighted map."""
        return x_NCHW * self.fc(x_NCHW.mean((2, 3)))[:, :, None, None]


class TokenAttention(nn.Module):
    """Each pixel attends to a learned dictionary of 64 tokens (Zhang et al. 2024, ATD, eq. 4)."""

    TOKENS = 64
    WIDTH = 16

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.token_dict = nn.Parameter(torch.randn(1, self.TOKENS, channels) * 0.02)
        self.q_proj = nn.Linear(channels, self.WIDTH)
        self.k_proj = nn.Linear(channels, self.WIDTH)
        self.v_proj = nn.Linear(channels, channels)
        self.out_proj = nn.Linear(channels, channels)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """The mixed values, of the same shape."""
        x_NHWC = x_NCHW.permute(0, 2, 3, 1)
        keys, values = self.k_proj(self.token_dict)[0], self.v_proj(self.token_dict)[0]
        share = torch.softmax(self.q_proj(x_NHWC) @ keys.t() * self.WIDTH**-0.5, dim=-1)
        return self.out_proj(share @ values).permute(0, 3, 1, 2)


def _attention(channels: int, windows: Windows) -> ShiftedWindowAttention:
    return ShiftedWindowAttention(channels, window=windows.side, shift=windows.shift)


_BLOCKS = {"realtime": RealtimeBlock, "stream": StreamBlock, "photo": PhotoBlock, "pro": ProBlock}


def _tile_margin(block: BlockKind, attention: bool, blocks: int) -> int | None:
    # conv_in, conv_mid, up and conv_out add one pixel each; the base reaches 4
    match block:
        case "realtime":
            return 4 + blocks
        case "stream":
            return 4 + 4 * blocks
        case "photo":
            return None if attention else 4 + blocks
        case "pro":
            return None  # channel weights are means over the image


class _Row(NamedTuple):
    """What distinguishes a variant."""

    block: BlockKind
    num_feat: int
    num_groups: int
    num_blocks: int
    upsampler_alpha: float
    detail_gain: float


VARIANTS = {
    "realtime": _Row("realtime", 16, 1, 3, 0.3, 0.05),
    "stream": _Row("stream", 32, 2, 3, 0.0, 0.1),
    "photo": _Row("photo", 64, 4, 4, 0.4, 0.1),
    "pro": _Row("pro", 64, 6, 6, 0.4, 0.1),
}
"""Defaults of the named variants; each takes all parameters of `ParagonSR2Dual`."""

for _name, _row in VARIANTS.items():
    NETWORKS.register(f"paragonsr2_{_name}")(variant(ParagonSR2Dual, **_row._asdict()))
