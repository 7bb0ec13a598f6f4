"""The processes of a run: one, or as many as torchrun starts.

Flags and scalars travel over gloo on the host, so that asking the others costs no wait for the device;
gradients travel over the device's own backend, flattened into few messages.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from traiNNer.registry import ConfigError

T = TypeVar("T")
_TIMEOUT = timedelta(minutes=30)  # a validation on one process may keep the others waiting


_MESSAGE = 25 * 2**20
"""Bytes of gradients that are sent at once, as in torch's DistributedDataParallel.

It is what sending takes of the memory, on top of a step that has fitted: a copy of all gradients would be the
largest allocation left outside the guard, and where one process fails there the others wait for it."""


def messages(tensors: Sequence[Tensor], most: int) -> Iterator[list[Tensor]]:
    """The tensors in groups of one dtype and at most `most` bytes; a larger tensor is a group of its own."""
    for dtype in sorted({tensor.dtype for tensor in tensors}, key=str):
        group: list[Tensor] = []
        for tensor in (t for t in tensors if t.dtype == dtype):
            if group and sum(t.nbytes for t in group) + tensor.nbytes > most:
                yield group
                group = []
            group.append(tensor)
        yield group


class DistributedContext:
    """This process among `world_size`. With one process every method is the identity."""

    def __init__(
        self, *, rank: int = 0, world_size: int = 1, local_rank: int = 0, local_size: int = 1
    ) -> None:
        self.rank, self.world_size = rank, world_size
        self.local_rank, self.local_size = local_rank, local_size  # among the processes of this machine
        self._host: Any = dist.new_group(backend="gloo", timeout=_TIMEOUT) if world_size > 1 else None

    @classmethod
    def start(cls, launcher: str | None, *, cpu: bool) -> DistributedContext:
        """Join the processes that torchrun started (`launcher: pytorch`), or be the only one."""
        expected = int(os.environ.get("WORLD_SIZE", "1"))
        if launcher != "pytorch":
            if expected > 1:
                raise ConfigError(f"torchrun started {expected} processes: add --launcher pytorch")
            return cls()
        if "WORLD_SIZE" not in os.environ:
            raise ConfigError(
                "--launcher pytorch is for runs that torchrun starts: torchrun train.py -opt ..."
            )
        if not dist.is_initialized():
            nccl = not cpu and dist.is_nccl_available()  # which Windows has not
            dist.init_process_group("nccl" if nccl else "gloo", timeout=_TIMEOUT)
        return cls(
            rank=dist.get_rank(),
            world_size=dist.get_world_size(),
            local_rank=int(os.environ.get("LOCAL_RANK", "0")),
            local_size=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        )

    def connect(self, device: torch.device) -> None:
        """Exchange a first message, before memory is measured: NCCL takes its own outside torch's allocator."""
        if self._host:
            dist.all_reduce(torch.zeros(1, device=device))

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on at least one process."""
        return self.maximum([float(flag)])[0] > 0 if self._host else flag

    def maximum(self, values: Sequence[float]) -> list[float]:
        """The largest of each value over the processes."""
        if not self._host:
            return list(values)
        numbers = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(numbers, dist.ReduceOp.MAX, group=self._host)
        return numbers.tolist()

    def gather(self, value: T) -> list[T]:
        """The value of every process, in their order; plain values, arrays or host tensors."""
        if not self._host:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self._host)
        return values

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in place and in few messages."""
        if not self._host:
            return
        for group in messages(tensors, _MESSAGE):
            if len(group) == 1:
                self._average_in_place(group[0])
                continue
            flat = torch.cat([t.reshape(-1) for t in group])
            dist.all_reduce(flat)
            flat /= self.world_size
            for tensor, part in zip(group, flat.split([t.numel() for t in group]), strict=True):
                tensor.copy_(part.view(tensor.shape))

    def _average_in_place(self, tensor: Tensor) -> None:
        """A large tensor takes no copy, in whatever order its values lie: all processes have the same.

        (They have the same options, and torch gives gradients the order of their weights.)
        """
        lying = tensor.permute(sorted(range(tensor.ndim), key=tensor.stride, reverse=True))
        flat = lying.contiguous()  # the same memory, unless there are gaps in it
        dist.all_reduce(flat)
        flat /= self.world_size
        if flat.data_ptr() != tensor.data_ptr():
            lying.copy_(flat)

    def wait(self) -> None:
        """Until every process is here."""
        if self._host:
            dist.barrier(group=self._host)

    def end(self) -> None:
        """Leave the group."""
        if self._host:
            dist.destroy_process_group()
