"""Random numbers by (seed, purpose, position, stage): the same whatever was drawn before, and wherever.

Each stage of a chain has a counter of its own, so changing one stage leaves what the others draw alone. Only raw
bits of Philox are used, which numpy keeps stable over its releases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from traiNNer.data.purposes import Purpose

T = TypeVar("T")

_STAGES, _SCALARS = 32, 32  # stages of a chain, and words that each may draw one by one


class Draws:
    """All random numbers of one sample.

    Args:
        seed: Of the run, 0 or larger.
        purpose: What the sample is for.
        position: Of the sample in the stream, or index of a validation image.
    """

    def __init__(self, seed: int, purpose: Purpose, position: int) -> None:
        self._position = position
        self._philox = np.random.Philox(key=(seed, purpose))
        self._state: Any = self._philox.state
        # those of all stages at once: moving the counter takes 30 us
        self._scalars: list[int] = self._words(0, 0, _STAGES * _SCALARS).tolist()

    def stage(self, number: int) -> Stage:
        """The numbers of a stage, 0 to 31; asking again begins them afresh."""
        return Stage(self, number, self._scalars[number * _SCALARS : (number + 1) * _SCALARS])

    def field(self, stage: int, count: int) -> NDArray[np.uint64]:
        """`count` words of 64 bits for a stage that wants many."""
        return self._words(1, stage, count)

    def _words(self, kind: int, stage: int, count: int) -> NDArray[np.uint64]:
        self._state["state"]["counter"][:] = 0, kind, stage, self._position
        self._state["buffer_pos"] = 4  # nothing is left over from another counter
        self._philox.state = self._state
        return self._philox.random_raw(count)


class Stage:
    """The random numbers of one stage, one after the other."""

    def __init__(self, draws: Draws, number: int, words: list[int]) -> None:
        self._draws, self._number, self._words = draws, number, words
        self._next = 0

    def unit(self) -> float:
        """Even in 0 to below 1."""
        word = self._words[self._next]
        self._next += 1
        return (word >> 11) / 2**53

    def uniform(self, low: float, high: float) -> float:
        """Even between two numbers."""
        return low + (high - low) * self.unit()

    def whole(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int(self.unit() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True in that share of the samples."""
        return self.unit() < probability

    def pick(self, items: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """One of the items, by weights that need not add up to 1; equal ones by default."""
        place = self.unit()
        if weights is None:
            return items[int(place * len(items))]
        place *= sum(weights)
        for item, weight in zip(items, weights, strict=True):
            place -= weight
            if place < 0:
                return item
        return next(item for item, weight in zip(items[::-1], weights[::-1], strict=True) if weight > 0)

    def order(self, count: int) -> list[int]:
        """A permutation of 0 to `count` - 1."""
        keys = [self.unit() for _ in range(count)]
        return sorted(range(count), key=keys.__getitem__)

    def sixteen_bits(self, *shape: int) -> NDArray[np.uint16]:
        """Even in 0 to 65,535; of the given shape."""
        count = int(np.prod(shape))
        words = self._draws.field(self._number, -(-count // 4))
        return words.view(np.uint16)[:count].reshape(shape)
