"""How much structure an enlarged image has against its ground truth, and how far its colours lie from it."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

RATIOS = ("edge_ratio", "residual_ratio", "colour_shift")
_HALF_A_LEVEL = 0.5 / 255


def structure(output: Tensor, gt: Tensor, lq: Tensor) -> Tensor:
    """How much structure there is, against the ground truth; (n, 3, h, w) three times to (n, 3), see RATIOS.

    edge_ratio = mean |Sobel(output)| / mean |Sobel(gt)| of grey images;
    residual_ratio = mean |output - bicubic| / mean |gt - bicubic|, 0 for a network that only interpolates.
    Both are NaN where the ground truth has less than half a level of it (a flat image, one without a pixel that
    has four neighbours, or what bicubic makes exactly): a rounding is many times that.
    colour_shift = |mean(output) - mean(gt)| of the channel where it is largest, 0 to 1.
    """
    # with antialias torch takes the kernel of MATLAB and Pillow (a = -0.5)
    bicubic = F.interpolate(lq, gt.shape[2:], mode="bicubic", antialias=True)
    edges = _ratio(_edges(output), _edges(gt))
    residual = _ratio(_distance(output, bicubic), _distance(gt, bicubic))
    shift = (output - gt).mean((2, 3)).abs().amax(1)
    return torch.stack([edges, residual, shift], dim=1)


def _ratio(found: Tensor, wanted: Tensor) -> Tensor:
    return torch.where(wanted < _HALF_A_LEVEL, torch.nan, found / wanted)


def _edges(images: Tensor) -> Tensor:
    grey, kernel = images.mean(1, keepdim=True), _sobel(images.device, images.dtype)
    if min(grey.shape[2:]) < 3:
        return grey.new_zeros(len(grey))
    # a processor takes strips: the same bits in 16 instead of 107 ms for 1356 x 2040 pixels
    rows = 64 if images.device.type == "cpu" else grey.shape[2]
    strips = [F.conv2d(grey[:, :, top : top + rows + 2], kernel) for top in range(0, grey.shape[2] - 2, rows)]
    across, down = torch.cat(strips, dim=2).unbind(1)
    return torch.hypot(across, down).mean((1, 2))


@lru_cache(maxsize=4)  # a copy to the device would wait for all that it has yet to do
def _sobel(device: torch.device, dtype: torch.dtype) -> Tensor:
    slope = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    return torch.stack([slope, slope.T])[:, None].to(device, dtype)


def _distance(left: Tensor, right: Tensor) -> Tensor:
    return (left - right).abs().mean((1, 2, 3))
