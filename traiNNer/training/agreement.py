"""Whether the processes of a run still train the same network, and work of which each does a share."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import Tensor

from traiNNer.models.networks import Networks
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.runtime.signals import GivenUp

T = TypeVar("T")


def all_or_none(processes: DistributedContext, work: Callable[[], T]) -> list[T]:
    """What every process made of its share; where one fails all do, or the others would wait for it for ever.

    Raises:
        Exception: The failure of this process.
        GivenUp: Where another process left its share at a signal.
        RuntimeError: With the words of another process's failure.
    """
    done: T | None = None
    failure: Exception | None = None
    try:
        done = work()
    except Exception as error:  # noqa: BLE001 - raised again once the others know
        failure = error
    fault = "" if failure is None else f"{type(failure).__name__}: {failure}"
    shares = processes.gather((done, fault, isinstance(failure, GivenUp)))
    if failure:
        raise failure
    for rank, (_, fault, given_up) in enumerate(shares):
        if given_up:
            raise GivenUp(f"a signal to process {rank}")
        if fault:
            raise RuntimeError(f"process {rank}: {fault}")
    return cast("list[T]", [share for share, _, _ in shares])


def processes_agree(networks: Networks, processes: DistributedContext) -> bool:
    """Whether the weights of all processes are the same in every bit; each must ask."""
    if processes.world_size == 1:
        return True
    return len(set(processes.gather(_checksum(networks)))) == 1


def _checksum(networks: Networks) -> int:
    checksum = 0
    for net in (*(learner.net for learner in networks.learners.values()), networks.eval_net):
        for tensor in net.state_dict().values():
            checksum = zlib.crc32(_bytes(tensor), checksum)
    return checksum


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
