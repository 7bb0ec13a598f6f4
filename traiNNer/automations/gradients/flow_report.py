"""The record that the stabilizer keeps of one network's gradients, and what can be said from it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from statistics import fmean, median, pstdev
from typing import Literal, TypeAlias

from traiNNer.automations.gradients.gradient_norms import CALIBRATION, FLOOR
from traiNNer.automations.gradients.norm_patterns import NormPattern
from traiNNer.control import Plain

NORMS = 1000
"""Steps that are remembered."""

_RECENT = 100  # steps that say what is ordinary
_VARIANCES = 200  # windows
_THRESHOLDS = 100
_HEALTHY_UPDATE = (1e-5, 1e-2)  # |dw| / |w|
_ENOUGH = 100  # steps before a share of them says anything
_OVER = 0.95  # stability from which an episode is over; one that hovers at a limit is told once

Status: TypeAlias = Literal["healthy", "unstable", "critical", "vanishing_risk"]


class Mark(IntEnum):
    """What a step's gradient was."""

    FINE = 0
    CLIPPED = 1
    EXPLODING = 2
    VANISHING = 3
    NOT_FINITE = 4


@dataclass
class FlowHistory(Plain):
    """History of the gradient flow of one network."""

    logs: list[float] = field(default_factory=list)
    """Logarithms of the finite norms of the latest steps."""
    marks: list[int] = field(default_factory=list)
    """Marks of the latest steps, see `Mark`."""
    variances: list[float] = field(default_factory=list)
    """Variances of the log-norm inside each of the latest windows."""
    thresholds: list[float] = field(default_factory=list)
    """Every other threshold that was in force."""
    explosions: int = 0
    """Since the start of the run."""
    vanished: int = 0
    median: float = 0.0
    """Median of the remembered norms, as of the last window."""
    ailing: bool = False
    """In an episode of vanishing or unstable gradients that has been told."""

    def add(self, norm: float, mark: Mark) -> None:
        """Note a step."""
        if math.isfinite(norm) and norm > 0:
            self.logs.append(math.log(norm))
        self.marks.append(int(mark))
        del self.logs[:-NORMS], self.marks[:-NORMS]
        self.explosions += mark == Mark.EXPLODING
        self.vanished += mark == Mark.VANISHING

    def end_window(self, norms: Sequence[float]) -> None:
        """Bring up to date what is computed once a window."""
        logs = [math.log(norm) for norm in norms if math.isfinite(norm) and norm > 0]
        if logs:
            self.variances = [*self.variances, pstdev(logs) ** 2][-_VARIANCES:]
            self.median = math.exp(median(self.logs))

    @property
    def usual(self) -> float:
        """exp(mu + 3 sigma) of the latest norms, up to which one is ordinary; infinite before there are enough."""
        logs = self.logs[-_RECENT:]
        if len(logs) < CALIBRATION:
            return math.inf
        return math.exp(fmean(logs) + 3 * max(FLOOR, pstdev(logs)))

    def note_threshold(self, threshold: float) -> None:
        """Remember a threshold if it is a new one."""
        if not self.thresholds or self.thresholds[-1] != threshold:
            self.thresholds = [*self.thresholds, threshold][-_THRESHOLDS:]

    @property
    def stability(self) -> float:
        """Share of the remembered steps that were finite, not exploding and not vanishing."""
        count = Counter(self.marks)  # at every window: comparing mark by mark takes longer
        return sum(count[mark] for mark in Mark if mark <= Mark.CLIPPED) / max(1, len(self.marks))

    def new_trouble(self) -> str:
        """What an episode that begins with the last window is called, in a sentence's words; else nothing."""
        if self.ailing:
            self.ailing = self.stability < _OVER
            return ""
        status = _status(self, Counter(self.marks)) if len(self.marks) >= _ENOUGH else "healthy"
        self.ailing = status != "healthy"
        if not self.ailing:
            return ""
        kind = "vanishing" if status == "vanishing_risk" else "unstable"
        return f"{kind} ({self.stability:.0%} of the last {len(self.marks):,} steps sound)"

    def pattern(self) -> NormPattern | None:
        """What another run may start from; None unless this one is calm."""
        count = Counter(self.marks)
        stable = count[Mark.FINE] + count[Mark.CLIPPED]
        if stable < 500 or self.stability <= 0.8 or count[Mark.EXPLODING] >= 10 or not self.thresholds:
            return None
        logs = sorted(self.logs)
        at = {
            share: math.exp(logs[min(len(logs) - 1, int(share * len(logs)))]) for share in (0.5, 0.95, 0.99)
        }
        return NormPattern(at[0.5], at[0.95], at[0.99], fmean(logs), pstdev(logs), self.thresholds[-1])


@dataclass(frozen=True)
class FlowReport(Plain):
    """How the gradients of a network flow; norms and shares over at most the last 1000 steps."""

    status: Status
    stability_score: float
    """Above 0.8 stable, below 0.5 unstable."""
    flow_efficiency: float
    """1 - share of clipped steps."""
    steps: int
    explosions: int
    """Since the start of the run, like `vanished`."""
    vanished: int
    not_finite: int
    norm_mean: float
    norm_std: float
    norm_min: float
    norm_max: float
    spread: float
    """Median deviation of the log-norm inside a window."""
    interventions: int
    thresholds: list[float]
    """The latest, oldest first; so are the loss scales."""
    loss_scales: list[float]
    update_ratio: float | None
    learning_rate: Literal["keep", "lower", "raise"]
    """What the numbers recommend."""


def report_on(
    history: FlowHistory, *, update_ratio: float | None, interventions: int, loss_scales: Sequence[float]
) -> FlowReport:
    """Everything that is said about one network."""
    count, steps = Counter(history.marks), len(history.marks)
    norms = [math.exp(value) for value in history.logs] or [0.0]
    clipped = count[Mark.CLIPPED] + count[Mark.EXPLODING]
    status = _status(history, count)
    return FlowReport(
        status=status,
        stability_score=history.stability,
        flow_efficiency=1 - clipped / max(1, steps),
        steps=steps,
        explosions=history.explosions,
        vanished=history.vanished,
        not_finite=count[Mark.NOT_FINITE],
        norm_mean=fmean(norms),
        norm_std=pstdev(norms),
        norm_min=min(norms),
        norm_max=max(norms),
        spread=math.sqrt(median(history.variances)) if history.variances else 0.0,
        interventions=interventions,
        thresholds=list(history.thresholds),
        loss_scales=list(loss_scales),
        update_ratio=update_ratio,
        learning_rate=_recommendation(status, update_ratio),
    )


def _status(history: FlowHistory, count: Counter[int]) -> Status:
    if not history.marks:
        return "healthy"
    if count[Mark.VANISHING] > 0.1 * len(history.marks):
        return "vanishing_risk"
    stability = history.stability
    if stability < 0.5:
        return "critical"
    return "healthy" if stability > 0.8 else "unstable"


def _recommendation(status: str, update_ratio: float | None) -> Literal["keep", "lower", "raise"]:
    low, high = _HEALTHY_UPDATE
    if status in ("unstable", "critical") or (update_ratio is not None and update_ratio > high):
        return "lower"
    return "raise" if update_ratio is not None and update_ratio < low else "keep"
