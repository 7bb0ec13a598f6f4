"""`num_worker_per_gpu: auto`: how many processes read or make samples."""

from __future__ import annotations

import math
import multiprocessing

import torch

from traiNNer.runtime.cpus import usable_cpus

WORKERS = "datasets.train.num_worker_per_gpu"
_MOST, _MOST_DEGRADING = 8, 32
_MOST_SPAWNED, _MOST_SPAWNED_DEGRADING = 4, 8  # each imports torch anew, 450 MiB where a forked one takes 131
_DEAR = 1.0  # ms of CPU time a sample; reading a crop of a decoded image takes 0.05
_PER_MS = 4
"""Workers for each of them: enough for 4,000 samples a second, which small networks on a fast card reach."""


def processors(world_size: int) -> int:
    """How many processors each of the processes that train may use."""
    return max(1, usable_cpus() // world_size)


def usual_workers(device: torch.device, world_size: int) -> int:
    """Workers for images that are only read.

    Half of a process's share of the processors where the CPU computes, all but one (at most 8) where a GPU does;
    at most 4 where workers are not forked.
    """
    cores = processors(world_size)
    workers = max(1, cores // 2) if device.type == "cpu" else min(_MOST, max(1, cores - 1))
    return workers if _forked() else min(_MOST_SPAWNED, workers)


def degrading_workers(device: torch.device, world_size: int, sample_ms: float) -> int:
    """Workers for samples that are made while training; not fewer than the usual ones.

    All processors but one where the CPU computes, since each kind of work waits for the other; where a GPU does
    enough for 4,000 samples a second, up to 32 and all processors but one; at most 8 where workers are not forked.

    Args:
        device: What the network is trained on.
        world_size: Processes that train.
        sample_ms: CPU time that making a sample takes.
    """
    usual, most = usual_workers(device, world_size), max(1, processors(world_size) - 1)
    if sample_ms < _DEAR:
        return usual
    wanted = most if device.type == "cpu" else math.ceil(_PER_MS * sample_ms)
    limit = _MOST_DEGRADING if _forked() else _MOST_SPAWNED_DEGRADING
    return max(usual, min(wanted, most, limit))


def _forked() -> bool:
    return multiprocessing.get_start_method() == "fork"  # not on Windows, macOS, and from Python 3.14 on
