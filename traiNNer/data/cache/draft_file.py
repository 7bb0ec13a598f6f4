"""Writing a file that several processes may want to write: one does, the others wait for it.

The file is written under another name, which is locked meanwhile, and moved into place by whoever writes it. What
a killed process leaves has no lock and is taken over by the next.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows has none; there each process writes a file of its own
    fcntl = None

LOG = logging.getLogger(__name__)


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """An empty file in the same folder, for this process alone; removed at the end if it was not moved away."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        draft = path.with_name(f".{path.name}.{os.getpid()}.partial")
        draft.touch()
        try:
            yield draft
        finally:
            draft.unlink(missing_ok=True)
        return
    draft = path.with_name(f".{path.name}.partial")
    with _locked(draft) as file:
        file.truncate(0)
        try:
            yield draft
        finally:
            if _is(draft, file):
                draft.unlink()


def _locked(path: Path) -> BinaryIO:
    """Open a file and lock it, as long as it is open. What a killed process left is taken over."""
    assert fcntl is not None
    while True:
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            LOG.info("another process writes %s; waiting for it", path)
            fcntl.flock(file, fcntl.LOCK_EX)
        if _is(path, file):
            return file
        file.close()  # meanwhile it was moved into place, or removed


def _is(path: Path, file: BinaryIO) -> bool:
    """Whether the open file is still the one of this name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
