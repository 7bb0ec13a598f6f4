"""What the headers of a data set's files say: whether pairs fit, and how much memory their pixels take.

All headers are read of sets that are not large. A million pairs would take minutes, or hours on a slow disk; of
large sets a sample is looked at first, and the rest is checked as it is read.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from traiNNer.data.images.image_header import Header
from traiNNer.data.images.image_io import ImageError, image_header
from traiNNer.data.pairs.file_index import Files, Names
from traiNNer.data.pairs.pair_ratio import Misfit, common_cause
from traiNNer.data.pairs.pairing import Pairs, Problems, Progress

LOG = logging.getLogger(__name__)

LARGE = 50_000
"""Pairs (a few seconds of reading headers) above which only a sample is looked at."""
_SAMPLE = 5_000
_CHUNK = 256  # files a thread checks at a time
_THREADS = 8  # headers wait for the disk, not for the processor

Sizes = NDArray[np.int32]
"""(n, 3): height, width and bytes per value of images; zeros where the header was not read, or is bad."""


class PairHeaders:
    """The headers of pairs, read when they are asked for.

    Args:
        pairs: The files.
        scale: Height and width of GT over those of LQ.
        progress: Called while headers are read.
    """

    def __init__(self, pairs: Pairs, scale: int, progress: Progress | None) -> None:
        self.gt: Sizes = np.zeros((len(pairs.gt), 3), np.int32)
        self.lq: Sizes = np.zeros_like(self.gt)
        self._pairs, self._scale, self._progress = pairs, scale, progress
        self._read = np.zeros(len(self.gt), np.bool_)
        self._problems: dict[int, str] = {}
        self._misfits: dict[int, Misfit] = {}

    def __len__(self) -> int:
        return len(self.gt)

    @property
    def complete(self) -> bool:
        """Whether all were read."""
        return bool(self._read.all())

    def read_some(self) -> None:
        """All, or of a large set a sample that is spread evenly over the names."""
        count = len(self) if len(self) <= LARGE else _SAMPLE
        self._check(np.linspace(0, len(self) - 1, count).astype(np.int64) if count else np.empty(0, np.int64))

    def read_all(self) -> None:
        """Those that were not read yet."""
        self._check(np.flatnonzero(~self._read))

    def decoded_bytes(self) -> int:
        """Bytes of the pixels of all pairs; estimated where only a part of the headers was read."""
        total = int(image_bytes(self.gt).sum() + image_bytes(self.lq).sum())
        known = int(np.count_nonzero(self.lq[:, 0]))
        return total * len(self) // known if known and not self.complete else total

    def settle(self, problems: Problems) -> NDArray[np.bool_]:
        """Note what is wrong; which pairs are not known to be bad, (n,)."""
        if cause := common_cause(self._misfits.values(), int(self._read.sum()), self._scale):
            problems.refuse(cause)
        problems.add("pairs that do not fit", [self._problems[index] for index in sorted(self._problems)])
        good = np.ones(len(self), np.bool_)
        good[list(self._problems)] = False
        if self._problems:
            self.gt, self.lq, self._read = self.gt[good], self.lq[good], self._read[good]
        inside = self.gt[:, :2] > self.lq[:, :2] * self._scale
        larger = int(np.count_nonzero(inside.any(axis=1)))
        if larger:
            text = (
                "%d of %d GT images are larger than LQ times %d by up to %d pixels, which are cut right and "
                "below (as make_lr.py does)"
            )
            LOG.info(text, larger, len(self), self._scale, self._scale - 1)
        if not self.complete:
            LOG.info(
                "the headers of %s of %s pairs were checked; the others are checked when they are read",
                f"{int(self._read.sum()):,}",
                f"{len(self):,}",
            )
        return good

    def _check(self, rows: NDArray[np.int64]) -> None:
        _in_threads(rows, self._check_pair, self._progress)
        self._read[rows] = True

    def _check_pair(self, index: int) -> None:
        gt_path, lq_path = self._pairs.gt.path(index), self._pairs.lq.path(index)
        try:
            gt, lq = image_header(gt_path), image_header(lq_path)
        except ImageError as error:
            self._problems[index] = str(error)
            return
        if fits(gt, lq, self._scale):
            self.gt[index], self.lq[index] = gt, lq
            return
        self._misfits[index] = Misfit(gt, lq)
        self._problems[index] = (
            f"{_described(gt_path, gt)}, {_described(lq_path, lq)}: scale {self._scale} needs a GT of "
            f"{lq.width * self._scale}x{lq.height * self._scale} (width x height)"
        )


def _described(path: Path, header: Header) -> str:
    return f"{path} is {header.width}x{header.height}"


def fits(gt: Sequence[int], lq: Sequence[int], scale: int) -> bool:
    """Whether GT is `scale` times as large as LQ, or larger by less than `scale` pixels (cut when used)."""
    return 0 <= gt[0] - lq[0] * scale < scale and 0 <= gt[1] - lq[1] * scale < scale


def image_bytes(sizes: Sizes) -> NDArray[np.int64]:
    """Bytes of the pixels of each image; (n,)."""
    return sizes.astype(np.int64).prod(axis=1) * 3


def read_headers(files: Files, progress: Progress | None) -> tuple[Sizes, dict[int, str]]:
    """The sizes of all files, and those whose header cannot be read, with what is wrong with it."""
    sizes, problems = np.zeros((len(files), 3), np.int32), dict[int, str]()

    def read(index: int) -> None:
        try:
            sizes[index] = image_header(files.path(index))
        except ImageError as error:
            problems[index] = str(error)

    _in_threads(np.arange(len(files)), read, progress)
    return sizes, problems


def _in_threads(rows: NDArray[np.int64], check: Callable[[int], None], progress: Progress | None) -> None:
    def chunk(start: int) -> int:
        part = rows[start : start + _CHUNK].tolist()
        for index in part:
            check(index)
        return len(part)

    done = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for count in pool.map(chunk, range(0, len(rows), _CHUNK)):
            done += count
            if progress:
                progress(done, len(rows))


def read_missing(root: Path, names: Names, sizes: Sizes) -> Sizes:
    """The sizes with those that were not read yet; zeros for headers that cannot be read."""
    found = sizes.copy()

    def read(index: int) -> None:
        with contextlib.suppress(ImageError):
            found[index] = image_header(root / names[index])

    _in_threads(np.flatnonzero(sizes[:, 0] == 0), read, None)
    return found
