"""The hybrid family (late November 2025): a fixed upscaling plus detail from a body at LQ resolution.

Each block mixes a depthwise context, a gated 1x1 - 3x3 - 1x1 transform and, optionally, window attention and
channel weights; the detail of an image is multiplied by one gain that depends on its content. The result of
attention and of the gain depends on the size of the image.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from traiNNer.archs import NETWORKS, NetworkFacts, OnnxForm, recorded
from traiNNer.archs.fuse import Foldable
from traiNNer.archs.paragonsr2.attention import STRIDE, BlendedWindowAttention
from traiNNer.archs.paragonsr2.blocks import (
    LAYER_SCALE_INIT,
    NEGATIVE_SLOPE,
    FoldedContext,
    HybridNorm,
    InceptionContext,
    LayerScale,
    SkipGroup,
    depthwise,
    expanded,
    require_positive,
    scale_output,
    spatial,
    start_subpixels_equal,
    zero_bias,
)
from traiNNer.archs.paragonsr2.resampler import Base, MagicUpsampler, Padding, in_full_precision
from traiNNer.archs.variants import variant


@NETWORKS.register("paragonsr2")
class ParagonSR2(nn.Module):
    """The hybrid network: upscale(x) + gain(x) * detail(x).

    Args:
        scale: Resolution factor, at least 1.
        num_feat: Width of the body.
        num_groups: Groups of blocks, each with a skip.
        num_blocks: Blocks of a group.
        ffn_expansion: Width of a block's transform over num_feat.
        square_kernel_size: Of the context's square branch.
        band_kernel_size: Of its two band branches.
        branch_ratio: Share of the channels of each branch.
        upsampler_alpha: Share of the low-pass pre-filter in the fixed upscaling, 0 to 1; 0 is best.
        detail_gain: Factor on the initial weights of the last convolution.
        fast_body_mode: Halves groups and blocks.
        use_norm: Normalises the stream after each block.
        use_channel_mod: Channel weights (squeeze and excitation) in each block.
        use_content_aware: One gain per image, 0.05 to 0.2; without it the gain is 1.
        use_attention: Window attention in each block.
        padding: What every filter sees beyond the border.
        base: The fixed upscaling.
        layer_scale_init: Initial weight of each block's two branches.
        icnr: Equal initial filters for the sub-pixels.
    """

    facts: NetworkFacts
    options: dict[str, Any]
    """The arguments it was built with; `{"type": "paragonsr2", **options}` builds it again."""

    def __init__(
        self,
        scale: int,
        *,
        num_feat: int = 64,
        num_groups: int = 6,
        num_blocks: int = 6,
        ffn_expansion: float = 2.0,
        square_kernel_size: int = 3,
        band_kernel_size: int = 11,
        branch_ratio: float = 0.125,
        upsampler_alpha: float = 0.5,
        detail_gain: float = 0.1,
        fast_body_mode: bool = False,
        use_norm: bool = False,
        use_channel_mod: bool = True,
        use_content_aware: bool = True,
        use_attention: bool = False,
        padding: Padding = "zeros",
        base: Base = "magic",
        layer_scale_init: float = LAYER_SCALE_INIT,
        icnr: bool = False,
    ) -> None:
        options = recorded(locals())
        require_positive(scale=scale, num_feat=num_feat, num_groups=num_groups, num_blocks=num_blocks)
        super().__init__()
        self.options = options
        if fast_body_mode:
            num_groups, num_blocks = max(1, num_groups // 2), max(1, num_blocks // 2)

        def block() -> Block:
            return Block(
                num_feat,
                hidden=expanded(num_feat, ffn_expansion),
                context=InceptionContext(
                    num_feat,
                    square=square_kernel_size,
                    band=band_kernel_size,
                    branch_ratio=branch_ratio,
                    padding=padding,
                ),
                channel_mod=use_channel_mod,
                attention=use_attention,
                norm=use_norm,
                padding=padding,
                layer_scale_init=layer_scale_init,
            )

        self.content_processor = ContentGain(num_feat, padding) if use_content_aware else None
        self.conv_in = spatial(3, num_feat, 3, padding)
        self.body = nn.ModuleList(SkipGroup(block() for _ in range(num_blocks)) for _ in range(num_groups))
        self.conv_fuse = spatial(num_feat, num_feat, 3, padding)
        self.upsampler_net = SubPixel(num_feat, scale, padding=padding, icnr=icnr)
        self.conv_out = spatial(num_feat, 3, 3, padding)
        self.magic_upsampler = MagicUpsampler(
            3, scale=scale, alpha=upsampler_alpha, padding=padding, base=base
        )
        with torch.no_grad():
            self.conv_out.weight *= detail_gain
        zero_bias(self.conv_out)
        whole = use_attention or use_channel_mod or use_content_aware
        reach = max(square_kernel_size // 2, band_kernel_size // 2) + 1
        # conv_in, conv_fuse, the sub-pixel convolution and conv_out add one pixel each; the base reaches 4
        margin = max(4, 4 + num_groups * num_blocks * reach)
        self.facts = NetworkFacts(
            "generator",
            scale=scale,
            window=STRIDE if use_attention else 1,
            tile_margin=None if whole else margin,
            onnx=OnnxForm(pads=True),
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, 3, h, w)` RGB 0 to 1 -> `(n, 3, h * scale, w * scale)`, not clamped."""
        f = self.conv_in(x_NCHW)
        for group in self.body:
            f = group(f)
        detail = self.conv_out(self.upsampler_net(self.conv_fuse(f) + f))
        if self.content_processor is not None:
            detail = detail * self.content_processor(x_NCHW)
        return in_full_precision(self.magic_upsampler, x_NCHW) + detail


