"""How large a piece of an image a network can take at a time: measured on a small piece, before memory runs out.

On the CPU memory that runs out is not an error that could be answered: the system ends the process.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from traiNNer.archs import NetworkFacts
from traiNNer.archs.padding import allowed_size, rounded_up
from traiNNer.inference.network import EvalNetwork
from traiNNer.inference.tiles import Tiles
from traiNNer.runtime.memory import free_memory

_log = logging.getLogger(__name__)

_PROBE = 64  # LQ pixels
_SMALLEST = 32  # LQ pixels
_SPARE = 0.4
"""Share of the free memory that tensors may take. Convolutions on the CPU need workspace besides: the resident set
grew by 1.3 (Realtime) to 1.9 times (RealPLKSR, Photo) what is seen as tensors."""
_OVERLAP = 32  # LQ pixels, where every pixel of the image matters to every other


class _LiveBytes(TorchDispatchMode):
    """Watches the bytes of tensors that operations make and that are alive at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                storage = value.untyped_storage()
                reference = StorageWeakRef(storage)
                self._alive[reference.cdata] = (reference, storage.nbytes())
        self._alive = {key: entry for key, entry in self._alive.items() if not entry[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._alive.values()))
        return result


def bytes_per_pixel(model: EvalNetwork, device: torch.device) -> float:
    """Memory for tensors that the network takes for each LQ pixel, while it computes a small image."""
    side = allowed_size(_PROBE, least=model.facts.min_size, multiple=model.facts.unit)
    lq = torch.full((1, model.facts.channels, side, side), 0.5, device=device)
    with _LiveBytes() as watched:
        model.upscale(lq, tile=0, overlap=0)
    return watched.peak / side**2


def needed_overlap(facts: NetworkFacts) -> int:
    """LQ pixels around a tile: as far as the network looks, or, where that is the whole image, a guess."""
    wanted = _OVERLAP if facts.tile_margin is None else facts.tile_margin
    return rounded_up(wanted, facts.unit)


def image_bytes(facts: NetworkFacts) -> int:
    """Bytes for each LQ pixel of whole images, which are there beside the tiles or after them."""
    enlarged = 4 * facts.scale**2
    if (
        facts.channels == 1
    ):  # input in colour too, and beside the output what `coloured` makes: RGB thrice, Y once
        return 4 * (3 + 1) + enlarged * (1 + 3 * 3 + 1)
    return 3 * (4 + 2 * enlarged)  # input, output and one more of its size


def fitting_tile(facts: NetworkFacts, size: tuple[int, int], *, per_pixel: float, free: int) -> int:
    """Side of the tiles in which an image fits into memory, in LQ pixels; 0: the image fits as a whole.

    Args:
        facts: Of the network.
        size: Height and width of the LQ image.
        per_pixel: Bytes that a pixel of a tile takes; see `bytes_per_pixel`.
        free: Bytes that could be allocated.
    """
    pixels = size[0] * size[1]
    usable = free * _SPARE
    if pixels * per_pixel <= usable:
        return 0
    room = max(0.0, usable - pixels * image_bytes(facts))
    side = math.isqrt(int(room / per_pixel)) - 2 * needed_overlap(facts)
    unit = facts.unit
    largest = max(side // unit * unit, allowed_size(_SMALLEST, least=facts.min_size, multiple=unit))
    alike = -(-max(size) // -(-max(size) // largest))  # as many tiles along the longer side, of equal size
    return rounded_up(alike, unit)


class FittingTiles:
    """Tiles for images of any size: as large as memory allows, or of a side that is given.

    Args:
        device: Where the network is.
        side: Of the tiles in LQ pixels; 0 takes images whole, None what fits into memory.
    """

    def __init__(self, device: torch.device, side: int | None = None) -> None:
        self._device, self._side = device, side
        self._per_pixel = 0.0
        self._tiles: dict[tuple[int, int], Tiles] = {}

    def upscale(self, model: EvalNetwork, lq: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, h * scale, w * scale), 0 to 1; raises as `Tiles.upscale`."""
        return self.of(model, (lq.shape[2], lq.shape[3])).upscale(model, lq)

    def measure(self, model: EvalNetwork) -> None:
        """Find out what a pixel takes, by a small image; done by itself where it was not before."""
        self._per_pixel = bytes_per_pixel(model, self._device)

    def of(self, model: EvalNetwork, size: tuple[int, int]) -> Tiles:
        """The tiles of images of that height and width; those that had to be halved stay so."""
        if size not in self._tiles:
            facts, side = model.facts, self._side
            if side is None:
                if not self._per_pixel:
                    self.measure(model)
                free = free_memory(self._device)
                side = fitting_tile(facts, size, per_pixel=self._per_pixel, free=free)
            side = rounded_up(side, facts.unit)
            if 0 < side < max(size):
                same = (
                    "the result is the same"
                    if facts.tile_margin is not None
                    else "this network's result depends on the whole image: it changes a little, edges may show"
                )
                _log.info("%d x %d pixels are computed in tiles of %d: %s", size[1], size[0], side, same)
            self._tiles[size] = Tiles(side, needed_overlap(facts))
        return self._tiles[size]
