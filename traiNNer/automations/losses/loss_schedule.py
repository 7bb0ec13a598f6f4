"""The planned course of a loss weight: a function of the step alone, so that nothing of it is ever saved."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from traiNNer.control import Plain


@dataclass(frozen=True)
class LossSchedule(Plain):
    """When a loss is on and how its weight changes; the options stand beside `loss_weight`."""

    start_iter: int = 0
    """First step of the loss."""
    target_iter: int | None = None
    """Step at which the weight arrives at `target_weight`; None: it stays at `loss_weight`."""
    target_weight: float | None = None
    """Weight from `target_iter` on."""
    disable_after: int | None = None
    """Last step of the loss."""
    schedule_type: Literal["linear", "cosine", "step"] = "linear"
    """Way of the weight from `start_iter` to `target_iter`; step: all at once at its end."""

    def __post_init__(self) -> None:
        if (self.target_iter is None) != (self.target_weight is None):
            raise ValueError("target_iter and target_weight belong together")
        if self.target_weight is not None and not math.isfinite(self.target_weight):
            raise ValueError(f"target_weight should be a finite number (got {self.target_weight})")
        if self.target_iter is not None and self.target_iter <= self.start_iter:
            raise ValueError(f"target_iter {self.target_iter} must lie after start_iter {self.start_iter}")
        if self.disable_after is not None and self.disable_after < self.start_iter:
            raise ValueError(f"disable_after {self.disable_after} lies before start_iter {self.start_iter}")

    def on(self, step: int) -> bool:
        """Whether the loss is computed at a step, counted from 0."""
        return self.start_iter <= step and (self.disable_after is None or step <= self.disable_after)

    def weight(self, step: int, loss_weight: float) -> float:
        """The weight at a step; 0 where the loss is off."""
        if not self.on(step):
            return 0.0
        if self.target_iter is None or self.target_weight is None:
            return loss_weight
        share = min(1.0, (step - self.start_iter) / (self.target_iter - self.start_iter))
        if self.schedule_type == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        elif self.schedule_type == "step":
            share = float(share >= 1)
        return loss_weight + share * (self.target_weight - loss_weight)

    @property
    def settled_from(self) -> int:
        """Step from which the loss is on and its weight does not change any more."""
        return self.target_iter if self.target_iter is not None else self.start_iter


def turns(schedules: Iterable[LossSchedule]) -> list[int]:
    """The steps at which any loss begins, ends or arrives at its last weight, in order; the first step too."""
    plans = list(schedules)
    ends = {plan.disable_after + 1 for plan in plans if plan.disable_after is not None}
    return sorted({0, *ends, *(step for plan in plans for step in (plan.start_iter, plan.settled_from))})
