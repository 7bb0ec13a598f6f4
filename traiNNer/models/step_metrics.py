"""What the steps of a window measured: a table on the device that comes to the host in one copy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from traiNNer.models.precision import Precision


class StepMetrics(NamedTuple):
    """What a window of steps measured, on the host. Every list is in the order of the steps."""

    losses: dict[str, list[float]]
    total: list[float]
    grad_norm: dict[str, list[float]]
    applied: dict[str, list[bool]]
    gradient_at_output: dict[str, float]
    """Norm of each unweighted loss's gradient at the network's output, where the window measured it."""
    update_ratio: float | None
    """|dw| / |w| of the generator, where the window measured it."""
    amp_scale: float
    """The scale of fp16; 1 in other precisions."""
    discriminator: dict[str, list[float]]
    """Its losses and mean logits by name; empty where it did not train."""


class StepMetricsBuffer:
    """One row of named scalars a step.

    Args:
        labels: Of the losses.
        discriminator: Names of what the discriminator measures; none without one.
        window: Steps between two readings.
        precision: Device and type of the rows.
    """

    def __init__(
        self, labels: Sequence[str], discriminator: Sequence[str], window: int, precision: Precision
    ) -> None:
        self._labels, self._discriminator = list(labels), list(discriminator)
        self._columns = [
            *map(loss_key, labels), "total", *map(at_output_key, labels), *discriminator,
            "norm_g", "applied_g", "update_ratio", "amp_scale",
            *(("norm_d", "applied_d") if discriminator else ()),
        ]  # fmt: skip
        kind = {"dtype": precision.dtype, "device": precision.device}
        self._table = torch.zeros(window, len(self._columns), **kind)
        self._unmeasured = torch.full((), math.nan, **kind)
        self._rows = 0

    def write(self, metrics: Mapping[str, Tensor]) -> None:
        """The scalars of one step; what is missing was not measured, and read as NaN."""
        row = torch.stack([metrics.get(name, self._unmeasured) for name in self._columns])
        self._table[self._rows].copy_(row)
        self._rows += 1

    def read(self) -> StepMetrics:
        """The steps since the last reading. The one host read of a window."""
        rows = self._table[: self._rows].tolist()  # the host read
        self._rows = 0
        columns = {name: [row[i] for row in rows] for i, name in enumerate(self._columns)}
        losses, total = {label: columns[loss_key(label)] for label in self._labels}, columns["total"]
        at_output = {label: _last(columns[at_output_key(label)]) for label in self._labels}
        nets = ("g", "d") if self._discriminator and not _never(columns["applied_d"]) else ("g",)
        return StepMetrics(
            losses={label: values for label, values in losses.items() if not _is_off(values, total)},
            total=total,
            grad_norm={net: columns[f"norm_{net}"] for net in nets},
            applied={net: [value > 0 for value in columns[f"applied_{net}"]] for net in nets},
            gradient_at_output={label: value for label, value in at_output.items() if value is not None},
            update_ratio=_last(columns["update_ratio"]),
            amp_scale=_last(columns["amp_scale"]) or 1.0,
            discriminator={name: columns[name] for name in self._discriminator if not _never(columns[name])},
        )

    def state_dict(self) -> dict[str, Any]:
        """The open window."""
        return {"columns": self._columns, "rows": self._table[: self._rows].clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it; with other losses than before the window begins empty."""
        older = [*self._labels, *self._columns[len(self._labels) :]]  # of states without a prefix of losses
        if state["columns"] in (self._columns, older):
            self._rows = len(state["rows"])
            self._table[: self._rows].copy_(state["rows"])


def loss_key(label: str) -> str:
    """The name of a loss among the metrics of a step, where labels are the user's."""
    return f"loss {label}"


def at_output_key(label: str) -> str:
    """The name of the norm of its gradient at the network's output."""
    return f"at_output {label}"


def _is_off(values: Sequence[float], totals: Sequence[float]) -> bool:
    """Losses that are off are NaN while the total is a number; one that fails makes the total NaN too."""
    return all(math.isnan(value) and not math.isnan(t) for value, t in zip(values, totals, strict=True))


def _never(values: Sequence[float]) -> bool:
    return all(math.isnan(value) for value in values)


def _last(values: Sequence[float]) -> float | None:
    """The last measurement of a window, if there was one."""
    return next((value for value in reversed(values) if not math.isnan(value)), None)
