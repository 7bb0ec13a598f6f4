"""Trials: the same samples under several settings, from the same weights, scored on the same others.

Data are a function of position and a snapshot restores everything, so a run can try how it would go on and come
back: after a trial it is as before, to the bit. Each arm is annealed at its end, since a rate that is still high
hides in noise what it has learned (and short runs would favour low rates).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from itertools import islice, takewhile
from typing import Any, NamedTuple

import torch
from torch import Tensor

from traiNNer.control import Arm, Controls, RunTrial
from traiNNer.data.loader import Batch, TrainLoader
from traiNNer.losses import LossInputs
from traiNNer.models.out_of_memory import unless_out_of_memory
from traiNNer.models.sr_model import BatchTooLarge, SRModel
from traiNNer.runtime.distributed import DistributedContext

HELD_OUT = 2**40
"""Position of the samples that score the arms: beyond the end of any run."""

_HELD_OUT_BATCHES = 16
_WARMUP, _ANNEALING = 0.2, 0.4  # shares of an arm's steps


class Moment(NamedTuple):
    """Where the run stands when a trial begins."""

    step: int
    position: int
    time: float
    """In steps of the configured batch, past the warm-up; what the schedule goes by."""


class TrialRunner:
    """Runs the arms of trials.

    Args:
        model: Trained by every arm, and put back after each.
        loader: Asked from the position of the trial on, once for each arm.
        processes: All of them run the same arms.
        anchor_loss: Label of the loss that scores.
        window: Steps between two readings of the step metrics.
    """

    def __init__(
        self,
        model: SRModel,
        loader: TrainLoader,
        processes: DistributedContext,
        anchor_loss: str,
        window: int,
    ) -> None:
        self._model, self._loader, self._processes = model, loader, processes
        self._anchor, self._window = anchor_loss, window
        self._ends: dict[str, Any] = {}

    def run(
        self,
        trial: RunTrial,
        controls: Controls,
        moment: Moment,
        interrupted: Callable[[], bool],
    ) -> list[list[float]] | None:
        """The scores of every arm, or None where a signal came in between. Only the batches are not as before.

        Returns:
            Per arm, the logarithm of the anchor loss on each held-out batch; empty where the arm did not fit into
            memory or its loss is not finite. Of an arm whose rate grows, that of each step, up to the first one
            that is not finite.
        """
        held_out = list(islice(self._batches(HELD_OUT, controls), _HELD_OUT_BATCHES))
        before = _copied(self._model.state_dict())
        self._ends = {}
        scores: list[list[float]] = []
        for arm in trial.arms:
            try:
                if arm.restored:
                    self._model.networks.roll_back()
                course = self._train(arm, trial.steps, controls, moment, interrupted)
                if course is None:
                    return None
                scores.append(course if arm.growth > 1 else self._score(held_out, controls))
                if trial.kept:
                    self._ends[arm.name] = _copied(self._model.state_dict(), torch.device("cpu"))
            finally:
                self._put_back(before)
        return scores

    def adopt(self, arm: str) -> None:
        """Go on from where an arm of the latest trial ended, with the steps of the window that is open."""
        self._put_back({**self._ends[arm], "numbers": self._model.state_dict()["numbers"]})

    def forget(self) -> None:
        """Free what the arms became."""
        self._ends = {}

    def _put_back(self, state: dict[str, Any]) -> None:
        """The state stays as it is: an optimizer goes on with the tensors that it is given."""
        self._model.load_state_dict(_copied(state))

    def _batches(self, position: int, controls: Controls) -> Iterator[Batch]:
        return self._loader.batches(position, controls.batch, controls.lq_size)

    def _train(
        self,
        arm: Arm,
        steps: int,
        controls: Controls,
        moment: Moment,
        interrupted: Callable[[], bool],
    ) -> list[float] | None:
        """Train as the arm says; the logarithms of its losses, or None where a signal came."""
        trained, course = deepcopy(controls), list[float]()
        begun = self._model.generator.has_stepped
        scale = arm.lr_factor * controls.lr_batch_factor * (controls.lr_search or 1.0)
        for index, batch in enumerate(islice(self._batches(moment.position, controls), steps)):
            if index % self._window == 0:
                course += self._losses()
                if self._processes.any(interrupted()):
                    return None
                if arm.growth > 1 and len(course) < index:
                    return course  # it diverges: what comes is of no use
            shape = arm.growth**index if arm.growth > 1 else _shape(index, steps, warm=begun)
            self._model.networks.set_learning_rates(moment.time, scale * shape)
            while True:
                try:
                    self._model.optimize_parameters(batch, moment.step + index, trained)
                    break
                except BatchTooLarge:
                    if trained.micro_batch == 1:
                        return []  # it did not fit, which is no course; of other arms the scores will say so
                    trained.micro_batch = max(1, min(trained.micro_batch, trained.batch) // 2)
        return course + self._losses()

    def _losses(self) -> list[float]:
        """Logarithms of the anchor loss since the last reading, up to the first that is not finite."""
        losses = self._model.read_metrics().losses.get(self._anchor, [])
        return [math.log(loss) for loss in takewhile(lambda loss: 0 < loss < math.inf, losses)]

    @torch.no_grad()
    def _score(self, batches: Sequence[Batch], controls: Controls) -> list[float]:
        net = self._model.generator.net
        training = net.training
        net.eval()
        try:
            means = [unless_out_of_memory(lambda b=batch: self._loss(b, controls)) for batch in batches]
        finally:
            net.train(training)
        if self._processes.any(any(mean is None for mean in means)):
            return []
        losses = torch.stack([mean for mean in means if mean is not None])
        self._processes.average([losses])
        values: list[float] = losses.tolist()
        return [math.log(value) for value in values] if all(0 < v < math.inf for v in values) else []

    def _loss(self, batch: Batch, controls: Controls) -> Tensor:
        """Mean of the anchor loss over a batch, in micro-batches."""
        model, size = self._model, controls.micro_batch
        loss, precision = model.losses[self._anchor].module, model.precision
        total = torch.zeros((), dtype=precision.dtype, device=precision.device)
        for lq, gt in zip(batch.lq.split(size), batch.gt.split(size), strict=True):
            images, target = precision.images(lq), precision.images(gt)
            with precision.autocast():
                output = model.generator.net(images)
            lesson = model.teacher(images) if model.teacher else None
            inputs = LossInputs(output.to(precision.dtype), target, images, teacher_output=lesson)
            total += loss(inputs) * (len(lq) / len(batch.lq))
        return total


def _shape(index: int, steps: int, *, warm: bool) -> float:
    """Factor on the rate at a step of an arm: a warm-up if its optimizer is new, then constant, then to zero."""
    rising = 1.0 if warm else min(1.0, (index + 1) / max(1.0, _WARMUP * steps))
    falling = min(1.0, (steps - index) / max(1.0, _ANNEALING * steps))
    return min(rising, falling)


def _copied(state: Any, device: torch.device | None = None) -> Any:
    """A state with tensors of its own, on `device` if given; the snapshot, which no trial changes, is shared."""
    if isinstance(state, Tensor):
        return state.detach().to(device or state.device, copy=True)
    if isinstance(state, dict):
        return {key: value if key == "snapshot" else _copied(value, device) for key, value in state.items()}
    return state
