"""Image files to arrays and back, and their sizes without decoding.

One convention for every format: (h, w, 3), RGB, uint8 or uint16. Grey becomes three equal channels.
Transparency is dropped, not composited: the colours stay as stored, also where they were invisible. EXIF
orientation is ignored: a pair is compared pixel by pixel, and LR images made from photographs seldom keep the
mark. (A TIFF's own orientation is obeyed, by its decoder.) `inference.picture` keeps and obeys both.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import stat
import zlib
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from traiNNer.data.images.decoder_remarks import damage, overheard
from traiNNer.data.images.image_header import (
    JPEG,
    REMEDY,
    TIFF,
    Header,
    problem,
    read_header,
    without_remarks,
)
from traiNNer.wording import counted

cv2.setNumThreads(0)  # workers are the parallelism; threads of each would fight for the same cores
# what a decoder complains of is raised here, with the name of the file
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

_log = logging.getLogger(__name__)

_REMEMBERED = 10_000
"""Files about which a remark is not repeated."""

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
"""An image: (h, w, 3), RGB, full range of its integer type."""

WRITTEN_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
"""What `write_image` writes, in lower case."""
IMAGE_SUFFIXES = WRITTEN_SUFFIXES | {".jfif", ".gif", ".avif"}
"""File names that count as images, in lower case. What a file holds is told by its content."""

_TO_RGB = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
_FROM_RGB = {1: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}


class ImageError(ValueError):
    """A file that cannot be used as an image. The message begins with its path."""


def read_image(path: str | Path) -> Pixels:
    """The pixels of a PNG, JPEG, WebP, BMP, TIFF, GIF or AVIF file (its first picture, if it holds several).

    Raises:
        ImageError: For a missing, empty, truncated, damaged or unsupported file. Damage that a format without
            checksums (TIFF, BMP, most of WebP, some of JPEG) cannot show is not found.
    """
    return to_rgb(decoded(read_bytes(path), path))


def write_image(path: str | Path, image: Pixels, *, profile: bytes | None = None) -> None:
    """Write an image in the format of the path's suffix; the folder is made, an older file replaced at once.

    PNG, WebP and TIFF are lossless, JPEG has quality 95. uint16 can be written as PNG and TIFF, a fourth channel
    (transparency) as PNG and WebP, one channel (grey) as everything (WebP stores three equal ones).

    Args:
        path: Where.
        image: (h, w, 1, 3 or 4), RGB.
        profile: An ICC profile, for PNG, JPEG and WebP.

    Raises:
        ImageError: If the suffix or the array does not allow it.
        OSError: If it cannot be written; nothing is left behind then.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITTEN_SUFFIXES:
        raise ImageError(f"{path}: the suffix should be one of {', '.join(sorted(WRITTEN_SUFFIXES))}")
    channels = image.shape[2] if image.ndim == 3 else 0
    if channels not in _FROM_RGB or image.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"{path}: takes (h, w, 1, 3 or 4) uint8 or uint16, not {image.shape} {image.dtype}")
    if channels == 4 and suffix not in (".png", ".webp"):
        raise ImageError(f"{path}: transparency can be written as PNG or WebP only")
    if image.dtype == np.uint16 and suffix not in (".png", ".tif", ".tiff"):
        raise ImageError(f"{path}: 16 bits a value can be written as PNG or TIFF only")
    settings = [cv2.IMWRITE_JPEG_QUALITY, 95] if suffix in (".jpg", ".jpeg") else []
    code = _FROM_RGB[channels]
    stored = image if code is None else cv2.cvtColor(image, code)
    try:
        if profile is None:
            data = cv2.imencode(suffix, stored, settings)[1]
        else:
            icc = np.frombuffer(profile, np.uint8)
            data = cv2.imencodeWithMetadata(suffix, stored, [cv2.IMAGE_METADATA_ICCP], [icc], settings)[1]
    except cv2.error as error:
        reason = error.err or f"{image.shape[1]} x {image.shape[0]} pixels"
        raise ImageError(f"{path}: cannot be encoded ({reason})") from error
    write_bytes(path, data.tobytes())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file beside its place and move it there. Raises OSError, and leaves nothing behind then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(
        f".{zlib.crc32(os.fsencode(path.name)):08x}.{os.getpid()}.part"
    )  # names may be long
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:  # a full disk names no file
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def image_header(path: str | Path) -> Header:
    """Height, width and depth that `read_image` would give, from the header where it is sure, else by decoding.

    Raises:
        ImageError: For a missing, empty or unsupported file.
    """
    try:
        _refuse_pipes(path)
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


def read_bytes(path: str | Path) -> bytes:
    """What is in a file. Raises ImageError where it cannot be read, or would wait for somebody to write it."""
    try:
        _refuse_pipes(path)
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error})") from error


def _refuse_pipes(path: str | Path) -> None:
    """Reading a named pipe would wait for ever, reading a device would not end."""
    mode = Path(path).stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ImageError(f"{path}: cannot be read (a pipe, device or socket, no file)")


def decoded(data: bytes, path: str | Path) -> Pixels:
    """The first image in the content of a file, (h, w) or (h, w, c) in OpenCV's order of channels, as stored.

    Raises:
        ImageError: With the path; see `read_image`.
    """
    if found := problem(data):
        raise ImageError(f"{path}: {found}")
    content, is_jpeg = np.frombuffer(without_remarks(data), np.uint8), data.startswith(JPEG)
    try:
        image, remarks = overheard(lambda: cv2.imdecode(content, cv2.IMREAD_UNCHANGED))
    except cv2.error as error:
        raise ImageError(f"{path}: cannot be decoded ({error.err})") from error
    if image is None:
        raise ImageError(f"{path}: is damaged or not a PNG, JPEG, WebP, BMP, TIFF, GIF or AVIF image")
    if found := damage(remarks):
        raise ImageError(f"{path}: is damaged ({found}); copy or download it again")
    if is_jpeg and remarks:
        _say_once(str(path), remarks[0])
    return checked(image, data, path)


@functools.lru_cache(_REMEMBERED)
def _say_once(path: str, remark: str) -> None:
    """In this process; its pixels are used."""
    _log.warning("%s: may be damaged (%s)", path, remark)


def checked(image: Any, data: bytes, path: str | Path) -> Pixels:
    """A decoded image, unless it is of a kind that comes out wrong."""
    channels = 1 if image.ndim == 2 else image.shape[2]
    if image.dtype not in (np.uint8, np.uint16) or channels not in _TO_RGB:
        raise ImageError(f"{path}: has {counted(channels, 'channel')} of {image.dtype}{REMEDY}")
    if channels == 4 and data[:4] in TIFF and image[..., 3].min() < np.iinfo(image.dtype).max:
        raise ImageError(f"{path}: is a TIFF with transparency, which darkens its colours{REMEDY}")
    return cast("Pixels", image)


def eight_bits(image: Pixels) -> NDArray[np.uint8]:
    """uint16 as uint8 of the same full range, rounded; uint8 as it is."""
    if image.dtype == np.uint8:
        return cast("NDArray[np.uint8]", image)
    return (image / 257).round().astype(np.uint8)


def to_rgb(image: Pixels) -> Pixels:
    """What `decoded` gives, as (h, w, 3), RGB."""
    channels = 1 if image.ndim == 2 else image.shape[2]
    return cast("Pixels", cv2.cvtColor(image, _TO_RGB[channels]))
