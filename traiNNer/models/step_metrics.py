"""What the steps of a window measured: a table on the device that comes to the host in one copy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


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
    """Of fp16; 1 in other precisions."""
    discriminator: dict[str, list[float]]
    """Its losses and mean logits by name; empty where it did not train."""


class StepMetricsBuffer:
    """One row a step.

    Every loss, their total, every gradient at the output, the numbers of the discriminator, the generator's norm,
    applied, ratio and scale, the discriminator's norm and applied.

    Args:
        labels: Of the losses.
        critic: Names of the discriminator's numbers; none without one.
        window: Steps between two readings.
        dtype: Of the rows.
        device: Where they are written.
    """

    def __init__(
        self,
        labels: Sequence[str],
        critic: Sequence[str],
        window: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._labels, self._critic = list(labels), list(critic)
        at_output = [_at_output(label) for label in labels]
        self._columns = [
            *labels, "total", *at_output, *critic, "norm_g", "applied_g", "update_ratio", "amp_scale",
            *(("norm_d", "applied_d") if critic else ()),
        ]  # fmt: skip
        self._table = torch.zeros(window, len(self._columns), dtype=dtype, device=device)
        self._rows = 0

    def write(self, row: Tensor) -> None:
        """The numbers of one step, (columns,)."""
        self._table[self._rows].copy_(row)
        self._rows += 1

    def read(self) -> StepMetrics:
        """The steps since the last reading. The one host read of a window."""
        rows = self._table[: self._rows].tolist()  # the host read
        self._rows = 0
        columns = {name: [row[i] for row in rows] for i, name in enumerate(self._columns)}
        at_output = {label: _last(columns[_at_output(label)]) for label in self._labels}
        played = bool(self._critic) and not _never(columns["applied_d"])
        nets = ("g", "d") if played else ("g",)
        return StepMetrics(
            losses={
                label: columns[label]
                for label in self._labels
                if not _is_off(columns[label], columns["total"])
            },
            total=columns["total"],
            grad_norm={net: columns[f"norm_{net}"] for net in nets},
            applied={net: [value > 0 for value in columns[f"applied_{net}"]] for net in nets},
            gradient_at_output={label: value for label, value in at_output.items() if value is not None},
            update_ratio=_last(columns["update_ratio"]),
            amp_scale=_last(columns["amp_scale"]) or 1.0,
            discriminator={name: columns[name] for name in self._critic if not _never(columns[name])},
        )

    def state_dict(self) -> dict[str, Any]:
        """The open window."""
        return {"columns": self._columns, "rows": self._table[: self._rows].clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it; with other losses than before the window begins afresh."""
        if state["columns"] == self._columns:
            self._rows = len(state["rows"])
            self._table[: self._rows].copy_(state["rows"])


def _at_output(label: str) -> str:
    return f"at_output {label}"


def _is_off(values: Sequence[float], totals: Sequence[float]) -> bool:
    """Losses that are off are NaN while the total is a number; one that fails makes the total NaN too."""
    return all(math.isnan(value) and not math.isnan(t) for value, t in zip(values, totals, strict=True))


def _never(values: Sequence[float]) -> bool:
    return all(math.isnan(value) for value in values)


def _last(values: Sequence[float]) -> float | None:
    """The last measurement of a window, if there was one."""
    return next((value for value in reversed(values) if not math.isnan(value)), None)