class Block(Foldable):
    """x + ls1 * context(x), then + ls2 * transform of that, then optionally the norm of the stream."""

    def __init__(
        self,
        channels: int,
        *,
        hidden: int,
        context: InceptionContext,
        channel_mod: bool,
        attention: bool,
        norm: bool,
        padding: Padding,
        layer_scale_init: float,
    ) -> None:
        super().__init__()
        self.context = context
        self.ls1 = LayerScale(1, channels, 1, 1, init=layer_scale_init)
        self.transformer = Transform(
            channels, hidden, channel_mod=channel_mod, attention=attention, padding=padding
        )
        self.ls2 = LayerScale(1, channels, 1, 1, init=layer_scale_init)
        self.norm = HybridNorm(channels) if norm else None

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """A map of the same shape."""
        x_NCHW = x_NCHW + self.ls1(self.context(x_NCHW))
        x_NCHW = x_NCHW + self.ls2(self.transformer(x_NCHW))
        return x_NCHW if self.norm is None else self.norm(x_NCHW)

    def fold(self) -> nn.Module:
        """The layer scales in the convolutions before them, the first sum in the context's filters."""
        scale_output(self.transformer.project_out, self.ls2.gamma)
        context = FoldedContext(self.context, self.ls1.gamma)
        return FoldedBlock(context, self.transformer, self.norm)


class FoldedBlock(nn.Module):
    """`Block` with its layer scales folded away."""

    def __init__(self, context: FoldedContext, transformer: Transform, norm: HybridNorm | None) -> None:
        super().__init__()
        self.context, self.transformer, self.norm = context, transformer, norm

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """A map of the same shape."""
        x_NCHW = self.context(x_NCHW)
        x_NCHW = x_NCHW + self.transformer(x_NCHW)
        return x_NCHW if self.norm is None else self.norm(x_NCHW)


