"""Errors of files and disks in words."""

from __future__ import annotations

import os


def in_words(error: OSError) -> str:
    """What and where: `release/x.onnx: No space left on device`."""
    place = error.filename2 or error.filename
    said = error.strerror or str(error)
    return f"{os.fsdecode(place)}: {said}" if isinstance(place, str | bytes | os.PathLike) else said
