"""Memory that this process and the workers it starts all see, however they are started.

A forked worker inherits what is mapped. One that is spawned (Windows, macOS) or comes from a server (Python 3.14)
gets the dataset pickled, and opens the same memory by its name.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.shared_memory import SharedMemory
from typing import Any, cast


class SharedBlock:
    """Zeros, as many bytes as asked for; pages that were never written take no memory on most systems."""

    def __init__(self, size: int) -> None:
        self.size = max(1, size)
        self._named: SharedMemory | None = None
        self._file: int | None = None
        if multiprocessing.get_start_method() == "fork":
            self.bytes = memoryview(mmap.mmap(-1, self.size))
        elif hasattr(os, "memfd_create"):  # /dev/shm, where names live on Linux, is small in containers
            self._file = os.memfd_create("traiNNer-images")
            os.ftruncate(self._file, self.size)
            self.bytes = memoryview(mmap.mmap(self._file, self.size))
        else:
            self._named = SharedMemory(create=True, size=self.size)
            self.bytes = cast("memoryview", self._named.buf)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        if self._named:
            return _Attached, (self._named.name, self.size)
        if self._file is not None:
            return _Attached, (f"/proc/{os.getpid()}/fd/{self._file}", self.size)
        raise TypeError("memory of forked processes cannot be sent to another")

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)
        if self._named:
            self._named.unlink()


class _Attached:
    """The block of the process that made it, by name."""

    def __init__(self, name: str, size: int) -> None:
        self.size = size
        if name.startswith("/proc/"):
            with open(name, "r+b") as file:  # noqa: PTH123 - no file but a descriptor of another process
                self.bytes = memoryview(mmap.mmap(file.fileno(), size))
        else:
            self._named = SharedMemory(name)
            self.bytes = cast("memoryview", self._named.buf)
