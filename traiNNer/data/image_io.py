"""Image files to arrays and back, and their sizes without decoding.

One convention for every format: (h, w, 3), RGB, uint8 or uint16. Grey becomes three equal channels.
Transparency is dropped, not composited: the colours stay as stored, also where they were invisible. EXIF
orientation is ignored: a pair is compared pixel by pixel, and LR images made from photographs seldom keep the
mark. (A TIFF's own orientation is obeyed, by its decoder.) `read_picture` keeps and obeys both.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

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
    stored = _decode(data, path, cv2.IMREAD_COLOR if data.startswith(_JPEG) else cv2.IMREAD_UNCHANGED)
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


def image_size(path: str | Path) -> tuple[int, int]:
    """Height and width that `read_image` would give, from the header where it is sure, else by decoding.

    Raises:
        ImageError: For a missing, empty or unsupported file.
    """
    try:
        with Path(path).open("rb") as file, contextlib.suppress(struct.error, IndexError):
            size = _size_from_header(file)
            if size is not None:
                return size
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error})") from error
    height, width, _ = read_image(path).shape
    return height, width


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error})") from error


def _decode(data: bytes, path: str | Path, flag: int) -> Pixels:
    """(h, w) or (h, w, c) in OpenCV's order of channels."""
    problem = _problem(data)
    if problem:
        raise ImageError(f"{path}: {problem}")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error as error:
        raise ImageError(f"{path}: cannot be decoded ({error.err})") from error
    if image is None:
        raise ImageError(f"{path}: is damaged or not a PNG, JPEG, WebP, BMP or TIFF image")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if image.dtype not in (np.uint8, np.uint16) or channels not in _TO_RGB:
        raise ImageError(f"{path}: has {channels} channels of {image.dtype}{_REMEDY}")
    if channels == 4 and data[:4] in _TIFF and image[..., 3].min() < np.iinfo(image.dtype).max:
        raise ImageError(f"{path}: is a TIFF with transparency, which darkens its colours{_REMEDY}")
    return cast("Pixels", image)


def _rgb(image: Pixels) -> Pixels:
    channels = 1 if image.ndim == 2 else image.shape[2]
    return cast("Pixels", cv2.cvtColor(image, _TO_RGB[channels]))


# --- headers -----------------------------------------------------------------------------------------------