class Transform(nn.Module):
    """1x1, depthwise 3x3, 1x1, then attention and channel weights where asked for, then 1x1."""

    def __init__(
        self, channels: int, hidden: int, *, channel_mod: bool, attention: bool, padding: Padding
    ) -> None:
        super().__init__()
        self.project_in = nn.Conv2d(channels, hidden, 1)
        self.dw_mixer = nn.Sequential(
            depthwise(hidden, (3, 3), padding), nn.LeakyReLU(NEGATIVE_SLOPE), nn.Conv2d(hidden, hidden, 1)
        )
        self.channel_mod = ChannelWeights(hidden) if channel_mod else None
        self.attention = BlendedWindowAttention(hidden) if attention else None
        self.project_out = nn.Conv2d(hidden, channels, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """A map of the same shape."""
        u = self.dw_mixer(self.project_in(x_NCHW))
        if self.attention is not None:
            u = self.attention(u)
        if self.channel_mod is not None:
            u = self.channel_mod(u)
        return self.project_out(u)


class ChannelWeights(nn.Module):
    """Squeeze and excitation (Hu et al. 2018) with a quarter of the width inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 4)
        self.net = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, inner, 1),
            nn.ReLU(),
            nn.Conv2d(inner, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, u_NCHW: Tensor) -> Tensor:
        """The weighted map."""
        return u_NCHW * self.net(u_NCHW)


class ContentGain(nn.Module):
    """One gain per image: 0.05 + 0.15 * (1 - sigmoid(a small network of the LQ image))."""

    def __init__(self, channels: int, padding: Padding) -> None:
        super().__init__()
        narrow, wide = max(1, channels // 4), max(1, channels // 2)
        self.content_analyzer = nn.Sequential(
            spatial(3, narrow, 3, padding),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            spatial(narrow, wide, 5, padding),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            spatial(wide, wide, 7, padding),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(wide, 1, 1),
            nn.Sigmoid(),
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, 1, 1, 1)`, above 0.05 and below 0.2."""
        return 0.05 + 0.15 * (1 - self.content_analyzer(x_NCHW))


class SubPixel(nn.Module):
    """A 3x3 convolution to s * s times the channels and a pixel shuffle (Shi et al. 2016)."""

    def __init__(self, channels: int, scale: int, *, padding: Padding, icnr: bool) -> None:
        super().__init__()
        self.scale = scale
        self.up_conv = spatial(channels, channels * scale * scale, 3, padding)
        nn.init.normal_(self.up_conv.weight, std=math.sqrt(2 / (9 * channels)))
        zero_bias(self.up_conv)
        if icnr:
            start_subpixels_equal(self.up_conv, scale)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h * s, w * s)`."""
        return F.pixel_shuffle(self.up_conv(x_NCHW), self.scale)


class _Row(NamedTuple):
    """What distinguishes a variant; `fast` halves groups and blocks."""

    num_feat: int
    num_groups: int
    num_blocks: int
    ffn_expansion: float
    band_kernel_size: int
    upsampler_alpha: float
    detail_gain: float
    use_norm: bool
    use_channel_mod: bool
    use_attention: bool
    fast_body_mode: bool


VARIANTS = {
    #            feat grp blk  ffn band alpha gain  norm   se    attn   fast
    "nano": _Row(12, 1, 1, 1.2, 7, 0.4, 0.05, False, False, True, True),
    "micro": _Row(16, 1, 2, 1.5, 7, 0.45, 0.08, False, True, True, True),
    "tiny": _Row(24, 2, 2, 1.5, 9, 0.5, 0.1, True, True, True, True),
    "xs": _Row(32, 2, 3, 1.8, 11, 0.5, 0.1, True, True, True, True),
    "s": _Row(48, 3, 4, 2.0, 11, 0.5, 0.1, True, True, True, True),
    "m": _Row(64, 4, 6, 2.0, 11, 0.5, 0.1, True, True, True, False),
    "l": _Row(96, 6, 8, 2.0, 13, 0.55, 0.1, True, True, False, False),
    "xl": _Row(128, 8, 10, 2.0, 15, 0.6, 0.1, True, True, False, False),
}
"""Defaults of the named variants; each takes all parameters of `ParagonSR2`."""

for _name, _row in VARIANTS.items():
    NETWORKS.register(f"paragonsr2_{_name}")(variant(ParagonSR2, **_row._asdict()))
