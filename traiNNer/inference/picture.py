"""Pictures as viewers show them: turned, transparent, grey, with their colour profile and all frames or pages.

OpenCV decodes the pixels, of 8 and 16 bits; Pillow tells what else a file says, and reads animations.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
from PIL import Image

from traiNNer.data.images.image_header import TIFF, png_chunks
from traiNNer.data.images.image_io import ImageError, Pixels, checked, decoded, read_bytes, to_rgb

Image.MAX_IMAGE_PIXELS = None  # OpenCV has the limit; Pillow's warning would come without a name

_ORIENTATION = 0x0112
_PNG = b"\x89PNG\r\n\x1a\n"
_TURNED_BY_EXIF = frozenset({"JPEG", "MPO", "PNG", "WEBP"})
"""Formats that leave turning to the viewer; decoders turn TIFF and AVIF."""
_ANIMATED = frozenset({"GIF", "PNG", "WEBP", "AVIF"})
_REDUCED = 254  # tag of TIFF 6.0: bit 0 marks a smaller version of another page


class Picture(NamedTuple):
    """An image as viewers show it."""

    pixels: Pixels
    """(h, w, 3), RGB; colours as stored, also where they are invisible."""
    alpha: Pixels | None
    """(h, w) of the same type, full where opaque; None for a file without transparency."""
    grey: bool = False
    """Whether it is stored in one channel."""


class PictureFile(NamedTuple):
    """What is in a file."""

    frames: Iterator[Picture]
    """At least one; they are decoded as they are asked for."""
    number: int
    """How many frames."""
    profile: bytes | None = None
    """ICC profile of the colours."""
    durations: tuple[int, ...] = ()
    """Durations of the frames of an animation, in milliseconds; empty for the pages of a TIFF."""
    loop: int = 0
    """How often an animation is shown; 0: for ever."""


def read_picture_file(path: Any) -> PictureFile:
    """All pictures of a file, turned as its EXIF orientation says.

    Raises:
        ImageError: See `read_image`; for later frames also while they are asked for.
    """
    data = read_bytes(path)
    first = None if data[:4] == b"GIF8" else decoded(data, path)  # says what is wrong with a file
    try:
        with Image.open(io.BytesIO(data)) as image:
            kind, count = image.format or "", int(getattr(image, "n_frames", 1))
            profile = image.info.get("icc_profile") or None
            turn = _orientation(image, data) if kind in _TURNED_BY_EXIF else 1
            if count > 1 and kind in _ANIMATED or first is None:
                return _animation(data, path, count, profile)
            pages = _pages(image) if data[:4] in TIFF and count > 1 else [0]
    except ImageError:
        raise
    except Exception as error:  # noqa: BLE001 -- damaged metadata raise anything; the pixels are good
        if first is None:
            raise ImageError(f"{path}: cannot be decoded ({type(error).__name__})") from None
        profile, turn, pages = None, 1, [0]
    if len(pages) > 1:
        return PictureFile(_decoded_pages(data, path, pages), len(pages), profile)
    return PictureFile(iter([_picture(_with_clear_level(first, data), turn)]), 1, profile)


def read_picture(path: Any) -> Picture:
    """The first picture of a file. Raises ImageError as `read_picture_file`."""
    return next(read_picture_file(path).frames)


def turned(pixels: Any, orientation: int) -> Any:
    """(h, w, ...) as the values 1 to 8 of EXIF 2.32, section 4.6.4, tag 0x0112, say."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def filled(pixels: Pixels, alpha: Pixels) -> Pixels:
    """The pixels with the colour of the nearest visible one where they are hidden.

    What is stored under transparent pixels is often black, which a network would draw into the edge.
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return pixels
    mask = hidden.astype(np.uint8)
    labels = cv2.distanceTransformWithLabels(mask, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)[1]
    nearest = np.zeros(int(labels.max()) + 1, np.int64)
    nearest[labels[~hidden]] = np.flatnonzero(~hidden)
    return cast("Pixels", pixels.reshape(-1, 3)[nearest[labels]])


def _picture(stored: Any, orientation: int = 1) -> Picture:
    has_alpha = stored.ndim == 3 and stored.shape[2] == 4
    alpha = turned(stored[..., 3], orientation) if has_alpha else None
    return Picture(turned(to_rgb(stored), orientation), alpha, grey=stored.ndim == 2)


def _with_clear_level(stored: Any, data: bytes) -> Any:
    """A grey PNG of which one level is transparent (tRNS; PNG specification, 11.3.2.1), which OpenCV drops."""
    if stored.ndim != 2 or not data.startswith(_PNG):
        return stored
    content = next(
        (data[start + 8 : end - 4] for name, start, end in png_chunks(data) if name == b"tRNS"), b""
    )
    if len(content) != 2:
        return stored
    white, depth = int(np.iinfo(stored.dtype).max), data[24]
    level = (int.from_bytes(content, "big") & 2**depth - 1) * white // (2**depth - 1)
    alpha = np.where(stored == level, stored.dtype.type(0), stored.dtype.type(white))
    return np.dstack([stored, stored, stored, alpha])


def _orientation(image: Image.Image, data: bytes) -> int:
    if image.format == "PNG":  # Pillow decodes the whole image to find a mark that may stand at its end
        exif = Image.Exif()
        content = next((data[a + 8 : b - 4] for name, a, b in png_chunks(data) if name == b"eXIf"), b"")
        exif.load(content)
    else:
        exif = image.getexif()
    return int(exif.get(_ORIENTATION, 1))


def _animation(data: bytes, path: Any, count: int, profile: bytes | None) -> PictureFile:
    with Image.open(io.BytesIO(data)) as image:
        durations: list[int] = []
        try:
            for index in range(count):
                image.seek(index)
                image.load()
                durations.append(round(float(image.info.get("duration") or 0)))
        except Exception as error:
            raise ImageError(f"{path}: ends after {len(durations)} of {count} frames") from error
        loop = int(image.info.get("loop", 1))
    return PictureFile(_decoded_frames(data, count), count, profile, tuple(durations), loop)


def _decoded_frames(data: bytes, count: int) -> Iterator[Picture]:
    with Image.open(io.BytesIO(data)) as image:
        for index in range(count):
            image.seek(index)
            pixels = np.asarray(image.convert("RGBA"))
            opaque = bool((pixels[..., 3] == 255).all())
            alpha = None if opaque else np.ascontiguousarray(pixels[..., 3])
            yield Picture(np.ascontiguousarray(pixels[..., :3]), alpha)


def _pages(image: Image.Image) -> list[int]:
    """The pages of a TIFF, without thumbnails of others."""
    pages: list[int] = []
    for index in range(getattr(image, "n_frames", 1)):
        image.seek(index)
        tags: Any = image.tag_v2  # type: ignore[attr-defined]  # of TIFF images
        if not tags.get(_REDUCED, 0) & 1:
            pages.append(index)
    return pages or [0]


def _decoded_pages(data: bytes, path: Any, pages: list[int]) -> Iterator[Picture]:
    try:
        good, images = cv2.imdecodemulti(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError(f"{path}: a page cannot be decoded ({error.err})") from error
    if not good or len(images) <= pages[-1]:
        raise ImageError(f"{path}: ends after {len(images)} of {pages[-1] + 1} pages")
    for index in pages:
        yield _picture(checked(cast("Any", images[index]), data, path))
