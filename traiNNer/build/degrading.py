"""What making samples costs, measured before a run by its first samples, and the workers that it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from traiNNer.automations.data_cost import DataCost
from traiNNer.build.degraded_samples import Sample, cost_ms, readable_samples, summary
from traiNNer.build.worker_count import WORKERS, degrading_workers, processors
from traiNNer.data.degraded_dataset import DegradedImageDataset
from traiNNer.data.training_set import TrainingSet
from traiNNer.options import Options
from traiNNer.runtime.distributed import DistributedContext


class Degrading(NamedTuple):
    """The chain of a run as its first samples show it."""

    samples: list[Sample]
    """Of the main process."""
    cost: DataCost

    def lines(self) -> Iterator[str]:
        """For the log."""
        yield from summary(self.samples) if self.samples else ()
        yield self.cost.sentence()


def look_at_degrading(
    options: Options,
    images: TrainingSet,
    device: torch.device,
    processes: DistributedContext,
    *,
    count: int,
    choose_workers: bool,
    clock: Callable[[], float] = time.thread_time,
) -> Degrading | None:
    """The first samples of a training set that degrades, and their cost; None for another set.

    Args:
        options: Of the run.
        images: The training set.
        device: What the network is trained on.
        processes: Of the run; the first one measures for all.
        count: Samples.
        choose_workers: The number of workers was left open; `Degrading.cost` has the one to take.
        clock: Seconds of CPU time.
    """
    if not isinstance(images, DegradedImageDataset):
        return None
    data = options.datasets["train"]
    size = int(data.lq_size or 0)
    samples = (
        readable_samples(images, int(options.manual_seed), size, count, clock=clock)
        if processes.is_main
        else []
    )
    (ms,) = processes.maximum([cost_ms(samples) if samples else 0.0])
    workers = int(data.num_worker_per_gpu)
    if choose_workers:
        workers = degrading_workers(device, processes.world_size, ms)
    return Degrading(samples, DataCost(max(ms, 1e-3), workers, processors(processes.world_size)))


def with_workers(options: Options, degrading: Degrading | None) -> Options:
    """The options with the number of workers that a chain takes."""
    if degrading is None or options.datasets["train"].num_worker_per_gpu == degrading.cost.workers:
        return options
    return options.with_derived({WORKERS: degrading.cost.workers})
