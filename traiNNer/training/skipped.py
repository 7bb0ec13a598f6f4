"""The steps that a run skipped, of gradients that were not finite or far too long, and whether others are left."""

from __future__ import annotations

import math
from dataclasses import dataclass

from traiNNer.control import Plain
from traiNNer.events import WindowEvent
from traiNNer.models.step_metrics import StepMetrics

_NEARLY_ALL = 0.9
"""Share of skipped steps from which a run has learned nothing worth calling it completed."""


@dataclass
class Skipped(Plain):
    """Counts of a run's steps."""

    steps: int = 0
    skipped: int = 0
    first: str = ""
    """The first skipped step in words: number, losses, learning rate."""

    def add(self, window: WindowEvent) -> None:
        """Count the steps of a window."""
        applied = window.applied["g"]
        self.steps += len(applied)
        self.skipped += applied.count(False)
        if self.first or all(applied):
            return
        row = applied.index(False)
        losses = {label: values[row] for label, values in window.losses.items()}
        said = [f"{label} {value:g}" for label, value in losses.items() if not math.isfinite(value)]
        norm = window.grad_norm["g"][row]
        if math.isfinite(norm):
            cause = f"a gradient of length {norm:g} was out of the ordinary"
        elif said and not math.isfinite(window.total[row]):  # a loss that is off is NaN, too
            cause = f"loss {', '.join(said)} was not finite"
        else:
            cause = "the gradient was not finite"
        step, rate = window.step - len(applied) + row + 1, window.lr_at(row)["g"]
        self.first = f"step {step:,} ({cause}, learning rate {rate:g})"

    def fault(self) -> str:
        """Why the run has learned nothing, or nothing of that kind."""
        if not self.steps or self.skipped < _NEARLY_ALL * self.steps:
            return ""
        return (
            f"{self.skipped:,} of {self.steps:,} steps were skipped, first {self.first}: nothing was learned; "
            "lower train.optim_g.lr or its loss_weight, or look for what is not finite in the data by --check"
        )


def not_finite(numbers: StepMetrics, *, fp16: bool) -> list[str]:
    """What was not finite in a window, by name; gradients of fp16 may be, until their scale is found."""
    losses = {**numbers.losses, "total": numbers.total}
    found = [
        f"the loss {label} is {value:g}"
        for label, values in losses.items()
        for value in values
        if not math.isfinite(value) and not (math.isnan(value) and math.isfinite(numbers.total[0]))
    ]
    if not found and not fp16:
        found = [
            f"the gradient norm of {net} is {n:g}"
            for net, ns in numbers.grad_norm.items()
            for n in ns
            if not math.isfinite(n)
        ]
    return found
