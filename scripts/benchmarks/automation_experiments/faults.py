"""What is put into a run to see what the automations make of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor, nn

from traiNNer.data.loader import Batch, TrainLoader
from traiNNer.losses import LossInputs

CORRUPTED = 0.02  # share of the batches
BRIGHTER = 30.0


class CorruptedBatches:
    """A loader some of whose batches are corrupted: which ones, the position alone decides."""

    def __init__(self, loader: TrainLoader, seed: int) -> None:
        self._loader, self._seed = loader, seed

    def batches(self, position: int, batch: int, lq_size: int) -> Iterator[Batch]:
        """As of the loader within."""
        for pixels in self._loader.batches(position, batch, lq_size):
            yield (
                pixels._replace(lq=pixels.lq.float() * BRIGHTER)
                if corrupted(position, self._seed)
                else pixels
            )
            position += batch


class OtherUnits(nn.Module):
    """A loss times a constant."""

    def __init__(self, loss: nn.Module, units: float) -> None:
        super().__init__()
        self._loss, self._units = loss, units

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar."""
        return self._units * self._loss(inputs)


def corrupted(position: int, seed: int) -> bool:
    """Whether the batch that begins at a position is."""
    return bool(np.random.default_rng((seed, position)).random() < CORRUPTED)
