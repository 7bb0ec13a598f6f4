"""What the C libraries that decode images write to the standard error, which names no file: heard and sorted."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_lock = threading.Lock()
if sys.platform != "win32":  # no child begins with the lock held, or with its errors going into a pipe
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)

_OURS = (
    "libpng ",
    "Corrupt JPEG data: ",
    "Premature end of JPEG file",
    "Invalid SOS ",
    "Warning: unknown JFIF ",
)
"""How lines of libpng 1.6 and libjpeg-turbo 3 begin. What does not is another thread's, and is passed on."""
_WRONG_PIXELS = ("Premature end of JPEG", "premature end of data", "bad Huffman code", "instead of RST")
"""In remarks of libjpeg after which grey or noise stands for what the file had."""
_LARGEST_PIPE = 1 << 16


def overheard(decode: Callable[[], T], *, alone: bool) -> tuple[T, list[str]]:
    """What `decode` returns, and the lines that libpng and libjpeg wrote meanwhile, which nobody sees.

    The standard error is a pipe for as long as that takes (0.05 ms more, measured).

    Args:
        decode: Calls OpenCV.
        alone: Wait until no other thread is listened to, so that every line is about this image. Else a decoding
            beside another one is not listened to: a pool of threads loses no time.
    """
    if not _lock.acquire(blocking=alone):
        return decode(), []
    try:
        return _listening(decode)
    finally:
        _lock.release()


def _listening(decode: Callable[[], T]) -> tuple[T, list[str]]:
    try:
        errors = os.dup(2)
    except OSError:  # there is no standard error
        return decode(), []
    read, write = os.pipe()
    if sys.platform != "win32":
        os.set_blocking(write, False)  # more than the pipe holds is lost, and never waited for
    try:
        os.dup2(write, 2)
        try:
            result = decode()
        finally:
            os.dup2(errors, 2)
            os.close(write)
            lines = os.read(read, _LARGEST_PIPE).splitlines(keepends=True)
            if foreign := b"".join(line for line in lines if not line.decode("latin-1").startswith(_OURS)):
                os.write(errors, foreign)
    finally:
        os.close(read)
        os.close(errors)
    said = [line.decode("latin-1").strip() for line in lines]
    return result, [line for line in said if line.startswith(_OURS)]


def damage(remarks: list[str]) -> str | None:
    """The remark after which pixels are not those of the file, if there is one."""
    return next((line for line in remarks if any(words in line for words in _WRONG_PIXELS)), None)
