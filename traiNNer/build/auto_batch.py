"""`batch_size_per_gpu: auto`: the largest batch that fits, found by trying small ones.

Memory grows linearly with the batch, a + c * b. Two small batches give the line, and the batch that is chosen is
tried once before it is used.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from itertools import count
from typing import NamedTuple

import torch

from traiNNer.automations.batch.batch_size import SAFETY_MARGIN, TARGET_USAGE, DynamicBatchSizeOptimizer
from traiNNer.automations.batch.memory_plan import largest_fitting
from traiNNer.build.automations import chosen
from traiNNer.build.model import training
from traiNNer.build.run import build_parts
from traiNNer.control import Controls
from traiNNer.data.loader import Batch
from traiNNer.data.single_dataset import MeasuredDataset
from traiNNer.data.training_set import TrainingSet
from traiNNer.models.sr_model import BatchTooLarge
from traiNNer.options import Options
from traiNNer.registry import ConfigError
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.runtime.memory import memory_source

BATCH = "datasets.train.batch_size_per_gpu"
_MOST_ON_CPU, _MOST = 16, 64  # memory alone would give small networks thousands


class Choice(NamedTuple):
    """A batch, and the shares of the memory that were measured on the way to it."""

    batch: int
    peaks: dict[int, float]
    """Per batch; those that did not fit are missing."""


def choose_batch(
    options: Options,
    device: torch.device,
    processes: DistributedContext,
    train_set: TrainingSet,
    val_sets: Mapping[str, MeasuredDataset],
) -> tuple[int, str]:
    """Samples per forward pass for the networks, losses and patch of the options, and a line for the log.

    The same on all processes.

    Raises:
        ConfigError: If not even one sample fits.
    """
    data, spec = options.datasets["train"], chosen(options).get(DynamicBatchSizeOptimizer.name, {})
    allowed = spec.get("max_batch_size")
    most = (
        max(1, allowed // data.accum_iter) if allowed else (_MOST_ON_CPU if device.type == "cpu" else _MOST)
    )
    limit = spec.get("target_vram_usage", TARGET_USAGE) - spec.get("safety_margin", SAFETY_MARGIN)
    trial = _Trial(options, device, train_set, val_sets)
    choice = fit(trial.peak, limit=limit, most=most)
    trial.end()
    batch = int(-processes.maximum([-choice.batch])[0])
    where = "" if processes.world_size == 1 else " on every process"
    measured = ", ".join(f"{size} took {peak:.1%}" for size, peak in sorted(choice.peaks.items()))
    return batch, (
        f"{batch}, the most that keeps below {limit:.0%} of the memory{where}, up to {most} "
        f"(with patches of {data.lq_size} pixels {measured})"
    )


def fit(peak_of: Callable[[int], float | None], *, limit: float, most: int) -> Choice:
    """The largest batch up to `most` that keeps the peak at or below `limit`.

    Batches above 4 are multiples of 4, so that they can be split.

    Args:
        peak_of: Share of the memory that a step with so many samples takes; None where it does not fit.
            One sample must fit.
        limit: Share of the memory, 0 to 1.
        most: Samples.
    """
    peaks: dict[int, float] = {}

    def fits(size: int) -> bool:
        nonlocal most
        peak = peak_of(size)
        if peak is None:
            most = min(most, size - 1)
        else:
            peaks[size] = peak
        return peak is not None

    for size in (2, 4, 1) if most >= 4 else (1, 2):
        if len(peaks) < 2:
            fits(size)
    if len(peaks) == 1:
        return Choice(next(iter(peaks)), peaks)
    first, second = sorted(peaks.items())
    batch = _splittable(largest_fitting(first, second, limit, most))
    while batch not in (first[0], second[0]) and not fits(batch):
        batch = max(second[0], _splittable(batch // 2))
    if batch <= second[0] or peaks[batch] <= limit:
        return Choice(batch, peaks)
    # it took more than the line said, and is a better point of it
    return Choice(_splittable(largest_fitting(first, (batch, peaks[batch]), limit, batch)), peaks)


def _splittable(batch: int) -> int:
    return batch if batch <= 4 else batch - batch % 4


class _Trial:
    """The run's own networks and losses, on noise, to see what memory they take.

    Raises:
        ConfigError: If not even one sample fits.
    """

    def __init__(
        self,
        options: Options,
        device: torch.device,
        train_set: TrainingSet,
        val_sets: Mapping[str, MeasuredDataset],
    ) -> None:
        # compiling for every size would take minutes, and compiled networks need less memory, not more
        eager = options.with_derived({BATCH: 1, "use_compile": False})
        parts = build_parts(eager, DistributedContext(), device, train_set, val_sets)
        self._model, self._lq_size, self._scale = parts.model, parts.controls.lq_size, options.scale
        adversary, every = parts.model.adversary, training(options).net_d_reg_every
        # a step that computes every loss and moves both networks, which makes the optimizers' states
        self._step = next(
            s for s in count(parts.settled_from) if not adversary or adversary.updates_generator(s)
        )
        self._memory = memory_source(device)
        if self.peak(1) is None:  # it makes the optimizer's state too
            raise ConfigError(
                "out of memory with a single sample; lower datasets.train.lq_size, the network's size "
                "(network_g) or use_amp: true with amp_bf16: true"
            )
        # and one that computes the penalties of the discriminator too, which take most
        self._step = -(-parts.settled_from // every) * every

    def peak(self, size: int) -> float | None:
        """Share of the memory that a step with `size` samples takes; None where it does not fit."""
        side = self._lq_size
        lq, gt = (torch.randint(256, (size, s, s, 3), dtype=torch.uint8) for s in (side, side * self._scale))
        self._memory.restart()
        try:
            self._model.optimize_parameters(Batch(lq, gt), self._step, Controls(size, size, side))
        except BatchTooLarge:
            return None
        self._model.read_metrics()
        return self._memory.peak()

    def end(self) -> None:
        """Give the memory back."""
        del self._model
        gc.collect()
        self._memory.restart()
