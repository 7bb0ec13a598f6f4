"""Values for options that are left to the program (`auto`, or not given)."""

from __future__ import annotations

import os
from typing import Any

import torch

from traiNNer.options import Options


def choose_device(options: Options, local_rank: int) -> torch.device:
    """The device of this process: a CUDA (or ROCm) card, Apple's, or the CPU; `num_gpu: 0` means the CPU."""
    if options.num_gpu != 0 and torch.cuda.is_available():
        return torch.device("cuda", local_rank)
    if options.num_gpu != 0 and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def derive(options: Options, device: torch.device, world_size: int) -> dict[tuple[str | int, ...], Any]:
    """Every value that the options leave open, by its path.

    The seed is 0, so that two runs of one file are one run. Workers: half the cores of a process's share where
    the CPU computes, all but one (at most 8) where a GPU does. Twenty validations and ten saved states a run,
    at least 100 and at most 5000 steps apart.
    """
    found: dict[tuple[str | int, ...], Any] = {}
    total = options.train.total_iter if options.train else 0
    if options.num_gpu == "auto":
        found["num_gpu",] = world_size if device.type == "cuda" else 0
    if options.manual_seed is None:
        found["manual_seed",] = 0
    data = options.datasets["train"]
    if data.lq_size is None:
        found["datasets", "train", "lq_size"] = (data.gt_size or 64 * options.scale) // options.scale
    if data.batch_size_per_gpu in (None, "auto"):
        found["datasets", "train", "batch_size_per_gpu"] = 16
    if data.num_worker_per_gpu in (None, "auto"):
        cores = max(1, (os.cpu_count() or 1) // world_size)
        workers = min(8, max(1, cores - 1)) if device.type != "cpu" else max(1, cores // 2)
        found["datasets", "train", "num_worker_per_gpu"] = workers
    if options.val.val_freq in (None, "auto"):
        found["val", "val_freq"] = min(max(total // 20, 100), 5000)
    if options.logger.save_checkpoint_freq == "auto":
        found["logger", "save_checkpoint_freq"] = min(max(total // 10, 100), 5000)
    return found
