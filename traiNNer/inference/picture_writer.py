"""Writing upscaled pictures with all that their format can hold, and saying what it cannot."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
from PIL import Image

from traiNNer.data.images.image_io import ImageError, Pixels, eight_bits, write_bytes, write_image

_TRANSPARENT = frozenset({".png", ".webp"})
_DEEP = frozenset({".png", ".tif", ".tiff"})
_PROFILED = frozenset({".png", ".jpg", ".jpeg", ".webp"})
_TIFF = frozenset({".tif", ".tiff"})
ANIMATED = _TRANSPARENT
"""Formats that animations are written in."""
PAGED = _TIFF
"""Formats that hold pages."""


class Storable(NamedTuple):
    """A picture as a format can hold it."""

    image: Pixels
    profile: bytes | None
    losses: list[str]
    """What had to be left out."""


def storable(image: Pixels, suffix: str, profile: bytes | None = None) -> Storable:
    """An image (h, w, 1, 3 or 4) as the format of that suffix can hold it."""
    losses: list[str] = []
    form = suffix[1:]
    if image.shape[2] == 4 and suffix not in _TRANSPARENT:
        image = cast("Pixels", np.ascontiguousarray(image[..., :3]))
        losses.append(f"without transparency, which {form} files cannot hold")
    if image.dtype == np.uint16 and suffix not in _DEEP:
        image = eight_bits(image)
        losses.append(f"rounded from 16 to 8 bits a value, the most that {form} files can hold")
    if profile is not None:
        space = profile[16:20]
        if space == b"RGB " and image.shape[2] == 1:
            image = cast("Pixels", np.repeat(image, 3, axis=2))
        if space != (b"GRAY" if image.shape[2] == 1 else b"RGB "):
            losses.append("without the colour profile, which is not of the colours that are written")
            profile = None
        elif suffix not in _PROFILED and not (suffix in _TIFF and image.dtype == np.uint8):
            losses.append(f"without the colour profile, which {form} files of this kind are written without")
            profile = None
    return Storable(image, profile, losses)


def write_picture(path: Path, image: Pixels, profile: bytes | None) -> list[str]:
    """Write one picture; returns what its format could not hold. Raises as `write_image`."""
    suffix = path.suffix.lower()
    image, profile, losses = storable(image, suffix, profile)
    if profile is not None and suffix in _TIFF:
        _save(path, [_pillow(image)], format="TIFF", compression="tiff_lzw", icc_profile=profile)
    else:
        write_image(path, image, profile=profile)
    return losses


def write_animation(
    path: Path, frames: Iterable[Pixels], durations: tuple[int, ...], loop: int, profile: bytes | None
) -> None:
    """Write an animated PNG or WebP, without loss.

    Args:
        path: Where.
        frames: (h, w, 1, 3 or 4), uint8.
        durations: Of each, in milliseconds.
        loop: How often it is shown; 0: for ever.
        profile: ICC profile.
    """
    images = [_pillow(frame if frame.shape[2] > 1 else np.repeat(frame, 3, axis=2)) for frame in frames]
    more = {"icc_profile": profile} if profile and profile[16:20] == b"RGB " else {}
    kind = {"format": "WEBP", "lossless": True} if path.suffix.lower() == ".webp" else {"format": "PNG"}
    _save(path, images, save_all=True, duration=list(durations), loop=loop, **kind, **more)


def write_pages(path: Path, pages: Iterable[Pixels]) -> None:
    """Write a TIFF of several pages, (h, w, 1 or 3) each."""
    stored = [cv2.cvtColor(page, cv2.COLOR_RGB2BGR) if page.shape[2] == 3 else page for page in pages]
    good, data = cv2.imencodemulti(".tif", stored)
    if not good:
        raise ImageError(f"{path}: the pages cannot be encoded")
    write_bytes(path, data.tobytes())


def _pillow(image: Any) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)


def _save(path: Path, images: list[Image.Image], **settings: Any) -> None:
    buffer = io.BytesIO()
    if len(images) > 1:
        settings["append_images"] = images[1:]
    images[0].save(buffer, **settings)
    write_bytes(path, buffer.getvalue())
