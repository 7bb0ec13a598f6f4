"""Image files to arrays and back, and their sizes without decoding.

One convention for every format: (h, w, 3), RGB, uint8 or uint16. Grey becomes three equal channels.
Transparency is dropped, not composited: the colours stay as stored, also where they were invisible. EXIF
orientation is ignored: a pair is compared pixel by pixel, and LR images made from photographs seldom keep the
mark. (A TIFF's own orientation is obeyed, by its decoder.) `read_picture` keeps and obeys both.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from traiNNer.data.image_header import JPEG, REMEDY, TIFF, Header, problem, read_header

cv2.setNumThreads(0)  # workers are the parallelism; threads of each would fight for the same cores
# what a decoder complains of is raised here, with the name of the file
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
"""An image: (h, w, 3), RGB, full range of its integer type."""

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
"""File names that count as images, in lower case. What a file holds is told by its content."""

_TO_RGB = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
_FROM_RGB = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}


class ImageError(ValueError):
    """A file that cannot be used as an image. The message begins with its path."""


def read_image(path: str | Path) -> Pixels:
    """The pixels of a PNG, JPEG, WebP, BMP or TIFF file (its first picture, if it holds several).

    Raises:
        ImageError: For a missing, empty, truncated, damaged or unsupported file. Damage that a format without
            checksums (TIFF, BMP, most of JPEG and WebP) cannot show is not found.
    """
    return _rgb(_decode(_read(path), path, cv2.IMREAD_UNCHANGED))


class Picture(NamedTuple):
    """An image as viewers show it."""

    pixels: Pixels
    """(h, w, 3), RGB; colours as stored, also where they are invisible."""
    alpha: Pixels | None
    """(h, w) of the same type, full where opaque; None for a file without transparency."""


def read_picture(path: str | Path) -> Picture:
    """Like `read_image`, with transparency, and turned as the EXIF orientation of a JPEG file says.

    Raises:
        ImageError: See `read_image`.
    """
    data = _read(path)
    stored = _decode(data, path, cv2.IMREAD_COLOR if data.startswith(JPEG) else cv2.IMREAD_UNCHANGED)
    alpha = np.ascontiguousarray(stored[..., 3]) if stored.ndim == 3 and stored.shape[2] == 4 else None
    return Picture(_rgb(stored), cast("Pixels | None", alpha))


def write_image(path: str | Path, image: Pixels) -> None:
    """Write an image in the format of the path's suffix; the folder is made, an older file replaced at once.

    PNG, WebP and TIFF are lossless, JPEG has quality 95. uint16 can be written as PNG and TIFF, a fourth channel
    (transparency) as PNG and WebP.

    Raises:
        ImageError: If the suffix or the array does not allow it.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise ImageError(f"{path}: the suffix should be one of {', '.join(sorted(IMAGE_SUFFIXES))}")
    channels = image.shape[2] if image.ndim == 3 else 0
    if channels not in _FROM_RGB or image.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"{path}: takes (h, w, 3 or 4) uint8 or uint16, not {image.shape} {image.dtype}")
    if channels == 4 and suffix not in (".png", ".webp"):
        raise ImageError(f"{path}: transparency can be written as PNG or WebP only")
    if image.dtype == np.uint16 and suffix not in (".png", ".tif", ".tiff"):
        raise ImageError(f"{path}: 16 bits a value can be written as PNG or TIFF only")
    settings = [cv2.IMWRITE_JPEG_QUALITY, 95] if suffix in (".jpg", ".jpeg") else []
    data = cv2.imencode(suffix, cv2.cvtColor(image, _FROM_RGB[channels]), settings)[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    beside.write_bytes(data.tobytes())
    beside.replace(path)


def image_header(path: str | Path) -> Header:
    """Height, width and depth that `read_image` would give, from the header where it is sure, else by decoding.

    Raises:
        ImageError: For a missing, empty or unsupported file.
    """
    try:
        with Path(path).open("rb", buffering=0) as file:
            header = read_header(file)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error})") from error
    if header:
        return header
    pixels = read_image(path)
    return Header(pixels.shape[0], pixels.shape[1], pixels.itemsize)


def image_size(path: str | Path) -> tuple[int, int]:
    """Height and width that `read_image` would give. Raises ImageError as `image_header`."""
    return image_header(path)[:2]


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error})") from error


def _decode(data: bytes, path: str | Path, flag: int) -> Pixels:
    """(h, w) or (h, w, c) in OpenCV's order of channels."""
    if found := problem(data):
        raise ImageError(f"{path}: {found}")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error as error:
        raise ImageError(f"{path}: cannot be decoded ({error.err})") from error
    if image is None:
        raise ImageError(f"{path}: is damaged or not a PNG, JPEG, WebP, BMP or TIFF image")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if image.dtype not in (np.uint8, np.uint16) or channels not in _TO_RGB:
        raise ImageError(f"{path}: has {channels} channels of {image.dtype}{REMEDY}")
    if channels == 4 and data[:4] in TIFF and image[..., 3].min() < np.iinfo(image.dtype).max:
        raise ImageError(f"{path}: is a TIFF with transparency, which darkens its colours{REMEDY}")
    return cast("Pixels", image)


def _rgb(image: Pixels) -> Pixels:
    channels = 1 if image.ndim == 2 else image.shape[2]
    return cast("Pixels", cv2.cvtColor(image, _TO_RGB[channels]))
