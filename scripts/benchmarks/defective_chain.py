"""A chain of degradations that resizes as other programs do, for the benchmark of real photographs alone.

The first resizing goes by a factor and drops the fraction of a pixel that does not fit; bilinear and bicubic
resizing are not antialiased. With `misaligned_only` it has the first of the two.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from traiNNer.data.degradations import chain as chain_module
from traiNNer.data.degradations.resizing import Image, merge, resize, split


def resized_by_factor(image: Image, factor: float, mode: str, *, antialias: bool) -> Image:
    """Resizing as other programs do it: floor(side * factor) pixels, each 1 / factor apart."""
    planes = torch.from_numpy(split(image))[None]
    if mode == "area":  # adaptive pooling knows sizes alone
        out = F.interpolate(planes, scale_factor=factor, mode="area")
    else:
        out = F.interpolate(
            planes,
            scale_factor=factor,
            mode=mode,
            align_corners=False,
            recompute_scale_factor=False,
            antialias=antialias,
        )
    return merge(out[0].numpy())


def resized_plainly(image: Image, height: int, width: int, mode: str) -> Image:
    """`resize` without antialiasing, as `torch.nn.functional.interpolate` does by default."""
    if mode == "area" or (height, width) == image.shape[:2]:
        return resize(image, height, width, mode)
    planes = torch.from_numpy(split(image))[None]
    return merge(F.interpolate(planes, (height, width), mode=mode, align_corners=False)[0].numpy())


class DefectiveChain(chain_module.Chain):
    """A preset's chain whose resizing has the defects; the draws are the same."""

    misaligned_only = False

    def _steps(self, full: tuple[int, int], size: tuple[int, int], draws: Any) -> Any:
        replaced: dict[Any, Any] = {
            chain_module.StageOf.RESIZE_1: (self._settings.first.resize, None),
            chain_module.StageOf.RESIZE_2: (self._settings.second.resize, size),
        }
        if self.misaligned_only:
            del replaced[chain_module.StageOf.RESIZE_2]
        for stage, step in super()._steps(full, size, draws):
            if stage in replaced:
                settings, base = replaced[stage]
                antialias = self.misaligned_only
                yield stage, partial(_defective_resize, base=base, settings=settings, antialias=antialias)
            elif stage is chain_module.StageOf.FINAL and not self.misaligned_only:
                yield stage, lambda image, draw: self._final_plainly(image, size, draw)
            else:
                yield stage, step

    def _final_plainly(self, image: Image, size: tuple[int, int], draw: Any) -> tuple[Image, dict[str, Any]]:
        mode = draw.pick(self._settings.final.modes, self._settings.final.mode_weights)
        return resized_plainly(image, *size, mode), {"mode": mode}


def _defective_resize(
    image: Image,
    draw: Any,
    *,
    base: tuple[int, int] | None,
    settings: chain_module.ResizeSettings,
    antialias: bool,
) -> tuple[Image, dict[str, Any]]:
    factor, mode = chain_module.draw_resizing(settings, draw)
    if base is None:
        return resized_by_factor(image, factor, mode, antialias=antialias), {"factor": factor}
    height, width = (int(side * factor) for side in base)
    return resized_plainly(image, height, width, mode), {"factor": factor}
