"""Resizing to explicit sizes, in which both images cover exactly the same field of view.

Real-ESRGAN resizes by a factor, which drops the fraction of a pixel that does not fit and stretches the picture
when it comes back. All modes here keep the centres of pixels in place, and all but `nearest-exact` are
antialiased when they shrink.
"""

from __future__ import annotations

import math
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
_REACH = {"bilinear": 1, "bicubic": 2, "lanczos": 3}
"""Pixels to each side that a filter covers where the size stays."""


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
    rows = _filtered(image, height, mode)
    columns = _filtered(cast("Image", cv2.transpose(rows)), width, mode)
    return cast("Image", cv2.transpose(columns))


def _filtered(image: Image, length: int, mode: str) -> Image:
    """(length, w, 3): rows that are weighted means of rows, of a filter that is widened where they get fewer.

    `embedding_bag` is torch's product of few weights a row with a matrix: 0.06 ms for 150 of 272 rows, and both
    axes with all else 0.3 ms where its antialiased interpolation takes 0.7.
    """
    places, weights = _weights(len(image), length, mode)
    rows = torch.from_numpy(np.require(image, requirements=["C", "W"]).reshape(len(image), -1))
    out = F.embedding_bag(
        torch.from_numpy(places), rows, per_sample_weights=torch.from_numpy(weights), mode="sum"
    )
    return out.numpy().reshape(length, *image.shape[1:])


def _weights(source: int, target: int, mode: str) -> tuple[NDArray[np.int64], Image]:
    """(target, taps) each: which rows of the source a row of the target is made of, and by which weights."""
    step = source / target
    wide = max(step, 1.0)
    reach = _REACH[mode] * wide
    middle = (np.arange(target)[:, None] + 0.5) * step
    places = np.ceil(middle - reach - 0.5).astype(np.int64) + np.arange(math.floor(2 * reach) + 1)
    weights = _kernel((places + 0.5 - middle) / wide, mode)
    weights *= (places >= 0) & (places < source)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.clip(places, 0, source - 1), weights.astype(np.float32)


def _kernel(x: NDArray[np.float64], mode: str) -> NDArray[np.float64]:
    """The filter at a distance in pixels: a triangle, Keys' cubic with a = -0.5 as in Pillow, or three lobes."""
    x = np.abs(x)
    if mode == "bilinear":
        return np.maximum(1 - x, 0)
    if mode == "bicubic":
        near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
        return np.where(x < 1, near, np.where(x < 2, far, 0.0))
    return np.where(x < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


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
