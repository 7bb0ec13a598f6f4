"""The steps between two lines of the log, gathered once for every record that is made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import NamedTuple

from traiNNer.control import Controls, Plain
from traiNNer.events import WindowEvent


class Speed(NamedTuple):
    """How fast the steps of an interval went."""

    it_per_s: float
    """Steps per second; 0 when nothing was timed."""
    samples_per_s: float
    """Samples of one process per second."""
    data_wait_share: float
    """Share of the time spent waiting for data, 0 to 1."""


@dataclass
class Interval(Plain):
    """Steps since the last line."""

    steps: int = 0
    samples: int = 0
    """Number of samples of one process."""
    totals: list[float] = field(default_factory=list)
    losses: dict[str, list[float]] = field(default_factory=dict)
    """Values of each loss, by label, at the steps in which it was on."""
    norms: dict[str, list[float]] = field(default_factory=dict)
    clipped: dict[str, int] = field(default_factory=dict)
    """Steps whose gradient was clipped or skipped, per network that is clipped."""
    skipped: dict[str, int] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    update_ratio: float | None = None
    seconds: float = 0.0
    data_wait: float = 0.0
    """Seconds spent waiting for data."""
    discriminator: dict[str, list[float]] = field(default_factory=dict)
    unapplied: int = 0
    """Steps that were skipped for any network."""

    def add(self, event: WindowEvent, row: int, controls: Controls) -> None:
        """Take in one step of a window; `controls` as they were when it was computed."""
        share, total = 1 / len(event.total), event.total[row]
        self.steps += 1
        self.samples += event.batch
        self.seconds += event.seconds * share
        self.data_wait += event.seconds * event.data_wait * share
        self.totals.append(total)
        for label, values in event.losses.items():
            kept = self.losses.setdefault(label, [])
            if not math.isnan(values[row]) or math.isnan(total):  # otherwise it was off
                kept.append(values[row])
        for of, steps in ((self.norms, event.grad_norm), (self.discriminator, event.discriminator)):
            for name, values in steps.items():
                of.setdefault(name, []).append(values[row])
        for net in event.grad_norm:
            self.skipped[net] = self.skipped.get(net, 0) + (not event.applied[net][row])
        self.unapplied += not all(applied[row] for applied in event.applied.values())
        for net in (net for net in controls.clip if net in event.grad_norm):  # not before it trains
            self.clipped[net] = self.clipped.get(net, 0) + is_clipped(event, net, row, controls)

    @property
    def speed(self) -> Speed:
        """Steps and samples a second, and share of time waiting for data (0 to 1), over all its steps."""
        if not self.seconds:
            return Speed(0.0, 0.0, 0.0)
        return Speed(self.steps / self.seconds, self.samples / self.seconds, self.data_wait / self.seconds)

    def mean_losses(self) -> dict[str, float]:
        """Mean of every loss while it was on, and of `total`; not finite where a value was not."""
        lists = {label: values for label, values in self.losses.items() if values} | {"total": self.totals}
        return {label: _sum(values) / len(values) for label, values in lists.items()}

    def mean_discriminator(self) -> dict[str, float]:
        """Means of the discriminator's measurements, by name; steps without one (NaN) do not count."""
        measured = {k: [x for x in values if not math.isnan(x)] for k, values in self.discriminator.items()}
        return {name: fmean(values) for name, values in measured.items() if values}


def is_clipped(event: WindowEvent, net: str, row: int, controls: Controls) -> bool:
    """Whether the gradient of a network was clipped or skipped in a step."""
    return not event.grad_norm[net][row] <= controls.clip[net].threshold


def with_pending(interval: Mapping[str, object], pending: Mapping[str, object]) -> dict[str, object]:
    """An open interval as a training state of before 2026-11-27 holds it, in two halves."""
    if "discriminator" in interval:
        return dict(interval)
    finite: Mapping[str, float] = pending["losses"]  # type: ignore[assignment]  # a stored state is plain values
    losses: Mapping[str, Sequence[float]] = interval["losses"]  # type: ignore[assignment]
    on = {
        label: [v for v in values if not math.isnan(v) or math.isnan(finite.get(label, 0.0))]
        for label, values in losses.items()
    }
    found = {"losses": on, "discriminator": pending["discriminator"], "unapplied": pending["skipped"]}
    return {**interval, **found}


def _sum(values: Sequence[float]) -> float:
    total = 0.0
    for value in values:  # one by one: sum() compensates, and recorded means would differ in the last bit
        total += value
    return total
