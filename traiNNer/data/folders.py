"""Which image files belong together: folders to matched pairs, checked before any training starts.

Names are kept as bytes in one array, a few dozen bytes an image, because lists of a million strings would be
copied into every worker process as soon as its reference counts change.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traiNNer.data.image_io import IMAGE_SUFFIXES, ImageError, image_size
from traiNNer.registry import ConfigError

LOG = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the number of files that were checked so far, and of all."""

_LISTED = 20  # lines of a list that a message shows
_CHUNK = 256  # pairs a thread checks at a time
_THREADS = 8  # headers wait for the disk, not for the processor


class Names:
    """Many relative paths in little memory."""

    def __init__(self, names: Sequence[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._bytes = np.frombuffer(b"".join(encoded), np.uint8)
        self._ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        index = range(len(self))[index]
        start = self._ends[index - 1] if index else 0
        return os.fsdecode(self._bytes[start : self._ends[index]].tobytes())


@dataclass(frozen=True)
class Files:
    """Image files of one or several folders, addressed by one index."""

    roots: tuple[Path, ...]
    names: Names
    """Relative to their root, with `/`."""
    root_of: NDArray[np.uint16]
    """Index of the root of each name."""

    def path(self, index: int) -> Path:
        """Where the file is."""
        return self.roots[self.root_of[index]] / self.names[index]

    def name(self, index: int) -> str:
        """The relative path without suffix; with several roots, behind the root's number: `2/street`."""
        stem = _stem(self.names[index])
        return stem if len(self.roots) == 1 else f"{self.root_of[index] + 1}/{stem}"

    def __len__(self) -> int:
        return len(self.names)


class Problems:
    """What is wrong with a data set: collected, then refused or, with `skip`, logged."""

    def __init__(self, *, skip: bool) -> None:
        self._skip = skip
        self._found: list[str] = []

    def add(self, what: str, items: Sequence[str]) -> None:
        """Note bad files, one line each, under what is wrong with them; an empty list is nothing."""
        if not items:
            return
        more = [f"  and {len(items) - _LISTED} more"] if len(items) > _LISTED else []
        shown = [f"  {item}" for item in items[:_LISTED]]
        self._found.append("\n".join([f"{what} ({len(items)}):", *shown, *more]))

    def settle(self, remaining: int, where: str) -> None:
        """Log what is skipped.

        Raises:
            ConfigError: With everything found, if nothing may be skipped or nothing remains.
        """
        if not self._found and remaining:
            return
        if not self._skip and self._found:
            raise ConfigError([*self._found, "skip_bad_images: true goes on without these files"])
        if not remaining:
            raise ConfigError([*self._found, f"{where}: no image is left to use"])
        for problem in self._found:
            LOG.warning("skipped: %s", problem)


def find_images(root: Path) -> list[str]:
    """Relative paths of all images below a folder, sorted, with `/`; hidden files and folders are left out.

    Raises:
        ConfigError: If the folder is missing or has no image.
    """
    if not root.is_dir():
        raise ConfigError(f"{root}: is not a folder")
    found: list[str] = []
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(folder).relative_to(root).as_posix() + "/" if folder != str(root) else ""
        images = (
            name for name in files if not name.startswith(".") and _suffix(name).lower() in IMAGE_SUFFIXES
        )
        found.extend(below + name for name in images)
    if not found:
        raise ConfigError(f"{root}: holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return sorted(found)


def single_files(roots: Sequence[Path], problems: Problems, progress: Progress | None) -> Files:
    """All images of the folders whose header can be read."""
    files = _join(roots, [find_images(root) for root in roots])
    checked = _check_all(len(files), lambda index: _check_single(files.path(index)), progress)
    problems.add("unreadable images", [check.problem for check in checked if check.problem])
    return _select(files, [index for index, check in enumerate(checked) if not check.problem])


def _check_single(path: Path) -> _Check:
    try:
        return _Check(image_size(path))
    except ImageError as error:
        return _Check((0, 0), str(error))


class MatchedFiles(NamedTuple):
    """Pairs of files that fit each other; index i of both is one pair."""

    gt: Files
    lq: Files
    lq_sizes: NDArray[np.int32]
    """(n, 2), height and width of each LQ image in pixels."""


def paired_files(
    gt_roots: Sequence[Path],
    lq_roots: Sequence[Path],
    scale: int,
    *,
    filename_tmpl: str,
    problems: Problems,
    progress: Progress | None,
) -> MatchedFiles:
    """Match GT and LQ files by relative path and stem; check the ratio of their sizes from the headers."""
    matched = [
        _match(gt_root, lq_root, filename_tmpl, problems)
        for gt_root, lq_root in zip(gt_roots, lq_roots, strict=True)
    ]
    gt = _join(gt_roots, [[pair[0] for pair in pairs] for pairs in matched])
    lq = _join(lq_roots, [[pair[1] for pair in pairs] for pairs in matched])
    checked = _check_all(len(gt), lambda i: _check_pair(gt.path(i), lq.path(i), scale), progress)
    problems.add("pairs that do not fit", [check.problem for check in checked if check.problem])
    good = [index for index, check in enumerate(checked) if not check.problem]
    larger = sum(checked[index].larger for index in good)
    if larger:
        text = (
            "%d of %d GT images are larger than LQ times %d by up to %d pixels, which are cut right and below"
        )
        LOG.warning(text, larger, len(good), scale, scale - 1)
    sizes = np.array([checked[index].size for index in good], np.int32).reshape(-1, 2)
    return MatchedFiles(_select(gt, good), _select(lq, good), sizes)


def fits(gt: tuple[int, ...], lq: tuple[int, ...], scale: int) -> bool:
    """Whether GT is `scale` times as large as LQ, or larger by less than `scale` pixels (cut when used)."""
    return all(0 <= gt[axis] - lq[axis] * scale < scale for axis in (0, 1))


class _Check(NamedTuple):
    """What the headers of one image or pair say."""

    size: tuple[int, int]
    problem: str = ""
    larger: bool = False


def _check_pair(gt: Path, lq: Path, scale: int) -> _Check:
    try:
        gt_size, lq_size = image_size(gt), image_size(lq)
    except ImageError as error:
        return _Check((0, 0), str(error))
    if fits(gt_size, lq_size, scale):
        return _Check(lq_size, larger=gt_size != (lq_size[0] * scale, lq_size[1] * scale))
    wanted = f"{lq_size[1] * scale}x{lq_size[0] * scale}"
    return _Check(
        lq_size,
        f"{gt} is {gt_size[1]}x{gt_size[0]}, {lq} is {lq_size[1]}x{lq_size[0]}: "
        f"scale {scale} needs a GT of {wanted} (width x height)",
    )


def _check_all(total: int, check: Callable[[int], _Check], progress: Progress | None) -> list[_Check]:
    def chunk(start: int) -> list[_Check]:
        return [check(index) for index in range(start, min(start + _CHUNK, total))]

    checked: list[_Check] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for part in pool.map(chunk, range(0, total, _CHUNK)):
            checked += part
            if progress:
                progress(len(checked), total)
    return checked


def _match(gt_root: Path, lq_root: Path, filename_tmpl: str, problems: Problems) -> list[tuple[str, str]]:
    """(GT, LQ) relative paths. The LQ stem is the template with the GT stem in it, in the same subfolder."""
    gt_by_stem = _by_stem(gt_root, find_images(gt_root), problems)
    lq_by_stem = _by_stem(lq_root, find_images(lq_root), problems)
    pairs: list[tuple[str, str]] = []
    alone: list[str] = []
    for stem, gt in gt_by_stem.items():
        folder, slash, base = stem.rpartition("/")
        lq = lq_by_stem.pop(f"{folder}{slash}{filename_tmpl.format(base)}", None)
        if lq is None:
            alone.append(gt)
        else:
            pairs.append((gt, lq))
    hint = "" if pairs else f"; no name fits: is filename_tmpl {filename_tmpl!r} right?"
    problems.add(f"GT images in {gt_root} without an LQ image in {lq_root}{hint}", alone)
    problems.add(f"LQ images in {lq_root} without a GT image in {gt_root}", sorted(lq_by_stem.values()))
    return pairs


def _by_stem(root: Path, files: list[str], problems: Problems) -> dict[str, str]:
    """Files by relative path without suffix; of several with one stem, the first."""
    found: dict[str, str] = {}
    doubled = [name for name in files if found.setdefault(_stem(name), name) != name]
    problems.add(f"images in {root} that differ from another only by their suffix", doubled)
    return found


def _join(roots: Sequence[Path], names: Sequence[Sequence[str]]) -> Files:
    root_of = np.repeat(np.arange(len(roots), dtype=np.uint16), [len(part) for part in names])
    return Files(tuple(roots), Names([name for part in names for name in part]), root_of)


def _select(files: Files, indices: Sequence[int]) -> Files:
    if len(indices) == len(files):
        return files
    return Files(files.roots, Names([files.names[index] for index in indices]), files.root_of[list(indices)])


def _stem(name: str) -> str:
    return name[: len(name) - len(_suffix(name))]


def _suffix(name: str) -> str:
    dot = name.rfind(".")  # pathlib takes ten times as long, which a million names would feel
    return name[dot:] if dot > name.rfind("/") else ""
