"""What the first bytes of image files say without decoding: size, depth, and damage that decoders pass over."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from typing import BinaryIO, NamedTuple

REMEDY = "; save it as grey or RGB with 8 or 16 bits a value"
"""Ends the message about a kind of file that is not read."""
JPEG = b"\xff\xd8\xff"
TIFF = {b"II*\0": "<", b"MM\0*": ">"}
"""First bytes of TIFF files, and their order of bytes for `struct`."""
_CUT_SHORT = "is cut short; copy or download it again"
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_PNG_LARGEST = 1_000_000
"""Width and height that libpng reads."""
_PIXELS = 1 << 30
"""Number of pixels of the largest image that OpenCV reads."""
_JPEG_END = b"\xff\xd9"
_JPEG_SCAN = 0xDA
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Start-of-frame markers; the three left out are tables and a reservation."""
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


class Header(NamedTuple):
    """What an image will be once it is decoded."""

    height: int
    width: int
    value_bytes: int
    """1 or 2, for uint8 or uint16."""


def problem(data: bytes) -> str | None:
    """What decoders pass over in silence: a missing end of JPEG and TIFF, and TIFFs that come out wrong."""
    if not data:
        return "is empty"
    with contextlib.suppress(struct.error, IndexError):  # a senseless header is for the decoder to refuse
        if data.startswith(JPEG):  # a thumbnail in front of the scan has an end of its own
            scan = next((at for marker, at in _jpeg_segments(io.BytesIO(data)) if marker == _JPEG_SCAN), 0)
            if data.rfind(_JPEG_END) < scan:
                return _CUT_SHORT
        elif data[:4] in TIFF:
            return _tiff_problem(data)
        elif data.startswith(_PNG):
            return _png_problem(data)
    return None


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start (of the length before the name) and end of each whole chunk of a PNG file."""
    at = len(_PNG)
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            return
        yield name, at, at + 12 + length
        at += 12 + length


def without_remarks(data: bytes) -> bytes:
    """A PNG file without the chunks that no pixel depends on; other files as they are.

    libpng prints what it thinks of them (such as "iCCP: known incorrect sRGB profile") without a name.
    """
    if not data.startswith(_PNG):
        return data
    chunks = list(png_chunks(data))
    if all(name in _PNG_NEEDED for name, _, _ in chunks):
        return data
    return _PNG + b"".join(data[start:end] for name, start, end in chunks if name in _PNG_NEEDED)


def _png_problem(data: bytes) -> str | None:
    width, height = struct.unpack_from(">II", data, 16)
    if not (0 < width <= _PNG_LARGEST and 0 < height <= _PNG_LARGEST and width * height <= _PIXELS):
        return f"is a PNG that says it has {width} x {height} pixels"
    last = b""
    for last, start, end in png_chunks(data):
        checksum = struct.unpack_from(">I", data, end - 4)[0]
        if last in _PNG_NEEDED and zlib.crc32(memoryview(data)[start + 4 : end - 4]) != checksum:
            return f"is damaged (the checksum of its {last.decode()} is wrong); copy or download it again"
        if last == b"IEND":
            return None
    return _CUT_SHORT


def read_header(file: BinaryIO) -> Header | None:
    """From the start of a file; None where its header does not settle it."""
    with contextlib.suppress(struct.error, IndexError):
        head = file.read(32)
        if head.startswith(_PNG) and head[12:16] == b"IHDR":
            width, height, bits = struct.unpack_from(">IIB", head, 16)
            possible = 0 < width <= _PNG_LARGEST and 0 < height <= _PNG_LARGEST
            return Header(height, width, 1 + (bits > 8)) if possible else None
        if head[:4] in TIFF:
            return _tiff_header(file)
        if size := _jpeg_size(file) if head.startswith(JPEG) else _size_in(head):
            return Header(*size, 1)
    return None


def _size_in(head: bytes) -> tuple[int, int] | None:
    """(height, width) of formats that have it in their first bytes."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp_size(head)
    if head.startswith(b"BM") and struct.unpack_from("<I", head, 14)[0] >= 40:  # below: the header of OS/2
        width, height = struct.unpack_from("<ii", head, 18)
        return abs(height), width
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


def _tiff_header(file: BinaryIO) -> Header | None:
    tags = _tiff_tags(file)
    if tags.get(_Tag.ORIENTATION, (1,)) == (1,) and _Tag.HEIGHT in tags and _Tag.WIDTH in tags:
        return Header(tags[_Tag.HEIGHT][0], tags[_Tag.WIDTH][0], 1 + (max(tags.get(_Tag.BITS, (1,))) > 8))
    return None


def _tiff_tags(file: BinaryIO) -> dict[int, tuple[int, ...]]:
    """The whole-number fields of the first directory (TIFF 6.0, section 2)."""
    file.seek(0)
    order = TIFF[file.read(4)]
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
        return f"is a CMYK TIFF{REMEDY}"
    if deep and tags.get(_Tag.PLANAR) == (2,):
        return "is a TIFF with its channels in separate planes, which decodes wrongly; save it interleaved"
    if deep and tags.get(_Tag.PHOTOMETRIC) == (0,):
        return "is a TIFF in which 0 is white, which decodes inverted; save it with 0 as black"
    for offsets, lengths in ((_Tag.STRIP_OFFSETS, _Tag.STRIP_BYTES), (_Tag.TILE_OFFSETS, _Tag.TILE_BYTES)):
        for offset, length in zip(tags.get(offsets, ()), tags.get(lengths, ()), strict=False):
            if offset + length > len(data):
                return _CUT_SHORT
    return None
