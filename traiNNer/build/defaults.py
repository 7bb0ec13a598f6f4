"""Values for options that are left to the program (`auto`, or not given)."""

from __future__ import annotations

import multiprocessing
from typing import Any

import torch

from traiNNer.options import Options
from traiNNer.runtime.cpus import usable_cpus

_MOST_SPAWNED = 4  # workers; each imports torch anew, 450 MiB where a forked one takes 131


def derive(options: Options, device: torch.device, world_size: int) -> dict[str, Any]:
    """Every value that the options leave open, by its dotted path; the batch is for `build.auto_batch`.

    The seed is 0, so that two runs of one file are one run. Workers: half of a process's share of the processors
    where the CPU computes, all but one (at most 8) where a GPU does; at most 4 where workers are not forked.
    Twenty validations and ten saved states a run, at least 100 and at most 5000 steps apart.
    """
    train, data = options.train, options.datasets["train"]
    assert train is not None
    total = train.total_iter
    cores = max(1, usable_cpus() // world_size)
    workers = max(1, cores // 2) if device.type == "cpu" else min(8, max(1, cores - 1))
    if multiprocessing.get_start_method() != "fork":  # Windows, macOS, Python 3.14
        workers = min(_MOST_SPAWNED, workers)
    rules: list[tuple[str, Any, Any]] = [
        ("num_gpu", options.num_gpu, world_size if device.type == "cuda" else 0),
        ("manual_seed", options.manual_seed, 0),
        (
            "datasets.train.num_worker_per_gpu",
            data.num_worker_per_gpu,
            workers,
        ),
        ("val.val_freq", options.val.val_freq, min(max(total // 20, 100), 5000)),
        (
            "logger.save_checkpoint_freq",
            options.logger.save_checkpoint_freq,
            min(max(total // 10, 100), 5000),
        ),
    ]
    return {path: value for path, written, value in rules if written == "auto"}
