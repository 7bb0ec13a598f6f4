"""Image quality scores. Each module holds one metric; the registry imports them all.

A metric compares what a network made with what it should have made, one score per image, on the device of
the images and without reading anything back to the host.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import Tensor

from traiNNer.registry import Registry


class Metric(Protocol):
    """A score with its settings, such as `METRICS.build({"type": "psnr", "crop_border": 2})`."""

    higher_is_better: ClassVar[bool]

    def __call__(self, sr: Tensor, gt: Tensor) -> Tensor:
        """Scores (n,) of images (n, c, h, w), RGB, 0 to 1."""
        ...


METRICS: Registry[Metric] = Registry("metric", package=__name__)

from traiNNer.metrics.psnr import psnr  # noqa: E402  (the modules register themselves in METRICS)
from traiNNer.metrics.ssim import ssim  # noqa: E402

__all__ = ["METRICS", "Metric", "psnr", "ssim"]
