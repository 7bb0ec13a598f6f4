"""Values for options that are left to the program (`auto`, or not given)."""

from __future__ import annotations

import os
from typing import Any

import torch

from traiNNer.options import Options


def derive(options: Options, device: torch.device, world_size: int) -> dict[str, Any]:
    """Every value that the options leave open, by its dotted path; the batch is for `build.auto_batch`.

    The seed is 0, so that two runs of one file are one run. Workers: half the cores of a process's share where
    the CPU computes, all but one (at most 8) where a GPU does. Twenty validations and ten saved states a run,
    at least 100 and at most 5000 steps apart.
    """
    train, data = options.train, options.datasets["train"]
    assert train is not None
    total = train.total_iter
    cores = max(1, (os.cpu_count() or 1) // world_size)
    rules: list[tuple[str, Any, Any]] = [
        ("num_gpu", options.num_gpu, world_size if device.type == "cuda" else 0),
        ("manual_seed", options.manual_seed, 0),
        (
            "datasets.train.num_worker_per_gpu",
            data.num_worker_per_gpu,
            max(1, cores // 2) if device.type == "cpu" else min(8, max(1, cores - 1)),
        ),
        ("val.val_freq", options.val.val_freq, min(max(total // 20, 100), 5000)),
        (
            "logger.save_checkpoint_freq",
            options.logger.save_checkpoint_freq,
            min(max(total // 10, 100), 5000),
        ),
    ]
    return {path: value for path, written, value in rules if written == "auto"}
