"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from traiNNer.metrics import METRICS, Metric
from traiNNer.metrics.protocol import compared


def psnr(sr: Tensor, gt: Tensor, *, crop_border: int = 0, y_channel: bool = False) -> Tensor:
    """Peak signal-to-noise ratio in dB of each image: 10 log10(255^2 / MSE), (n,) float64.

    Infinite for images that are equal after rounding to 8 bits; NaN where an image holds NaN.

    Args:
        sr: (n, c, h, w), RGB, 0 to 1; clamped and rounded to 8 bits.
        gt: (n, c, h, w), likewise.
        crop_border: Pixels left out at each edge; by convention the scale.
        y_channel: Compare luma (BT.601, 16 to 235, unrounded) instead of RGB.
    """
    a, b = compared(sr, gt, crop_border=crop_border, y_channel=y_channel)
    squared_error = (a - b).square_().mean((1, 2, 3))
    return 10 * (255**2 / squared_error).log10()


LIMIT = 10 * math.log10(255**2 * 12)
"""58.92 dB: a mean squared error of 1/12 of a level is that of rounding to 8 bits, which shows no less."""


@METRICS.register("psnr", "calculate_psnr")
@dataclass(frozen=True)
class Psnr:
    """Peak signal-to-noise ratio in dB: 10 log10(255^2 / MSE) of 8-bit images, at most 58.92 (see `LIMIT`).

    An image that is met exactly, such as a black frame, would be infinite and decide every mean.
    """

    higher_is_better: ClassVar[bool] = True

    crop_border: int = 0
    test_y_channel: bool = False
    """Compare luma (BT.601, 16 to 235, unrounded) instead of RGB."""

    def __call__(self, sr: Tensor, gt: Tensor) -> Tensor:
        """Decibels (n,) of images (n, c, h, w), RGB, 0 to 1."""
        return psnr(sr, gt, crop_border=self.crop_border, y_channel=self.test_y_channel).clamp(max=LIMIT)


@METRICS.register("psnr_y")
def psnr_y(*, crop_border: int = 0) -> Metric:
    """The metric `psnr` of luma."""
    return Psnr(crop_border=crop_border, test_y_channel=True)
