"""Whether the processes of a run still train the same network."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

from traiNNer.models.networks import Networks
from traiNNer.runtime.distributed import DistributedContext


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
