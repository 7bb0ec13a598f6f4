"""What is usual for the gradient norm of one network, and the limits that follow from it.

Norms are roughly log-normal, so the statistics are those of the logarithm: mean mu and deviation sigma,
never taken below 0.1. Usual is up to mu + 3 sigma, impossible beyond mu + 6 sigma.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from traiNNer.automations.statistics import RunningMoments, robust_moments
from traiNNer.control import Clip, Plain

CALIBRATION = 20
"""Steps before the first limits."""

FLOOR = 0.1
"""Smallest deviation of log-norms that limits are computed with."""

_RECENT = 10  # steps over which a change of regime is looked for
_CLEARLY = 1.5  # deviations; by chance the median of so few steps is so far out once in 6000 times
_ROOM = 2.0  # deviations between growing norms and the threshold below which it is raised
_TYPICAL = 0.03  # norm; the middle of what networks of this kind show
_SHORT_MEMORY = 20  # values that statistics stand for after something else was changed


@dataclass
class Tally(Plain):
    """Steps since some moment."""

    steps: int = 0
    finite: int = 0
    total: float = 0.0
    """Sum of the finite norms."""
    clipped: int = 0

    def add(self, norm: float, threshold: float) -> None:
        """Count a step."""
        self.steps += 1
        self.clipped += not norm <= threshold
        if math.isfinite(norm):
            self.finite += 1
            self.total += norm

    @property
    def mean(self) -> float:
        """Mean of the finite norms; 0 where there is none."""
        return self.total / max(1, self.finite)

    @property
    def rate(self) -> float:
        """Share of the steps that were clipped or skipped, 0 to 1."""
        return self.clipped / max(1, self.steps)


@dataclass
class GradientNorms(Plain):
    """The statistics of one network."""

    early: list[float] = field(default_factory=list)
    """Norms until calibration."""
    moments: RunningMoments = field(default_factory=RunningMoments)
    """Running mean and variance of the logarithm of the norm."""
    recent: list[float] = field(default_factory=list)
    """The latest log-norms, twice as many as a change of regime is looked for in."""
    complex: bool | None = None
    """The class of the architecture, by its gradients; None before calibration."""

    def calibrate(self, norms: Sequence[float], memory: int) -> bool:
        """Take in positive finite norms until there are enough for a first estimate; whether this is it."""
        self.early += norms
        if len(self.early) < CALIBRATION:
            return False
        self._estimate([math.log(norm) for norm in self.early], memory)
        self.complex = _is_complex(self.early)
        self.early = []
        return True

    def follow(self, norms: Sequence[float], memory: int) -> bool:
        """Take in positive finite norms after calibration; whether they belong to a new regime.

        They do when more than half of the latest lie outside what is usual: then these are the new estimate.
        """
        logs = [math.log(norm) for norm in norms]
        reach = 3 * self.deviation
        low, high = self.moments.mean - reach, self.moments.mean + reach
        self.recent = (self.recent + logs)[-2 * _RECENT :]
        latest = self.recent[-_RECENT:]
        outside = max(sum(v > high for v in latest), sum(v < low for v in latest))
        if outside > _RECENT // 2:
            self._estimate(latest, memory)
            self.recent = []
            return True
        for value in logs:
            self.moments.add(value, memory=memory, floor=FLOOR)
        return False

    def rise(self, threshold: float) -> float | None:
        """What will be usual a window from now, where norms grow and would soon pass `threshold`; else None.

        They grow where the median of the latest lies clearly above the mean and above the median before it; single
        spikes do not move a median. Mean and deviation over many steps lag behind, so both begin afresh, the
        deviation about the line that the norms follow.
        """
        if len(self.recent) < 2 * _RECENT:
            return None
        before, now = median(self.recent[:_RECENT]), median(self.recent[_RECENT:])
        slope = (now - before) / _RECENT
        level = [value - slope * index for index, value in enumerate(self.recent)]
        noise = max(FLOOR, robust_moments(level, FLOOR)[1])
        soon = now + 1.5 * (now - before)  # from the middle of these steps to the end of the next
        grows = slope > 0 and now - self.moments.mean > _CLEARLY * noise
        if not grows or soon + _ROOM * noise <= math.log(threshold):
            return None
        self.moments = RunningMoments(now, noise**2, _RECENT)
        return math.exp(soon + 3 * noise)

    def forget(self) -> None:
        """After a change elsewhere: what was learned stays, and counts for little against what comes."""
        self.moments.weight = min(self.moments.weight, _SHORT_MEMORY)
        self.recent = []

    @property
    def deviation(self) -> float:
        """sigma, at least 0.1."""
        return self.moments.deviation(FLOOR)

    @property
    def typical(self) -> float:
        """exp(mu): an ordinary norm."""
        return math.exp(self.moments.mean)

    @property
    def usual(self) -> float:
        """exp(mu + 3 sigma)."""
        return math.exp(self.moments.mean + 3 * self.deviation)

    def clip(self, threshold: float) -> Clip:
        """The three limits for a threshold: an outlier is scaled to the ordinary length."""
        impossible = math.exp(self.moments.mean + 6 * self.deviation)
        return Clip(threshold, min(threshold, self.typical), max(threshold, impossible))

    def _estimate(self, logs: Sequence[float], memory: int) -> None:
        mean, deviation = robust_moments(logs, FLOOR)
        self.moments = RunningMoments(mean, deviation**2, min(len(logs), memory))


def plain_clip(threshold: float) -> Clip:
    """Scale what is longer than the threshold to it, skip only what is not finite."""
    return Clip(threshold, threshold)


def _is_complex(norms: Sequence[float]) -> bool:
    """Whether norms average more than 0.1 or vary by more than 0.001, in units where a typical one is 0.03.

    The units make it a statement on the spread alone: the scale of a loss says nothing about a network.
    """
    unit = _TYPICAL / median(norms)
    mean = fmean(norms) * unit
    return mean > 0.1 or fmean((norm * unit - mean) ** 2 for norm in norms) > 0.001
