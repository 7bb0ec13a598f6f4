"""Decoded images in memory that all reading processes share, so that no image is decoded twice."""

from __future__ import annotations

from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from traiNNer.data.cache.shared_block import SharedBlock
from traiNNer.data.images.image_io import Pixels
from traiNNer.data.pairs.pair_sizes import Sizes, image_bytes

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

    The memory is there before worker processes are started, so that what one decodes all can use; pages that
    were never written take no memory. Two processes that fill the same place at once write the same bytes.

    Args:
        sizes: What the headers of all images say.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._sizes, self._places = sizes, places(sizes)
        self._pixels, self._filled = SharedBlock(int(self._places[-1])), SharedBlock(len(sizes))

    def get(self, index: int) -> Pixels | None:
        """See `Images`."""
        return self._place(index) if self._filled.bytes[index] else None

    def put(self, index: int, image: Pixels) -> None:
        """See `Images`. An image that is not what its header announced is not kept."""
        place = self._place(index)
        if (image.dtype, image.shape) == (place.dtype, place.shape):
            place[:] = image
            self._filled.bytes[index] = 1

    def _place(self, index: int) -> Pixels:
        height, width, value_bytes = self._sizes[index].tolist()
        shape, start = (height, width, 3), int(self._places[index])
        return cast("Pixels", np.ndarray(shape, VALUE_TYPES[value_bytes], self._pixels.bytes, start))
