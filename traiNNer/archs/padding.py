"""Images made larger by mirroring, to sizes that a network takes."""

from __future__ import annotations

import torch
from torch import Tensor


def mirrored_indices(size: int, wanted: int, device: torch.device) -> Tensor:
    """Indices 0, 1 .. size - 1, size - 2 .. 1, 0, 1 .. for as long as wanted: reflection of any length."""
    period = max(1, 2 * size - 2)
    index = torch.arange(wanted, device=device) % period
    return torch.minimum(index, period - index) if size > 1 else torch.zeros_like(index)


def rounded_up(size: int, multiple: int) -> int:
    """The next multiple of `multiple` from `size` on."""
    return -(-size // multiple) * multiple


def allowed_size(size: int, *, least: int, multiple: int) -> int:
    """The next size from `size` on that is at least `least` and a multiple of `multiple`."""
    return rounded_up(max(size, least), multiple)


def mirrored(x: Tensor, height: int, width: int) -> Tensor:
    """`(..., h, w)` continued at the bottom and at the right to `height` and `width`."""
    for dim, wanted in ((-2, height), (-1, width)):
        size = x.shape[dim]
        if wanted != size:
            x = x.index_select(dim, mirrored_indices(size, wanted, x.device))
    return x
