"""Real-ESRGAN's unsharp mask, by which ground truth is sharpened."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

_TAPS, _SIGMA = 51, 8.0  # the sigma that OpenCV takes for 51 taps
_WEIGHT, _THRESHOLD = 0.5, 10 / 255


@torch.no_grad()
def sharpen(images: Tensor) -> Tensor:
    """Unsharp masking where the residual is above 10 levels of 255, through a softened mask.

    Args:
        images: (n, 3, h, w), RGB, 0 to 1; sides of at least 26 pixels.
    """
    residual = images - _blurred(images)
    soft = _blurred((residual.abs() > _THRESHOLD).to(images.dtype))
    sharp = (images + _WEIGHT * residual).clamp(0, 1)
    return images + soft * (sharp - images)


def _blurred(images: Tensor) -> Tensor:
    half = _TAPS // 2
    row = _gaussian(images.dtype, images.device).repeat(images.shape[1], 1, 1, 1)
    padded = F.pad(images, (half, half, half, half), mode="reflect")
    across = F.conv2d(padded, row, groups=images.shape[1])
    return F.conv2d(across, row.transpose(2, 3), groups=images.shape[1])


@lru_cache(maxsize=4)
def _gaussian(dtype: torch.dtype, device: torch.device) -> Tensor:
    place = torch.arange(_TAPS, dtype=torch.float64) - _TAPS // 2
    weights = torch.exp(-(place**2) / (2 * _SIGMA**2))
    return (weights / weights.sum()).to(device, dtype).view(1, 1, 1, -1)
