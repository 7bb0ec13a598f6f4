"""The buffers of a network, such as running means, in a step that may be skipped."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Buffers:
    """The network's buffers as they were before the step, for networks whose forward moves them."""

    def __init__(self, net: nn.Module) -> None:
        self.live = list(net.buffers())
        self.kept = [buffer.clone() for buffer in self.live]
        self._versions = [buffer._version for buffer in self.live]

    def moved(self) -> list[Tensor]:
        """Most buffers are constants; torch counts the writes to a tensor, so they cost nothing here."""
        return [self.live[index] for index in self._moved()]

    def restore(self) -> None:
        """Give all the values of before the step."""
        for index in range(len(self.live)):
            self._put_back(index)

    def commit_or_restore(self, ok: Tensor) -> None:
        """Keep what the step has moved where `ok`, a scalar on the device, is true; else put it back."""
        for index in self._moved():
            live, kept = self.live[index], self.kept[index]
            kept.copy_(torch.where(ok, live, kept))
            self._put_back(index)

    def _put_back(self, index: int) -> None:
        self.live[index].copy_(self.kept[index])
        self._versions[index] = self.live[index]._version

    def _moved(self) -> list[int]:
        return [i for i, buffer in enumerate(self.live) if buffer._version != self._versions[i]]
