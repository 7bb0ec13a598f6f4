"""Named statistics of one image, by which it is kept or dropped."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from traiNNer.data.image_io import ImageError, Pixels, eight_bits, read_image

_BLOCK = 32
_STANDARD_LUMA_MEAN = 57.625  # of the 64 entries of the luminance table in Annex K of the JPEG standard


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
    """The quality that libjpeg would need for the tables of a JPEG file; 100 for other formats."""
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
    percent = 100 * float(np.mean(table)) / _STANDARD_LUMA_MEAN
    quality = (200 - percent) / 2 if percent <= 100 else 5000 / percent
    return int(np.clip(round(quality), 1, 100))


def perceptual_hash(image: Pixels) -> str:
    """pHash: signs of the lowest frequencies of the shrunk image."""
    import imagehash
    from PIL import Image

    eight = eight_bits(image)
    return str(imagehash.phash(Image.fromarray(np.ascontiguousarray(eight))))
