"""Decoded images on the disk: which files hold them, when they are made anew, and by whom.

There is one `PixelFile` for each folder of images, beside the folder or where the configuration says. It holds
what any set or run has asked for of the folder, as long as the image files are as they were. It is made by one
process for all, and moved into place when it is whole: readers of an older one keep that.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from traiNNer.data.cache.draft_file import draft_of
from traiNNer.data.cache.memory import mib
from traiNNer.data.cache.pixel_file import Contents, PixelFile, planned_bytes, write_pixels
from traiNNer.data.images.image_io import Pixels
from traiNNer.data.pairs.file_index import Files, Names
from traiNNer.data.pairs.pair_sizes import Sizes, read_missing
from traiNNer.wording import counted

LOG = logging.getLogger(__name__)

_REPLACES_MAPPED = os.name != "nt"
"""Whether a file that is mapped can be removed and replaced; its readers keep the older one."""
_NARRATED = 30  # seconds between lines of the log about a building, where no terminal shows a bar


class CacheRefused(Exception):
    """The images cannot be kept on the disk; the message says why, and what would help."""


class CacheInUse(CacheRefused):
    """The file cannot be made again now, because it is mapped; the images are decoded, whatever was asked for."""


class MappedImages:
    """Images in files of pixels, by their index in the data set.

    A process that gets them pickled opens the files anew and finds the images by name: meanwhile the file may have
    been made again, with other rows.

    Args:
        sources: The file of pixels of each folder, and the images that are looked for in it. One that is not
            there, or has changed since, is decoded.
        file_of: Which of these each image is in; those of a folder are neighbours.

    Raises:
        CacheRefused: If a file is not ours, damaged or cannot be read.
    """

    def __init__(self, sources: Sequence[tuple[Path, Contents]], file_of: NDArray[np.uint16]) -> None:
        self._sources, self._file_of = sources, file_of
        self._files = [_opened(path) for path, _ in sources]
        found = zip(self._files, (contents for _, contents in sources), strict=True)
        self._rows = np.concatenate([_rows(file, contents) for file, contents in found])

    def __reduce__(self) -> tuple[Callable[..., MappedImages], tuple[Any, ...]]:
        return MappedImages, (self._sources, self._file_of)

    def get(self, index: int) -> Pixels | None:
        """See `traiNNer.data.cache.memory.Images`."""
        file, row = self._files[self._file_of[index]], int(self._rows[index])
        return file.image(row) if file and row >= 0 else None

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
        self._look()

    @property
    def complete(self) -> bool:
        """Whether everything is there and up to date."""
        return not any(self._missing.values())

    def build(self, share: float, threads: int) -> None:
        """Make what is missing or out of date; waits where another process does.

        Args:
            share: Of the free space of the disk that may be taken.
            threads: That decode at the same time.

        Raises:
            CacheRefused: If there is not enough space, or the disk cannot be written to.
        """
        wanting = [path for path, missing in self._missing.items() if missing]
        with ExitStack() as stack:
            try:
                drafts = {path: stack.enter_context(draft_of(path)) for path in sorted(wanting)}
                self._look()  # another process may have been first
                renewals = [self._renewed(path) for path in drafts if self._missing[path]]
                self._make_room(renewals, share)
                for renewal in renewals:
                    path = renewal.part.path
                    _write(renewal.part, self._files[path], drafts[path], threads)
            except OSError as error:
                raise CacheRefused(
                    f"{error.filename or min(wanting).parent}: cannot be written "
                    f"({error.strerror or error}); cache_dir names another folder"
                ) from error
            self._look()
        if not self.complete:
            raise CacheRefused(f"images changed while they were decoded into {', '.join(map(str, wanting))}")

    def images(self) -> list[MappedImages]:
        """Mapped images of each side, once everything is there."""
        remaining = iter(self._parts)
        mapped: list[MappedImages] = []
        for files in self._sides:
            mine = [next(remaining) for _ in files.roots]
            mapped.append(MappedImages([(part.path, part.contents) for part in mine], files.root_of))
        return mapped

    def _look(self) -> None:
        """Which files are there, and how many images they lack or have in an older state."""
        self._files = {part.path: _opened(part.path) for part in self._parts}
        self._missing = dict.fromkeys(self._files, 0)
        for part in self._parts:
            missing = _rows(self._files[part.path], part.contents) < 0
            self._missing[part.path] += int(np.count_nonzero(missing))

    def _renewed(self, path: Path) -> _Renewal:
        """What belongs into a file: images of this set, and what the older file has for others."""
        parts = [part for part in self._parts if part.path == path]
        united = _united(parts)
        sizes = read_missing(united.contents.root, united.contents.names, united.sizes)
        united = united._replace(sizes=sizes)
        file = self._files[path]
        if file is None:
            return _Renewal(united, 0)
        text = "%s is out of date (%s of %s images are new or have changed) and is made again"
        total = sum(len(part.sizes) for part in parts)
        LOG.info(text, path, f"{self._missing[path]:,}", f"{total:,}")
        older = _Part(path, *file.unchanged(united.contents.root))
        everything = _united([older, united])
        return _Renewal(everything, len(everything.sizes) - len(sizes))

    def _make_room(self, renewals: Sequence[_Renewal], share: float) -> None:
        """See that all files fit on their disks together.

        An older file stays until the new one takes its place, and gives what it has, if the disk holds both. If
        not, it goes first, unless others use it.
        """
        by_disk: dict[int, list[_Renewal]] = {}
        for renewal in renewals:
            by_disk.setdefault(renewal.part.path.parent.stat().st_dev, []).append(renewal)
        for together in by_disk.values():
            folder = together[0].part.path.parent
            needed = sum(planned_bytes(renewal.part.sizes) for renewal in together)
            free = shutil.disk_usage(folder).free
            short = needed > share * free
            going = [r.part.path for r in together if (short and not r.of_others) or not _REPLACES_MAPPED]
            freed = sum(path.stat().st_size for path in going if self._files[path])
            if needed > share * (free + freed):
                raise CacheRefused(
                    f"{folder}: the decoded images would take {mib(needed)}; {mib(free)} are free, of which at "
                    f"most {share:.0%} may be taken. cache_dir names a folder on another disk"
                )
            for path in going:
                self._remove(path)

    def _remove(self, path: Path) -> None:
        """Let go of an older file and remove it; its space is free once no run has it mapped."""
        if file := self._files[path]:
            file.close()
            self._files[path] = None
            try:
                path.unlink(missing_ok=True)
            except PermissionError as error:
                if _REPLACES_MAPPED:
                    raise
                raise CacheInUse(
                    f"{path} lacks some of them, and another set or run has it in use"
                ) from error


class _Part(NamedTuple):
    """The images of one folder and the file of their pixels."""

    path: Path
    contents: Contents
    sizes: Sizes


class _Renewal(NamedTuple):
    """What a file is made of, or made of again."""

    part: _Part
    of_others: int
    """Images that were not asked for here but are in the older file: of another set, or another run."""


def _united(parts: Sequence[_Part]) -> _Part:
    """One part from several of a folder; where they differ about an image, the last is right."""
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


def _opened(path: Path) -> PixelFile | None:
    try:
        return PixelFile(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        text = f"{path}: cannot be read ({error.strerror}); cache_dir names another folder"
        raise CacheRefused(text) from error
    except ValueError as error:
        raise CacheRefused(f"{path}: {error}") from error


def _rows(file: PixelFile | None, wanted: Contents) -> NDArray[np.int32]:
    return file.rows(wanted) if file else np.full(len(wanted.names), -1, np.int32)


def _write(part: _Part, older: PixelFile | None, draft: Path, threads: int) -> None:
    total, began = len(part.sizes), time.monotonic()
    copied = older.decoded(part.contents) if older else 0
    LOG.info(
        "decoding %s of %s into %s (%s%s)",
        counted(total - copied, "image", form=","),
        part.contents.root,
        part.path,
        mib(planned_bytes(part.sizes)),
        f", with {copied:,} from the older file" if copied else "",
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

        failed = write_pixels(draft, part.contents, part.sizes, threads, progress, older)
    draft.replace(part.path)
    LOG.info("%s is ready after %.1f s; it may be removed at any time", part.path, time.monotonic() - began)
    if failed:
        LOG.warning("%d of %d images of %s cannot be decoded", failed, total, part.contents.root)
