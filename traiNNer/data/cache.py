"""Decoded pairs in memory that all reading processes share, so that no image is decoded twice."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traiNNer.data.image_io import Pixels


class SharedPairs:
    """Room for the pixels of every pair, filled as pairs are first read.

    The memory is mapped before worker processes are forked, so that what one decodes all can use; pages that
    were never written take no memory. Where processes are spawned instead, each has a cache of its own. Two
    processes that fill the same place at once write the same bytes. Pairs of 16 bits are not kept.

    Args:
        lq_sizes: (n, 2), height and width of every LQ image in pixels.
        scale: Height and width of GT over those of LQ.
    """

    def __init__(self, lq_sizes: NDArray[np.int32], scale: int) -> None:
        self._sizes, self._scale = lq_sizes, scale
        self._ends = np.cumsum(pair_bytes(lq_sizes, scale))
        self._pixels = np.frombuffer(mmap.mmap(-1, max(1, int(self._ends[-1]))), np.uint8)
        self._filled = np.frombuffer(mmap.mmap(-1, len(lq_sizes)), np.uint8)

    def __reduce__(self) -> tuple[Callable[..., SharedPairs], tuple[Any, ...]]:
        return SharedPairs, (self._sizes, self._scale)

    def get(self, index: int) -> tuple[Pixels, Pixels] | None:
        """LQ and GT of a pair, or None if it was not put here yet. Views: do not write to them."""
        return self._places(index) if self._filled[index] else None

    def put(self, index: int, lq: Pixels, gt: Pixels) -> None:
        """Keep a pair of the size that was announced."""
        places = self._places(index)
        if lq.dtype == np.uint8 and (lq.shape, gt.shape) == (places[0].shape, places[1].shape):
            for place, image in zip(places, (lq, gt), strict=True):
                place[:] = image
            self._filled[index] = 1

    def _places(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        height, width = self._sizes[index].tolist()
        small, k = height * width * 3, self._scale
        end = int(self._ends[index])
        start = end - small * (1 + k * k)
        lq = self._pixels[start : start + small].reshape(height, width, 3)
        return lq, self._pixels[start + small : end].reshape(height * k, width * k, 3)


def pair_bytes(lq_sizes: NDArray[np.int32], scale: int) -> NDArray[np.int64]:
    """Bytes of each decoded pair of 8 bits; (n,)."""
    return lq_sizes.astype(np.int64).prod(axis=1) * 3 * (1 + scale * scale)
