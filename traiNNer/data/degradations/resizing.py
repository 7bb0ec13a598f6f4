"""Resizing to explicit sizes, in which both images cover exactly the same field of view.

Real-ESRGAN resizes by a factor, which drops the fraction of a pixel that does not fit and stretches the picture
when it comes back. All modes here keep the centres of pixels in place, and all but `nearest-exact` are
antialiased when they shrink.
"""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

Image = NDArray[np.float32]

MODES = ("area", "bilinear", "bicubic", "lanczos", "nearest-exact")
_ENLARGING = {
    "area": cv2.INTER_AREA,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}


def resize(image: Image, height: int, width: int, mode: str) -> Image:
    """(height, width, 3) by one of `MODES`. Bicubic and Lanczos overshoot: values may leave 0 to 255."""
    if (height, width) == image.shape[:2]:
        return image
    if mode == "nearest-exact":
        columns = _nearest(_nearest(image, height).swapaxes(0, 1), width)
        return np.ascontiguousarray(columns.swapaxes(0, 1))
    if height >= image.shape[0] and width >= image.shape[1]:
        return cast("Image", cv2.resize(image, (width, height), interpolation=_ENLARGING[mode]))
    if mode == "area":
        return cast("Image", cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    if mode == "lanczos":
        return _shrunk_by_lanczos(image, height, width)
    planes = torch.from_numpy(split(image))[None]
    out = F.interpolate(planes, (height, width), mode=mode, antialias=True, align_corners=False)
    return merge(out[0].numpy())


def _shrunk_by_lanczos(image: Image, height: int, width: int) -> Image:
    """By products with matrices: torch has this mode from 2.12 on only."""
    half = np.tensordot(_lanczos(image.shape[0], height), image, 1)
    columns = np.tensordot(_lanczos(image.shape[1], width), half.swapaxes(0, 1), 1)
    return np.ascontiguousarray(columns.swapaxes(0, 1), np.float32)


@lru_cache(maxsize=64)
def _lanczos(source: int, target: int) -> NDArray[np.float32]:
    """(target, source) weights of a Lanczos filter of three lobes, widened where it shrinks."""
    step = source / target
    x = ((np.arange(target)[:, None] + 0.5) * step - (np.arange(source)[None, :] + 0.5)) / max(step, 1.0)
    weights = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def split(image: Image) -> Image:
    """(h, w, 3) to (3, h, w), in half the time that numpy takes."""
    planes = np.empty((3, *image.shape[:2]), np.float32)
    cv2.split(image, [planes[0], planes[1], planes[2]])
    return planes


def merge(planes: Image) -> Image:
    """(3, h, w) to (h, w, 3)."""
    return cast("Image", cv2.merge(list(planes)))


def _nearest(image: Image, length: int) -> Image:
    """The nearest row of each; of two that are equally near their mean.

    Taking one of the two, as torch (`nearest-exact`) and OpenCV do, moves the picture by half a pixel wherever
    an even factor makes every row such a case.
    """
    doubled = (2 * np.arange(length) + 1) * len(image)
    right, rest = np.divmod(doubled, 2 * length)
    left = right - (rest == 0)
    if np.array_equal(left, right):
        return image[right]
    return (image[left] + image[right]) * np.float32(0.5)
