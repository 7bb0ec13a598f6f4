"""Decoded images in memory that all reading processes share, so that no image is decoded twice."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from traiNNer.data.image_io import Pixels
from traiNNer.data.pair_sizes import Sizes, image_bytes

VALUE_TYPES = {1: np.uint8, 2: np.uint16}
"""Types of pixels by their bytes per value."""
_ALIGNED = 64  # bytes: a line of a processor's cache


class Images(Protocol):
    """Decoded images by their index in the data set."""

    def get(self, index: int) -> Pixels | None:
        """The pixels, or None if they are not here. A view: do not write to it."""
        ...

    def put(self, index: int, image: Pixels) -> None:
        """The pixels of an image that was not here; they may be kept."""
        ...


def mib(count: int) -> str:
    """Bytes in words."""
    return f"{count / 2**20:,.0f} MiB"


def places(sizes: Sizes, start: int = 0) -> NDArray[np.int64]:
    """Where each image begins, and where the last ends, if they lie one after the other; (n + 1,)."""
    room = -(-image_bytes(sizes) // _ALIGNED) * _ALIGNED
    return start + np.concatenate([np.zeros(1, np.int64), np.cumsum(room)])


class SharedImages:
    """Room for the pixels of every image, filled as images are first read.

    The memory is mapped before worker processes are forked, so that what one decodes all can use; pages that
    were never written take no memory. Where processes are spawned instead, each has a cache of its own. Two
    processes that fill the same place at once write the same bytes.

    Args:
        sizes: What the headers of all images say.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._sizes, self._places = sizes, places(sizes)
        self._pixels = mmap.mmap(-1, max(1, int(self._places[-1])))
        self._filled = mmap.mmap(-1, max(1, len(sizes)))

    def __reduce__(self) -> tuple[Callable[..., SharedImages], tuple[Any, ...]]:
        return SharedImages, (self._sizes,)

    def get(self, index: int) -> Pixels | None:
        """See `Images`."""
        return self._place(index) if self._filled[index] else None

    def put(self, index: int, image: Pixels) -> None:
        """See `Images`. An image that is not what its header announced is not kept."""
        place = self._place(index)
        if (image.dtype, image.shape) == (place.dtype, place.shape):
            place[:] = image
            self._filled[index] = 1

    def _place(self, index: int) -> Pixels:
        height, width, value_bytes = self._sizes[index].tolist()
        shape, start = (height, width, 3), int(self._places[index])
        return cast("Pixels", np.ndarray(shape, VALUE_TYPES[value_bytes], self._pixels, start))
