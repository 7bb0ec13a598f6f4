"""A file of raw pixels that is mapped into memory: a crop of an image costs as much as copying its bytes.

Layout, little-endian: a header of 64 bytes; the pixels of the images, (h, w, 3) each; a table of whole numbers,
a row for each image and a column for each of `_COLUMNS`; the names of the image files. Nothing in it is ever run.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from traiNNer.data.cache.memory import VALUE_TYPES, places
from traiNNer.data.images.image_io import ImageError, Pixels, read_image
from traiNNer.data.pairs.file_index import Names
from traiNNer.data.pairs.pair_sizes import Sizes

_HEADER = struct.Struct("<16s4Q16x")
"""Magic, number of images, start of the table, bytes of the names, CRC-32 of the table and the names."""
_MAGIC = b"traiNNer pixels1"
_COLUMNS = ("start", "file_bytes", "mtime_ns", "name_end", "height", "width", "value_bytes")
"""Columns of the table. An image that could not be decoded starts at -1."""
_STORED, _FAILED = 1, 2
_POLL = 0.2  # seconds between looks at how far the building is


class Contents(NamedTuple):
    """The image files of one folder, as they were when they were looked at."""

    root: Path
    names: Names
    stamps: NDArray[np.int64]
    """(n, 2): bytes of each file, and when it was last changed in ns; -1 for a file that is gone."""

    @classmethod
    def of(cls, root: Path, names: Names) -> Contents:
        """What the file system says about the files now."""
        stamps = np.full((len(names), 2), -1, np.int64)
        for index, name in enumerate(names):
            try:
                found = os.stat(f"{root}/{name}")  # noqa: PTH116 - a third of the time of pathlib's
            except OSError:
                continue
            stamps[index] = found.st_size, found.st_mtime_ns
        return cls(root, names, stamps)


class PixelFile:
    """Images by row, as views of the mapped file.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be opened or mapped.
        ValueError: If it is no file of pixels, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            head = file.read(_HEADER.size)
            if len(head) < _HEADER.size or not head.startswith(_MAGIC):
                raise ValueError("is not a cache of decoded images; move it away or choose another cache_dir")
            # not ACCESS_COPY: Windows would set aside as much of the page file as the file is large
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        _, images, start, text, checksum = _HEADER.unpack(head)
        length = len(_COLUMNS) * images * 8
        if len(self._map) != start + length + text or _checksum(self._map, start) != checksum:
            raise ValueError("is damaged; remove it")
        self._table = np.frombuffer(self._map, "<i8", len(_COLUMNS) * images, start).reshape(images, -1)
        self._names = Names(np.frombuffer(self._map, np.uint8, text, start + length), self._table[:, 3])

    def close(self) -> None:
        """Let go of the file, which Windows does not remove before; no view of it may be in use."""
        del self._table, self._names
        self._map.close()

    def image(self, row: int) -> Pixels | None:
        """The pixels of an image, which cannot be written to, or None if it could not be decoded."""
        start, _, _, _, height, width, value_bytes = self._table[row].tolist()
        if start < 0:
            return None
        return cast("Pixels", np.ndarray((height, width, 3), VALUE_TYPES[value_bytes], self._map, start))

    def rows(self, wanted: Contents) -> NDArray[np.int32]:
        """The row of each file, -1 for those that are not here or have changed since."""
        if not len(self._table):
            return np.full(len(wanted.names), -1, np.int32)
        rows = np.arange(len(wanted.names), dtype=np.int32)
        if not wanted.names.equals(self._names):
            known = {name: row for row, name in enumerate(self._names)}
            rows[:] = [known.get(name, -1) for name in wanted.names]
        unchanged = (self._table[rows, 1:3] == wanted.stamps).all(axis=1)
        return np.where(unchanged & (rows >= 0), rows, np.int32(-1))

    def decoded(self, wanted: Contents) -> int:
        """How many of the files have their pixels here."""
        rows = self.rows(wanted)
        return int(np.count_nonzero(self._table[rows[rows >= 0], 0] >= 0))

    def unchanged(self, root: Path) -> tuple[Contents, Sizes]:
        """The images of a folder whose files are as they were when they were decoded, and their sizes."""
        now = Contents.of(root, self._names)
        same = (self._table[:, 1:3] == now.stamps).all(axis=1)
        names = Names.of(self._names[row] for row in np.flatnonzero(same).tolist())
        return Contents(root, names, now.stamps[same]), self._table[same, 4:7].astype(np.int32)


def _checksum(mapped: mmap.mmap, start: int) -> int:
    with memoryview(mapped) as view:
        return zlib.crc32(view[start:])


def planned_bytes(sizes: Sizes) -> int:
    """How large a file of images of these sizes is, but for their names."""
    return int(places(sizes, _HEADER.size)[-1]) + len(_COLUMNS) * 8 * len(sizes)


def write_pixels(
    path: Path,
    contents: Contents,
    sizes: Sizes,
    threads: int,
    progress: Callable[[int], None],
    older: PixelFile | None = None,
) -> int:
    """Decode all images into a file that `PixelFile` opens; returns how many could not be decoded.

    Args:
        path: Of an existing file, which is overwritten.
        contents: The images.
        sizes: What their headers say, zeros where they cannot be read.
        threads: How many decode at once.
        progress: Called now and then with the number of images done.
        older: From which images are copied that it has in their present state: several times as fast.

    Raises:
        OSError: If it cannot be written.
    """
    starts = places(sizes, _HEADER.size)
    end = int(starts[-1])
    rows = older.rows(contents) if older else np.full(len(sizes), -1, np.int32)
    state = np.zeros(len(sizes), np.int8)
    stop, indices = Event(), iter(range(len(sizes)))

    def work() -> None:
        with path.open("r+b") as file:
            for index in indices:  # shared by all threads, each of which takes the next
                if stop.is_set():
                    return
                image = older.image(int(rows[index])) if older and rows[index] >= 0 else None
                if image is None or not _announced(image, sizes[index]):
                    image = _decoded(contents.root / contents.names[index], sizes[index])
                if image is not None:
                    file.seek(int(starts[index]))
                    file.write(image.data)
                state[index] = _FAILED if image is None else _STORED

    with ThreadPoolExecutor(threads) as pool:
        try:
            tasks = [pool.submit(work) for _ in range(threads)]
            while wait(tasks, _POLL, FIRST_EXCEPTION).not_done and not any(_failed(task) for task in tasks):
                progress(int(np.count_nonzero(state)))
        finally:
            stop.set()
    for task in tasks:
        task.result()
    stored = np.where(state == _STORED, starts[:-1], -1)
    index = (
        np.column_stack([stored, contents.stamps, contents.names.ends, sizes]).astype("<i8").tobytes()
        + contents.names.text.tobytes()
    )
    with path.open("r+b") as file:
        file.seek(end)
        file.write(index)
        file.seek(0)
        file.write(_HEADER.pack(_MAGIC, len(sizes), end, len(contents.names.text), zlib.crc32(index)))
        file.flush()
        os.fsync(file.fileno())
    return int(np.count_nonzero(state == _FAILED))


def _decoded(path: Path, size: NDArray[np.int32]) -> Pixels | None:
    """The pixels, if they are what the header announced."""
    try:
        image = read_image(path)
    except ImageError:
        return None  # whoever reads the sample gets the same error, with its message
    return image if _announced(image, size) else None


def _announced(image: Pixels, size: NDArray[np.int32]) -> bool:
    return [*image.shape[:2], image.itemsize] == size.tolist()


def _failed(task: Future[None]) -> bool:
    return task.done() and task.exception() is not None
