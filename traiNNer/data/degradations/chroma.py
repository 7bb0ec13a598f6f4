"""Chroma at a lower resolution than luma, as in nearly all compressed pictures and films."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from traiNNer.data.degradations.resizing import resize

Image = NDArray[np.float32]

FACTORS = {"444": (1, 1), "422": (1, 2), "420": (2, 2), "411": (1, 4), "410": (4, 4)}
"""By how much chroma is shrunk, down and across."""

_TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
"""ITU-R BT.601, full range; chroma around 0."""
_TO_RGB = np.linalg.inv(_TO_YCC)


def to_ycc(image: Image) -> Image:
    """(h, w, 3), RGB, to Y, Cb, Cr; chroma around 0."""
    return cast("Image", cv2.transform(image, _TO_YCC.astype(np.float32)))


def to_rgb(ycc: Image) -> Image:
    """Back; values may leave 0 to 255."""
    return cast("Image", cv2.transform(ycc, _TO_RGB.astype(np.float32)))


def subsample_chroma(image: Image, sampling: str, *, smooth: bool) -> Image:
    """Chroma shrunk by the mean of each block, and upsampled again.

    Args:
        image: (h, w, 3), RGB, 0 to 255.
        sampling: Of `FACTORS`.
        smooth: Upsample linearly; otherwise by repeating values, as simple decoders do.
    """
    down, across = FACTORS[sampling]
    height, width = image.shape[:2]
    small = -(-height // down), -(-width // across)
    below, right = small[0] * down - height, small[1] * across - width
    ycc = cv2.copyMakeBorder(to_ycc(image), 0, below, 0, right, cv2.BORDER_REPLICATE)
    planes = resize(cast("Image", ycc), *small, "area")
    rows, columns = ycc.shape[:2]
    large = resize(planes, rows, columns, "bilinear") if smooth else planes.repeat(down, 0).repeat(across, 1)
    ycc[..., 1:] = large[..., 1:]
    return to_rgb(cast("Image", ycc[:height, :width]))
