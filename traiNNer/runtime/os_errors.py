"""Errors of files and disks in words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def in_words(error: OSError) -> str:
    """What and where: `release/x.onnx: No space left on device`."""
    place = error.filename2 or error.filename
    said = error.strerror or str(error)
    return f"{os.fsdecode(place)}: {said}" if isinstance(place, str | bytes | os.PathLike) else said


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an OSError the path that it lacks: a full disk names no file when it is written to."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
