"""Turning stream positions into batches, in worker processes.

Pixels travel as the integers that the files hold, a quarter of the bytes of float32; the model turns them into
0..1 on the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from traiNNer.data.images.image_io import ImageError
from traiNNer.data.paired_dataset import Patch, Pixels, Source
from traiNNer.data.sampler import Sampler
from traiNNer.data.workers import follow_parent

_MAX_REPLACEMENTS = 100  # unreadable files in a row, after which the data set is broken rather than a file


class Batch(NamedTuple):
    """The samples of one optimizer step on one process."""

    lq: Tensor
    """(n, h, w, 3), RGB, uint8 or uint16 over the full range of the type."""
    gt: Tensor
    """(n, h * scale, w * scale, 3), likewise."""
    replaced: tuple[str, ...] = ()
    """One line for each file that could not be read; the next position's sample stands in for it."""


class _Request(NamedTuple):
    position: int
    lq_size: int


class TrainLoader:
    """Batches of a source, from any position of its stream.

    Args:
        source: The image pairs.
        seed: Of the stream.
        num_workers: Processes that read images; 0 reads in this one.
        rank: This process among `world_size`, each of which gets its contiguous share of every global batch.
        pin_memory: Put batches where a GPU can fetch them without waiting.
        prefetch_factor: Batches that each worker prepares ahead.
    """

    def __init__(
        self,
        source: Source,
        seed: int,
        *,
        num_workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
        prefetch_factor: int | None = 2,
    ) -> None:
        self._requests = _Requests(rank, world_size)
        self._loader: DataLoader[Batch] = DataLoader(
            _Samples(source, Sampler(len(source), seed)),
            batch_sampler=self._requests,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            prefetch_factor=prefetch_factor if num_workers > 0 else None,
            collate_fn=cast(Any, _as_is),  # __getitems__ has made the batch already
            worker_init_fn=follow_parent,
            pin_memory=pin_memory,
        )

    def batches(self, position: int, batch: int, lq_size: int) -> Iterator[Batch]:
        """Endless batches from `position` on, `batch` samples each for this process.

        Calling again discards what was prefetched and keeps the workers, so this is also how the batch or
        patch size is changed.
        """
        requests = self._requests
        requests.start, requests.batch, requests.lq_size = position, batch, lq_size
        return iter(self._loader)


class _Samples(Dataset[Batch]):
    """What a worker runs: requests in, one finished batch out."""

    def __init__(self, source: Source, stream: Sampler) -> None:
        self._source, self._stream = source, stream

    def __getitems__(self, requests: Sequence[_Request]) -> Batch:
        replaced: list[str] = []
        patches = [self._read(request, replaced) for request in requests]
        return Batch(
            _stack([patch.lq for patch in patches]), _stack([patch.gt for patch in patches]), tuple(replaced)
        )

    def _read(self, request: _Request, replaced: list[str]) -> Patch:
        for position in range(request.position, request.position + _MAX_REPLACEMENTS):
            try:
                return self._source.read(self._stream[position], request.lq_size)
            except ImageError as error:
                replaced.append(str(error))
        raise ImageError(f"{_MAX_REPLACEMENTS} files in a row could not be read; the last: {replaced[-1]}")


class _Requests:
    """The positions this process reads: a contiguous share of every global batch."""

    def __init__(self, rank: int, world_size: int) -> None:
        self._rank, self._world_size = rank, world_size
        self.start, self.batch, self.lq_size = 0, 1, 1

    def __iter__(self) -> Iterator[list[_Request]]:
        first = self.start + self._rank * self.batch
        while True:
            yield [_Request(position, self.lq_size) for position in range(first, first + self.batch)]
            first += self._world_size * self.batch


def _stack(images: Sequence[Pixels]) -> Tensor:
    """(n, h, w, 3); when 8 and 16 bit meet, all become 16 bit (x 257, which keeps white white)."""
    if any(image.dtype == np.uint16 for image in images):
        images = [image if image.dtype == np.uint16 else image.astype(np.uint16) * 257 for image in images]
    return torch.from_numpy(np.stack(images))


def _as_is(batch: Batch) -> Batch:
    return batch
