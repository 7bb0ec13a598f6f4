"""Named statistics of one image, by which it is kept or dropped."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from traiNNer.data.images.image_io import ImageError, Pixels, eight_bits, read_image

_BLOCK = 32
_STANDARD_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29,
    51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121,
    120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
"""Luminance table in Annex K of the JPEG standard, which libjpeg scales by the quality."""


@dataclass(frozen=True)
class Measures:
    """What one image is like."""

    width: int = 0
    height: int = 0
    contrast: float = 0.0
    """Standard deviation of luma, in levels of 255."""
    sharpness: float = 0.0
    """Standard deviation of the Laplacian of luma within blocks of 32 pixels, in levels; the 95th percentile over
    the blocks, so that a sharp subject before a soft background counts as sharp."""
    blockiness: float = 1.0
    """Mean step of luma across the edges of a grid of 8 pixels over the mean step elsewhere; 1 without blocks."""
    jpeg_quality: int = 100
    """As libjpeg counts, from the file's tables; 100 for other formats."""
    phash: str = ""
    """Perceptual hash of 64 bits, in hexadecimal digits."""
    sha256: str = ""
    """SHA-256 of the file, in hexadecimal digits."""
    problem: str = ""
    """Why it cannot be read; then the others are those of no image."""


def measure(path: Path) -> Measures:
    """Everything about one file. Never raises for what is in it."""
    try:
        data = path.read_bytes()
        image = read_image(path)
    except (ImageError, OSError) as error:
        return Measures(problem=str(error))
    luma = _luma(image)
    return Measures(
        width=image.shape[1],
        height=image.shape[0],
        contrast=round(float(luma.std()), 2),
        sharpness=round(sharpness(luma), 2),
        blockiness=round(blockiness(luma), 3),
        jpeg_quality=jpeg_quality(data),
        phash=perceptual_hash(image),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _luma(image: Pixels) -> NDArray[np.float32]:
    levels = image.astype(np.float32) / (257 if image.dtype == np.uint16 else 1)
    return np.asarray(cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY), np.float32)


def sharpness(luma: NDArray[np.float32]) -> float:
    """See `Measures.sharpness`."""
    rows, columns = (max(1, side // _BLOCK) for side in luma.shape)
    laplacian = cv2.Laplacian(luma, cv2.CV_32F)[: rows * _BLOCK, : columns * _BLOCK]
    if min(luma.shape) < _BLOCK:
        return float(laplacian.std())
    blocks = laplacian.reshape(rows, _BLOCK, columns, _BLOCK)
    return float(np.percentile(blocks.std(axis=(1, 3)), 95))


def blockiness(luma: NDArray[np.float32]) -> float:
    """See `Measures.blockiness`; over the phase of the grid where it is largest, and both directions."""
    ratios = []
    for steps in (np.abs(np.diff(luma, axis=1)).mean(0), np.abs(np.diff(luma, axis=0)).mean(1)):
        if len(steps) < 64:
            return 1.0
        whole = steps[: len(steps) // 8 * 8].reshape(-1, 8)
        # against the columns beside it: textures differ over the picture, blocks do not
        phases = np.median(
            whole / np.maximum((np.roll(whole, 1, 1) + np.roll(whole, -1, 1)) / 2, 1e-3), axis=0
        )
        ratios.append(float(phases.max()))
    return min(ratios)


def jpeg_quality(data: bytes) -> int:
    """The quality at which libjpeg's table is that of a JPEG file, or nearest to it; 100 for other formats."""
    from PIL import Image, UnidentifiedImageError

    if not data.startswith(b"\xff\xd8"):
        return 100
    try:
        with Image.open(io.BytesIO(data)) as image:
            table = getattr(image, "quantization", {}).get(0)
    except (UnidentifiedImageError, OSError):
        return 100
    if not table:
        return 100
    # in the order of their values: versions of Pillow differ in that of the frequencies
    ratios = np.log(_luma_tables() / np.maximum(np.sort(table), 1))
    return 1 + int(np.abs(ratios).sum(axis=1).argmin())


@lru_cache(maxsize=1)
def _luma_tables() -> NDArray[np.int64]:
    """(100, 64): libjpeg's luminance tables for the qualities 1 to 100, each in the order of its values."""
    quality = np.arange(1, 101)
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    scaled = (np.sort(_STANDARD_LUMA)[None, :] * percent[:, None] + 50) // 100
    return np.clip(scaled, 1, 255)  # what a baseline file can hold


def perceptual_hash(image: Pixels) -> str:
    """pHash: signs of the lowest frequencies of the shrunk image."""
    import imagehash
    from PIL import Image

    eight = eight_bits(image)
    return str(imagehash.phash(Image.fromarray(np.ascontiguousarray(eight))))
