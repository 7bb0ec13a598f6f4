"""Collections of image pairs."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from traiNNer.data.stream import Draw

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
"""An image: (h, w, 3), RGB, full range of its integer type."""


class Patch(NamedTuple):
    """One training sample, cropped and flipped; both parts have the same dtype."""

    lq: Pixels
    gt: Pixels


class Source(Protocol):
    """A collection of image pairs. Reading must be a pure function of its arguments."""

    def __len__(self) -> int: ...

    def read(self, draw: Draw, lq_size: int) -> Patch:
        """The sample that a draw describes.

        Raises:
            ImageError: Names the file that cannot be read.
        """
        ...
