"""The first family (early November 2025): a residual body, then upscaling in feature space.

Its mixers filter each image with 3x3 kernels predicted from the image; a running mean of those kernels serves
in evaluation, so that the released network is static. No tensor depends on the scale: one file serves all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from traiNNer.archs import NETWORKS, NetworkFacts, recorded
from traiNNer.archs.fuse import Foldable
from traiNNer.archs.paragonsr2.blocks import (
    LAYER_SCALE_INIT,
    NEGATIVE_SLOPE,
    FoldedContext,
    InceptionContext,
    LayerScale,
    SkipGroup,
    expanded,
    require_positive,
    scale_output,
    spatial,
)
from traiNNer.archs.paragonsr2.resampler import Base, MagicUpsampler, Padding
from traiNNer.archs.variants import variant

TRACKING_RATE = 0.05
"""Share of a batch's mean kernel in the running mean."""


@NETWORKS.register("paragonsr2_magic")
class ParagonSR2Magic(nn.Module):
    """The first network: two 3x3 convolutions of the upscaled features of a residual body.

    Args:
        scale: Resolution factor, at least 1; no weight depends on it.
        num_feat: Width of the body.
        num_groups: Groups of blocks, each with a skip.
        num_blocks: Blocks of a group.
        ffn_expansion: Width of a block's mixer over num_feat.
        square_kernel_size: Of the context's square branch.
        band_kernel_size: Of its two band branches.
        branch_ratio: Share of the channels of each branch.
        upsampler_alpha: Share of the low-pass pre-filter before the upscaling, 0 to 1; limited to that.
        padding: What every filter sees beyond the border.
        base: How the features are upscaled.
        layer_scale_init: Initial weight of each block's two branches.
    """

    facts: NetworkFacts
    options: dict[str, Any]
    """The arguments it was built with; `{"type": "paragonsr2_magic", **options}` builds it again."""

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
        upsampler_alpha: float = 1.0,
        padding: Padding = "zeros",
        base: Base = "magic",
        layer_scale_init: float = LAYER_SCALE_INIT,
    ) -> None:
        options = recorded(locals())
        require_positive(scale=scale, num_feat=num_feat, num_groups=num_groups, num_blocks=num_blocks)
        super().__init__()
        self.options = options

        def block() -> Block:
            context = InceptionContext(
                num_feat,
                square=square_kernel_size,
                band=band_kernel_size,
                branch_ratio=branch_ratio,
                padding=padding,
            )
            mixer = DynamicMixer(num_feat, expanded(num_feat, ffn_expansion), padding)
            return Block(num_feat, context, mixer, layer_scale_init)

        self.conv_in = spatial(3, num_feat, 3, padding)
        self.body = nn.ModuleList(SkipGroup(block() for _ in range(num_blocks)) for _ in range(num_groups))
        self.conv_fuse = spatial(num_feat, num_feat, 3, padding)
        self.magic_upsampler = MagicUpsampler(
            num_feat, scale=scale, alpha=upsampler_alpha, padding=padding, base=base
        )
        self.upsampler = spatial(num_feat, num_feat, 3, padding)
        self.conv_out = spatial(num_feat, 3, 3, padding)
        reach = max(square_kernel_size // 2, band_kernel_size // 2) + 1
        # conv_in and conv_fuse 1 each, the upscaling 4, two convolutions of the large map 2 or less; at scale 1
        # the upscaling sees 5
        self._margin = (8 if scale > 1 else 9) + num_groups * num_blocks * reach
        self.facts = NetworkFacts("generator", scale=scale, tile_margin=self._margin)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, 3, h, w)` RGB 0 to 1 -> `(n, 3, h * scale, w * scale)`, not clamped."""
        first = self.conv_in(x_NCHW)
        f = first
        for group in self.body:
            f = group(f)
        f = self.conv_fuse(f) + first
        return self.conv_out(self.upsampler(self.magic_upsampler(f)))

    def set_dynamic_inference(self, enabled: bool) -> None:
        """Whether evaluation predicts kernels for each image, as training does, or uses the running means."""
        for module in self.modules():
            if isinstance(module, DynamicMixer):
                module.dynamic_inference = enabled
        self.facts = replace(self.facts, tile_margin=None if enabled else self._margin)


class Block(Foldable):
    """x + ls1 * context(x), then + ls2 * mixer of that."""

    def __init__(
        self, channels: int, context: InceptionContext, mixer: DynamicMixer, layer_scale_init: float
    ) -> None:
        super().__init__()
        self.context = context
        self.ls1 = LayerScale(channels, init=layer_scale_init)
        self.transformer = mixer
        self.ls2 = LayerScale(channels, init=layer_scale_init)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """A map of the same shape."""
        x_NCHW = x_NCHW + self.ls1(self.context(x_NCHW))
        return x_NCHW + self.ls2(self.transformer(x_NCHW))

    def fold(self) -> nn.Module:
        """The layer scales in convolutions, the running mean of the kernels as one depthwise convolution."""
        scale_output(self.transformer.project_out, self.ls2.gamma)
        return FoldedBlock(FoldedContext(self.context, self.ls1.gamma), self.transformer.fold())


class FoldedBlock(nn.Module):
    """`Block` with its layer scales folded away."""

    def __init__(self, context: FoldedContext, transformer: nn.Module) -> None:
        super().__init__()
        self.context, self.transformer = context, transformer

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """A map of the same shape."""
        x_NCHW = self.context(x_NCHW)
        return x_NCHW + self.transformer(x_NCHW)


class DynamicMixer(Foldable):
    """1x1, depthwise 3x3 with kernels of its own, leaky ReLU, 1x1.

    In training the kernels are predicted for each sample, and their mean over the batch is tracked; in
    evaluation the tracked kernels serve all samples (before any was tracked: the identity).
    """

    identity_kernel: Tensor
    tracked_kernel: Tensor
    tracked_initialized: Tensor

    def __init__(self, channels: int, hidden: int, padding: Padding) -> None:
        super().__init__()
        self.padding: Padding = padding
        self.dynamic_inference = False
        identity = torch.zeros(hidden, 1, 3, 3)
        identity[:, :, 1, 1] = 1
        self.register_buffer("identity_kernel", identity)
        self.register_buffer("tracked_kernel", torch.zeros(hidden, 1, 3, 3))
        self.register_buffer("tracked_initialized", torch.tensor(False))
        self.project_in = nn.Conv2d(channels, hidden, 1)
        self.kernel_generator = KernelGenerator(hidden)
        self.project_out = nn.Conv2d(hidden, channels, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """A map of the same shape."""
        u = self.project_in(x_NCHW)
        if self.training or self.dynamic_inference:
            kernels = self.kernel_generator(u)
            if self.training:
                self._track(kernels.detach())
            u = self._filter_each(u, kernels)
        else:
            u = self._filter(u, self._static_kernel().to(u.dtype))
        return self.project_out(F.leaky_relu(u, NEGATIVE_SLOPE))

    def fold(self) -> nn.Module:
        """A chain with the static kernels; unchanged if evaluation is dynamic."""
        if self.dynamic_inference:
            return self
        hidden = self.project_in.out_channels
        conv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False, padding_mode=self.padding)
        conv.weight = nn.Parameter(self._static_kernel().clone(), requires_grad=False)
        return nn.Sequential(self.project_in, conv, nn.LeakyReLU(NEGATIVE_SLOPE), self.project_out)

    def _static_kernel(self) -> Tensor:
        # a choice on the device: reading the flag would wait for it, and break compiled graphs
        return torch.where(self.tracked_initialized, self.tracked_kernel, self.identity_kernel)

    def _track(self, kernels_NC33: Tensor) -> None:
        mean = kernels_NC33.mean(0).unsqueeze(1).to(self.tracked_kernel.dtype)
        moved = torch.lerp(self.tracked_kernel, mean, TRACKING_RATE)
        self.tracked_kernel.copy_(torch.where(self.tracked_initialized, moved, mean))
        self.tracked_initialized.fill_(True)

    def _filter_each(self, u_NCHW: Tensor, kernels_NC33: Tensor) -> Tensor:
        # a depthwise convolution of all samples' channels side by side
        n, c = u_NCHW.shape[:2]
        filtered = self._filter(u_NCHW.flatten(0, 1)[None], kernels_NC33.flatten(0, 1).unsqueeze(1))
        return filtered.unflatten(1, (n, c))[0]

    def _filter(self, u_NCHW: Tensor, kernels_C133: Tensor) -> Tensor:
        groups = kernels_C133.shape[0]
        if self.padding == "zeros":
            return F.conv2d(u_NCHW, kernels_C133, padding=1, groups=groups)
        return F.conv2d(F.pad(u_NCHW, (1, 1, 1, 1), mode="replicate"), kernels_C133, groups=groups)


class KernelGenerator(nn.Module):
    """One 3x3 kernel per sample and channel from the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.predictor = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels, 1),
            nn.ReLU(),
            nn.Conv2d(channels, 9 * channels, 1),
        )

    def forward(self, u_NCHW: Tensor) -> Tensor:
        """`(n, c, 3, 3)`."""
        n, c = u_NCHW.shape[:2]
        return self.predictor(u_NCHW).reshape(n, c, 3, 3)


class _Row(NamedTuple):
    """What distinguishes a variant."""

    num_feat: int
    num_groups: int
    num_blocks: int
    ffn_expansion: float
    band_kernel_size: int


VARIANTS = {
    "nano": _Row(24, 2, 2, 1.5, 9),
    "anime": _Row(28, 2, 3, 1.5, 15),
    "tiny": _Row(32, 3, 2, 2.0, 11),
    "s": _Row(56, 5, 5, 2.0, 11),
    "m": _Row(96, 8, 8, 2.0, 11),
    "l": _Row(128, 10, 10, 2.0, 11),
    "xl": _Row(160, 12, 12, 2.0, 11),
}
"""Defaults of the named variants; each takes all parameters of `ParagonSR2Magic`."""

for _name, _row in VARIANTS.items():
    NETWORKS.register(f"paragonsr2_magic_{_name}")(variant(ParagonSR2Magic, **_row._asdict()))
