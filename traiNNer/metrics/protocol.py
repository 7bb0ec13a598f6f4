"""What the field's papers do to an image before they score it: 8 bits, cropped edges, luma."""

from __future__ import annotations

import torch
from torch import Tensor

_LUMA = (65.481, 128.553, 24.966)  # ITU-R BT.601 for R, G, B in 0..1, result in 16..235 (MATLAB's rgb2ycbcr)


def luma(rgb: Tensor, white: float = 1.0) -> Tensor:
    """Y of YCbCr (n, 1, h, w), 16 to 235 of 255 parts of `white`, of images (n, 3, h, w), RGB, 0 to `white`."""
    red, green, blue = (rgb[:, i : i + 1] * (weight / 255) for i, weight in enumerate(_LUMA))
    return red + green + blue + 16 * white / 255


def compared(sr: Tensor, gt: Tensor, *, crop_border: int, y_channel: bool) -> tuple[Tensor, Tensor]:
    """Both images as papers compare them: (n, c or 1, h - 2 crop, w - 2 crop), 0 to 255.

    Both are clamped and rounded to 8 bits, which changes nothing in an 8-bit `gt` and makes scores against a
    16-bit one comparable. Luma is not rounded. An image of one channel is luma already, as `color: y` makes it:
    where luma is asked it is not rounded either, and has the scores of the RGB that it came from. The result is
    float64, or float32 on a device without float64 (mps). What is not a number stays so.

    Raises:
        ValueError: Where shapes differ, the crop leaves nothing, or luma is asked of other than 1 or 3 channels.
    """
    if sr.shape != gt.shape or sr.ndim != 4:
        raise ValueError(f"both images must be (n, c, h, w), got {tuple(sr.shape)} and {tuple(gt.shape)}")
    if min(sr.shape[2:]) <= 2 * crop_border:
        raise ValueError(f"crop_border {crop_border} leaves nothing of an image of {tuple(sr.shape[2:])}")
    if y_channel and sr.shape[1] not in (1, 3):
        raise ValueError(f"luma needs images of 1 or 3 channels, not {sr.shape[1]}")
    return _prepared(sr, crop_border, y_channel), _prepared(gt, crop_border, y_channel)


def _prepared(image: Tensor, crop_border: int, y_channel: bool) -> Tensor:
    height, width = image.shape[2:]
    inner = image[:, :, crop_border : height - crop_border, crop_border : width - crop_border]
    dtype = torch.float32 if image.device.type == "mps" else torch.float64
    levels = inner.detach().to(dtype).clamp(0, 1).mul_(255)
    if y_channel and image.shape[1] == 1:
        return levels
    levels.round_()
    return luma(levels, 255) if y_channel else levels
