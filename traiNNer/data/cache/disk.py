"""Decoded images on the disk: which files hold them, when they are made anew, and by whom.

There is one `PixelFile` for each folder of images, beside the folder or where the configuration says. It is made
by one process for all, and moved into place when it is whole: readers of an older one keep that.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from traiNNer.data.cache.draft_file import draft_of
from traiNNer.data.cache.memory import mib
from traiNNer.data.cache.pixel_file import Contents, PixelFile, planned_bytes, write_pixels
from traiNNer.data.file_index import Files, Names
from traiNNer.data.image_io import Pixels
from traiNNer.data.pair_sizes import Sizes, read_missing
from traiNNer.wording import counted

LOG = logging.getLogger(__name__)

_NARRATED = 30  # seconds between lines of the log about a building, where no terminal shows a bar


class CacheRefused(Exception):
    """The images cannot be kept on the disk; the message says why, and what would help."""


class MappedImages:
    """Images in files of pixels, by their index in the data set."""

    def __init__(
        self, files: Sequence[PixelFile | None], file_of: NDArray[np.uint16], rows: NDArray[np.int32]
    ) -> None:
        self._files, self._file_of, self._rows = files, file_of, rows

    def get(self, index: int) -> Pixels | None:
        """See `traiNNer.data.cache.memory.Images`."""
        file = self._files[self._file_of[index]]
        return file.image(int(self._rows[index])) if file else None

    def put(self, index: int, image: Pixels) -> None:
        """What could not be decoded when the file was made stays outside."""


class DiskCache:
    """The files of pixels of the images of a data set.

    Args:
        sides: The image files; each is one side of the pairs.
        sizes: What the headers of each say, zeros where they were not read.
        folder: Where the files of pixels are; None: beside the folder of the images.

    Raises:
        CacheRefused: If a file in their place is not ours, damaged or cannot be read.
    """

    def __init__(self, sides: Sequence[Files], sizes: Sequence[Sizes], folder: Path | None) -> None:
        self._sides = sides
        self._parts = [
            _Part(place(root, folder), _contents(files, number), size[files.root_of == number])
            for files, size in zip(sides, sizes, strict=True)
            for number, root in enumerate(files.roots)
        ]
        self._found = [_find(part) for part in self._parts]

    @property
    def complete(self) -> bool:
        """Whether everything is there and up to date."""
        return all(found.changed == 0 for found in self._found)

    def build(self, share: float, threads: int) -> None:
        """Make what is missing or out of date; waits where another process does.

        Args:
            share: Of the free space of the disk that may be taken.
            threads: That decode at the same time.

        Raises:
            CacheRefused: If there is not enough space, or the disk cannot be written to.
        """
        wanting = {part.path for part, found in self._both() if found.changed}
        with ExitStack() as stack:
            try:
                drafts = {path: stack.enter_context(draft_of(path)) for path in sorted(wanting)}
                self._found = [_find(part) for part in self._parts]  # another process may have been first
                parts = [self._renewed(path) for path in drafts if not self._is_up_to_date(path)]
                _check_space(parts, share)
                for part in parts:
                    _write(part, drafts[part.path], threads)
            except OSError as error:
                raise CacheRefused(
                    f"{error.filename or min(wanting).parent}: cannot be written "
                    f"({error.strerror or error}); cache_dir names another folder"
                ) from error
            self._found = [_find(part) for part in self._parts]
        if not self.complete:
            raise CacheRefused(f"images changed while they were decoded into {', '.join(map(str, wanting))}")

    def images(self) -> list[MappedImages]:
        """Mapped images of each side, once everything is there."""
        remaining = iter(self._found)
        mapped: list[MappedImages] = []
        for files in self._sides:
            found = [next(remaining) for _ in files.roots]
            rows = np.concatenate([entry.rows for entry in found])
            mapped.append(MappedImages([entry.file for entry in found], files.root_of, rows))
        return mapped

    def _both(self) -> list[tuple[_Part, _Found]]:
        return list(zip(self._parts, self._found, strict=True))

    def _is_up_to_date(self, path: Path) -> bool:
        return all(found.changed == 0 for part, found in self._both() if part.path == path)

    def _renewed(self, path: Path) -> _Part:
        """Everything that belongs into a file, whose old version is removed."""
        parts: list[_Part] = []
        for number, (part, found) in enumerate(self._both()):
            if part.path != path:
                continue
            if found.file:
                text = "%s is out of date (%s of %s images are new or have changed) and is made again"
                LOG.info(text, path, f"{found.changed:,}", f"{len(part.sizes):,}")
                found.file.close()
                path.unlink(missing_ok=True)
                self._found[number] = _Found(
                    None, found.rows, found.changed
                )  # its space is free once unmapped
            sizes = read_missing(part.contents.root, part.contents.names, part.sizes)
            parts.append(part._replace(sizes=sizes))
        return parts[0] if len(parts) == 1 else _united(parts)


class _Part(NamedTuple):
    """The images of one folder and the file of their pixels."""

    path: Path
    contents: Contents
    sizes: Sizes


class _Found(NamedTuple):
    """What is there of a part."""

    file: PixelFile | None
    rows: NDArray[np.int32]
    changed: int
    """Images that are not in the file, or have changed since."""


def _united(parts: Sequence[_Part]) -> _Part:
    """One part from the parts of a folder that is listed more than once."""
    by_name = {
        name: size for part in parts for name, size in zip(part.contents.names, part.sizes, strict=True)
    }
    contents = Contents.of(parts[0].contents.root, Names.of(sorted(by_name)))
    return _Part(parts[0].path, contents, np.stack([by_name[name] for name in contents.names]))


def cache_paths(sides: Sequence[Files], folder: Path | None) -> list[Path]:
    """The files of the pixels of a data set."""
    return list(dict.fromkeys(place(root, folder) for files in sides for root in files.roots))


def place(root: Path, folder: Path | None) -> Path:
    """The file of the pixels of the images in a folder."""
    root = root.resolve()
    if folder is None:
        return root.parent / f"{root.name}.pixels"
    # folders are often called alike
    return folder / f"{root.name}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:8]}.pixels"


def _contents(files: Files, number: int) -> Contents:
    mine = np.flatnonzero(files.root_of == number)
    names = files.names.part(int(mine[0]), int(mine[-1]) + 1) if len(mine) else Names.of([])
    return Contents.of(files.roots[number], names)


def _find(part: _Part) -> _Found:
    none = np.full(len(part.sizes), -1, np.int32)
    try:
        file = PixelFile(part.path)
    except FileNotFoundError:
        return _Found(None, none, len(none))
    except OSError as error:
        text = f"{part.path}: cannot be read ({error.strerror}); cache_dir names another folder"
        raise CacheRefused(text) from error
    except ValueError as error:
        raise CacheRefused(f"{part.path}: {error}") from error
    rows = file.rows(part.contents)
    return _Found(file, rows, int(np.count_nonzero(rows < 0)))


def _check_space(parts: Sequence[_Part], share: float) -> None:
    """Whether all files fit on their disks together."""
    by_disk: dict[int, list[_Part]] = {}
    for part in parts:
        by_disk.setdefault(part.path.parent.stat().st_dev, []).append(part)
    for together in by_disk.values():
        folder = together[0].path.parent
        needed = sum(planned_bytes(part.sizes) for part in together)
        free = shutil.disk_usage(folder).free
        if needed > share * free:
            raise CacheRefused(
                f"{folder}: the decoded images would take {mib(needed)}; {mib(free)} are free, of which at "
                f"most {share:.0%} may be taken. cache_dir names a folder on another disk"
            )


def _write(part: _Part, draft: Path, threads: int) -> None:
    total, began = len(part.sizes), time.monotonic()
    size = mib(planned_bytes(part.sizes))
    LOG.info(
        "decoding %s of %s into %s (%s)",
        counted(total, "image", form=","),
        part.contents.root,
        part.path,
        size,
    )
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task, said = bar.add_task(f"decoding {part.contents.root.name}", total=total), began

        def progress(done: int) -> None:
            nonlocal said
            bar.update(task, completed=done)
            if bar.disable and time.monotonic() - said > _NARRATED:
                said = time.monotonic()
                LOG.info("decoded %s of %s images", f"{done:,}", f"{total:,}")

        failed = write_pixels(draft, part.contents, part.sizes, threads, progress)
    draft.replace(part.path)
    LOG.info("%s is ready after %.1f s; it may be removed at any time", part.path, time.monotonic() - began)
    if failed:
        LOG.warning("%d of %d images of %s cannot be decoded", failed, total, part.contents.root)
