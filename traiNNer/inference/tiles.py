"""Running a network on whole images for as long as memory suffices, and on tiles of them after that."""

from __future__ import annotations

import logging

from torch import Tensor

from traiNNer.archs import NetworkFacts
from traiNNer.archs.padding import allowed_size, rounded_up
from traiNNer.inference.network import EvalNetwork
from traiNNer.models.out_of_memory import unless_out_of_memory
from traiNNer.runtime.memory import MemoryTooSmallError

_log = logging.getLogger(__name__)

_SMALLEST = 8  # LQ pixels; smaller tiles are mostly overlap


class Tiles:
    """The size of tiles, which is halved when an image does not fit into memory.

    Args:
        side: Of the tiles in LQ pixels; 0 takes images whole.
        overlap: LQ pixels of context around a tile.

    Both are rounded up to what the network works in: windows that begin elsewhere give another picture.
    """

    def __init__(self, side: int, overlap: int) -> None:
        self._side, self._overlap = side, overlap

    def upscale(self, model: EvalNetwork, lq: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, h * scale, w * scale), 0 to 1.

        Raises:
            MemoryTooSmallError: Where even the smallest tiles do not fit.
        """
        self._round_up(model.facts)
        while True:
            output = unless_out_of_memory(lambda: model.upscale(lq, tile=self._side, overlap=self._overlap))
            if output is not None:
                return output
            self._halve(model.facts, max(lq.shape[-2:]))

    def _round_up(self, facts: NetworkFacts) -> None:
        unit, asked = facts.unit, (self._side, self._overlap)
        if not self._side:
            return
        self._side = allowed_size(self._side, least=facts.min_size, multiple=unit)
        self._overlap = rounded_up(self._overlap, unit)
        if asked != (self._side, self._overlap):
            _log.info(
                "tiles of %d with an overlap of %d LQ pixels become tiles of %d with %d: this network works in "
                "multiples of %d, at least %d",
                *asked,
                self._side,
                self._overlap,
                unit,
                facts.min_size,
            )

    def _halve(self, facts: NetworkFacts, largest: int) -> None:
        """Half the side that failed, with the context that matters, but no more than half a tile of it."""
        failed = min(self._side or largest, largest)
        unit = facts.unit
        side = failed // 2 // unit * unit
        if side < max(_SMALLEST, facts.min_size, unit):
            raise MemoryTooSmallError(f"out of memory with tiles of {failed} pixels")
        wanted = self._overlap if facts.tile_margin is None else facts.tile_margin
        self._side, self._overlap = side, min(rounded_up(wanted, unit), side // 2 // unit * unit)
        exact = facts.tile_margin is not None and facts.tile_margin <= self._overlap
        _log.warning(
            "out of memory with %d pixels at a time: images are taken in tiles of %d with an overlap of %d "
            "LQ pixels (%s)",
            failed,
            side,
            self._overlap,
            "the result is the same" if exact else "scores differ a little from those of whole images",
        )
