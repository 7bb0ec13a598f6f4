"""Values for options that are left to the program (`auto`, or not given)."""

from __future__ import annotations

from typing import Any

import torch

from traiNNer.build.worker_count import WORKERS, usual_workers
from traiNNer.options import Options


def derive(options: Options, device: torch.device, world_size: int) -> dict[str, Any]:
    """Every value that the options leave open, by its dotted path; the batch is for `build.auto_batch`.

    The seed is 0, so that two runs of one file are one run. Workers: see `worker_count`.
    Twenty validations and ten saved states a run, at least 100 and at most 5000 steps apart.
    """
    train, data = options.train, options.datasets["train"]
    assert train is not None
    total = train.total_iter
    rules: list[tuple[str, Any, Any]] = [
        ("num_gpu", options.num_gpu, world_size if device.type == "cuda" else 0),
        ("manual_seed", options.manual_seed, 0),
        (WORKERS, data.num_worker_per_gpu, usual_workers(device, world_size)),
        ("val.val_freq", options.val.val_freq, min(max(total // 20, 100), 5000)),
        (
            "logger.save_checkpoint_freq",
            options.logger.save_checkpoint_freq,
            min(max(total // 10, 100), 5000),
        ),
    ]
    return {path: value for path, written, value in rules if written == "auto"}
