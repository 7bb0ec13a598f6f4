"""Errors of files and disks in words."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from traiNNer.wording import amount

_TOO_MUCH = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
NOTHING_MORE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""Errors of a disk that would meet every file."""

_OTHER_DISK = "choose a folder on another disk"
_REMEDIES = {
    errno.ENOSPC: f"make room there, or {_OTHER_DISK}",
    errno.EDQUOT: f"your share of that disk is used up: make room there, or {_OTHER_DISK}",
    errno.EFBIG: f"the disk takes no file of this size (FAT: 4 GiB): {_OTHER_DISK}",
    errno.EROFS: f"nothing can be written there: {_OTHER_DISK}",
    errno.EACCES: "change who may use it, or choose another",
    errno.EPERM: "change who may use it, or choose another",
}


def in_words(error: OSError) -> str:
    """What and where: `release/x.onnx: No space left on device`."""
    place = error.filename2 or error.filename
    said = error.strerror or str(error)
    return f"{os.fsdecode(place)}: {said}" if isinstance(place, str | bytes | os.PathLike) else said


def with_remedy(error: OSError, option: str = "") -> str:
    """The same, with what is free on a full disk and what to do.

    Args:
        error: Of a file that could not be read or written.
        option: Names the folder that is written to, where one does.
    """
    said, remedy = in_words(error), _REMEDIES.get(error.errno or 0)
    if error.errno in _TOO_MUCH:
        known = [*_free(error), *getattr(error, "__notes__", ())]  # notes: the size of what was to be written
        said += f" ({', '.join(known)})" if known else ""
    where = f" ({option})" if option and error.errno in _TOO_MUCH | NOTHING_MORE else ""
    return f"{said}; {remedy}{where}" if remedy else said


def _free(error: OSError) -> list[str]:
    """How much is free on the disk that did not take a file."""
    place = error.filename2 or error.filename
    if not isinstance(place, str | bytes | os.PathLike):
        return []
    path = Path(os.fsdecode(place))
    folder = next((above for above in path.absolute().parents if above.is_dir()), None)
    try:
        return [f"{amount(shutil.disk_usage(folder).free)} free"] if folder else []
    except OSError:  # the disk itself has gone
        return []


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an OSError the path that it lacks: a full disk names no file when it is written to."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
