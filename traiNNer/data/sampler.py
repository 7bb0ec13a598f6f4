"""The training data as an endless sequence addressed by position.

Position p always means the same image, the same crop and the same flips, on any machine, with any number of
workers, processes and any batch size. Resuming is continuing to count, and a change of batch or patch size
changes how many positions a step takes, never what they hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from threading import get_ident
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traiNNer.data.purposes import Purpose


@dataclass(frozen=True)
class SampleSpec:
    """What one position of the stream holds."""

    index: int
    """Which image of the data set."""
    row: float
    """Top edge of the crop as a fraction of the room the crop leaves, 0 to below 1."""
    column: float
    """Left edge of the crop, likewise."""
    flip_rows: bool
    flip_columns: bool
    transpose: bool
    seed: int = 0
    """Seed of the stream."""
    position: int = 0
    """Place in the stream; with the seed it numbers whatever else a source draws for the sample."""


@dataclass(frozen=True)
class Sampler:
    """Draws by position: `stream[p]` for any p >= 0, a pure function of `length` and `seed`."""

    length: int
    """Images in the data set."""
    seed: int

    def __getitem__(self, position: int) -> SampleSpec:
        epoch, offset = divmod(position, self.length)
        row, column, coins = _bits(self.seed, get_ident()).at(position)
        return SampleSpec(
            index=int(_order(self.length, self.seed, epoch)[offset]),
            row=(row >> 11) / 2**53,
            column=(column >> 11) / 2**53,
            flip_rows=bool(coins & 1),
            flip_columns=bool(coins & 2),
            transpose=bool(coins & 4),
            seed=self.seed,
            position=position,
        )


class _Bits:
    """Philox at any counter: setting its counter takes a sixth of the time of making a generator."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.Philox(key=(seed, Purpose.CROP))
        self._state: Any = self._generator.state

    def at(self, position: int) -> list[int]:
        """Three words of 64 bits."""
        self._state["state"]["counter"][:] = 0, 0, 0, position
        self._generator.state = self._state
        return self._generator.random_raw(3).tolist()


@lru_cache(maxsize=8)
def _bits(seed: int, thread: int) -> _Bits:  # threads must not move each other's counter
    return _Bits(seed)


@lru_cache(maxsize=2)
def _order(length: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of one epoch.

    Sorting raw bits rather than calling a shuffle keeps the order independent of the numpy version: only the
    bit stream is guaranteed stable.
    """
    bits = np.random.Philox(key=(seed, Purpose.ORDER), counter=(0, 0, 0, epoch))
    return np.argsort(bits.random_raw(length), kind="stable")