_REMEDY = "; save it as grey or RGB with 8 or 16 bits a value"
_CUT_SHORT = "is cut short; copy or download it again"
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
_JPEG_SCAN = 0xDA
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Start-of-frame markers; the three left out are tables and a reservation."""
_TIFF = {b"II*\0": "<", b"MM\0*": ">"}
_TIFF_KINDS = {1: "B", 3: "H", 4: "I"}
"""Field types that sizes and offsets have: BYTE, SHORT, LONG."""
_TIFF_LONGEST = 1 << 22
"""Strips of the largest image; a field that claims more is damage and would claim the memory."""


class _Tag(IntEnum):
    """Fields of a TIFF directory (TIFF 6.0, section 8; SampleFormat and tiles: sections 15 and 19)."""

    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    PHOTOMETRIC = 262
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    STRIP_BYTES = 279
    PLANAR = 284
    TILE_OFFSETS = 324
    TILE_BYTES = 325


def _problem(data: bytes) -> str | None:
    """What decoders pass over in silence: a missing end of JPEG and TIFF, and TIFFs that come out wrong."""
    if not data:
        return "is empty"
    with contextlib.suppress(struct.error, IndexError):  # a senseless header is for the decoder to refuse
        if data.startswith(_JPEG):  # a thumbnail in front of the scan has an end of its own
            scan = next((at for marker, at in _jpeg_segments(io.BytesIO(data)) if marker == _JPEG_SCAN), 0)
            if data.rfind(_JPEG_END) < scan:
                return _CUT_SHORT
        elif data[:4] in _TIFF:
            return _tiff_problem(data)
    return None


def _size_from_header(file: BinaryIO) -> tuple[int, int] | None:
    """(height, width); None where the header does not settle it."""
    head = file.read(32)
    if head.startswith(_PNG) and head[12:16] == b"IHDR":
        width, height = struct.unpack_from(">II", head, 16)
        return height, width
    if head.startswith(_JPEG):
        return _jpeg_size(file)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp_size(head)
    if head.startswith(b"BM") and struct.unpack_from("<I", head, 14)[0] >= 40:  # below: the header of OS/2
        width, height = struct.unpack_from("<ii", head, 18)
        return abs(height), width
    if head[:4] in _TIFF:
        tags = _tiff_tags(file)
        if tags.get(_Tag.ORIENTATION, (1,)) == (1,) and _Tag.HEIGHT in tags and _Tag.WIDTH in tags:
            return tags[_Tag.HEIGHT][0], tags[_Tag.WIDTH][0]
    return None


def _jpeg_segments(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Marker and offset of the content of each segment, up to the first scan."""
    at = 2
    while True:
        file.seek(at)
        escape, marker, length = struct.unpack(">BBH", file.read(4))
        if escape != 0xFF:
            return
        if marker == 0xFF:  # padding before a marker
            at += 1
            continue
        yield marker, at + 4
        if marker == _JPEG_SCAN:
            return
        at += 2 + length


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    for marker, at in _jpeg_segments(file):
        if marker in _JPEG_SIZES:
            file.seek(at)
            height, width = struct.unpack(">xHH", file.read(5))
            return (height, width) if height else None  # 0: told after the first scan
    return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    """RFC 9649, sections 2.5 to 2.7."""
    kind = head[12:16]
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", head, 26)
        return height & 0x3FFF, width & 0x3FFF
    if kind == b"VP8L" and head[20] == 0x2F:
        bits = struct.unpack_from("<I", head, 21)[0]
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"VP8X" and not head[20] & 2:  # bit 1: an animation
        return int.from_bytes(head[27:30], "little") + 1, int.from_bytes(head[24:27], "little") + 1
    return None


def _tiff_tags(file: BinaryIO) -> dict[int, tuple[int, ...]]:
    """The whole-number fields of the first directory (TIFF 6.0, section 2)."""
    file.seek(0)
    order = _TIFF[file.read(4)]
    file.seek(struct.unpack(order + "I", file.read(4))[0])
    (count,) = struct.unpack(order + "H", file.read(2))
    tags: dict[int, tuple[int, ...]] = {}
    for tag, kind, length, value in struct.iter_unpack(order + "HHI4s", file.read(12 * count)):
        if kind not in _TIFF_KINDS or length > _TIFF_LONGEST:
            continue
        layout = f"{order}{length}{_TIFF_KINDS[kind]}"
        if struct.calcsize(layout) > 4:
            file.seek(struct.unpack(order + "I", value)[0])
            value = file.read(struct.calcsize(layout))
        tags[tag] = struct.unpack_from(layout, value)
    return tags


def _tiff_problem(data: bytes) -> str | None:
    tags = _tiff_tags(io.BytesIO(data))
    deep = max(tags.get(_Tag.BITS, (1,))) > 8
    if tags.get(_Tag.PHOTOMETRIC) == (5,):
        return f"is a CMYK TIFF{_REMEDY}"
    if deep and tags.get(_Tag.PLANAR) == (2,):
        return "is a TIFF with its channels in separate planes, which decodes wrongly; save it interleaved"
    if deep and tags.get(_Tag.PHOTOMETRIC) == (0,):
        return "is a TIFF in which 0 is white, which decodes inverted; save it with 0 as black"
    for offsets, lengths in ((_Tag.STRIP_OFFSETS, _Tag.STRIP_BYTES), (_Tag.TILE_OFFSETS, _Tag.TILE_BYTES)):
        for offset, length in zip(tags.get(offsets, ()), tags.get(lengths, ()), strict=False):
            if offset + length > len(data):
                return _CUT_SHORT
    return None
