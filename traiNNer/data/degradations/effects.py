"""What drawings, scans and web pictures have besides blur, noise and blocks: thick lines, halos, dithering."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from traiNNer.data.degradations.blur import sharpen
from traiNNer.data.degradations.chroma import FACTORS, subsample_chroma
from traiNNer.data.degradations.draws import Stage

Image = NDArray[np.float32]

DITHERINGS = ("bayer", "noise")
SAMPLINGS = tuple(FACTORS)[1:]


@dataclass(frozen=True)
class HaloSettings:
    """Over-sharpening: bright and dark seams along edges."""

    prob: float = 0.0
    amount: tuple[float, float] = (0.3, 1.5)
    """Smallest and largest factor on the difference from a blurred copy that is added."""
    sigma: tuple[float, float] = (0.6, 2.0)
    """Smallest and largest standard deviation of that blur, in LQ pixels."""


@dataclass(frozen=True)
class ChromaSettings:
    """Chroma at a lower resolution, without compression."""

    prob: float = 0.0
    samplings: tuple[str, ...] = ("420", "422")
    """Evenly: of `SAMPLINGS`."""


@dataclass(frozen=True)
class DitherSettings:
    """Few levels a channel, and a pattern that hides it."""

    prob: float = 0.0
    kinds: tuple[str, ...] = DITHERINGS
    """Evenly: of `DITHERINGS`."""
    levels: tuple[int, int] = (4, 32)


@dataclass(frozen=True)
class UsmSettings:
    """Unsharp masking of the finished LQ (`lq_usm` of traiNNer-redux)."""

    on: bool = False
    radius: tuple[int, int] = (1, 25)
    """Taps of the Gaussian."""


def thicken_lines(image: Image) -> Image:
    """A quarter of the darkest value around each pixel, and three quarters of the pixel."""
    darkest = cv2.erode(image, np.ones((3, 3), np.uint8))
    return cast("Image", cv2.addWeighted(image, 0.75, darkest, 0.25, 0))


def add_halo(image: Image, settings: HaloSettings, draw: Stage) -> tuple[Image, dict[str, Any]]:
    """The image, over-sharpened in that share of the samples, 0 to 255."""
    if not draw.chance(settings.prob):
        return image, {}
    amount, sigma = draw.uniform(*settings.amount), draw.uniform(*settings.sigma)
    blurred = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    sharp = np.clip(cv2.addWeighted(image, 1 + amount, blurred, -amount, 0), 0, 255)
    return cast("Image", sharp), {"amount": round(amount, 3), "sigma": round(sigma, 3)}


def lose_chroma(image: Image, settings: ChromaSettings, draw: Stage) -> tuple[Image, dict[str, Any]]:
    """The image with chroma subsampled in that share of the samples."""
    if not draw.chance(settings.prob):
        return image, {}
    sampling, smooth = draw.pick(settings.samplings), draw.chance(0.5)
    return subsample_chroma(image, sampling, smooth=smooth), {"chroma": sampling, "smooth": smooth}


def dither(image: Image, settings: DitherSettings, draw: Stage) -> tuple[Image, dict[str, Any]]:
    """The image with few levels in that share of the samples; black and white stay."""
    if not draw.chance(settings.prob):
        return image, {}
    kind, levels = draw.pick(settings.kinds), draw.whole(*settings.levels)
    height, width = image.shape[:2]
    if kind == "bayer":
        top, left = draw.whole(0, 7), draw.whole(0, 7)
        tiles = np.tile(_bayer(), (-(-(height + top) // 8), -(-(width + left) // 8)))
        pattern = tiles[top : top + height, left : left + width, None]
    else:
        bits = draw.sixteen_bits(height, width, 1).astype(np.float32)
        pattern = (bits + np.float32(0.5)) / np.float32(65536)
    step = np.float32(255 / (levels - 1))
    out = np.floor(np.clip(image, 0, 255) / step + pattern) * step
    return np.minimum(out, 255), {"pattern": kind, "levels": levels}


def sharpen_lq(image: Image, settings: UsmSettings, draw: Stage) -> tuple[Image, dict[str, Any]]:
    """The image under Real-ESRGAN's unsharp mask of a drawn size."""
    if not settings.on:
        return image, {}
    radius = draw.whole(*settings.radius) | 1
    # the sigma that OpenCV takes for a Gaussian of so many taps
    return sharpen(image, sigma=0.3 * ((radius - 1) * 0.5 - 1) + 0.8), {"radius": radius}


@lru_cache(maxsize=1)
def _bayer() -> NDArray[np.float32]:
    """(8, 8) thresholds in the order of Bayer (1973), evenly between 0 and 1."""
    order = np.zeros((1, 1))
    for _ in range(3):
        order = np.block([[4 * order, 4 * order + 2], [4 * order + 3, 4 * order + 1]])
    return ((order + 0.5) / 64).astype(np.float32)
