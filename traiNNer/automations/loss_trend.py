"""Whether the training loss falls, stands, rises or has diverged, as far as noise lets one say.

A window of steps becomes one level: the mean of the logarithm of the loss, without its lowest and highest
fifth (a corrupted batch or two do not count). A line through the levels of a span gives the improvement over
the span and its standard error, so that a loss times 1000 says the same and noise delays an answer instead
of giving one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from traiNNer.automations.statistics import Z95, fit_line, scatter, trimmed_mean
from traiNNer.control import Plain
from traiNNer.events import WindowEvent

MOST_SPANS = 4
"""Spans over which a noisy loss is averaged before it is called flat."""

FACTOR_DRIFT = math.log(1.25)
"""Of a loss factor, as a logarithm, beyond which the loss is another one."""

_DIVERGENCE = 3.0  # standard errors; no false alarm in 120 histories of 20,000 steps at CV 0.05 to 0.4
_RISE = math.log(1.25)  # of the loss above its lowest level, below which it counts as there
_SMOOTH = 10  # levels whose mean is compared with later ones, instead of the luckiest single one
_BAD_STEPS = 100  # steps over which those that are not finite are counted
_BAD_LIMIT = 12  # of them: 5 percent and three standard errors of that count


def drift(then: Mapping[str, float], now: Mapping[str, float]) -> float:
    """How far the loss factor that moved most has, as a logarithm of either sign; those that are missing are 1."""
    moves = (math.log(now.get(label, 1.0) / then.get(label, 1.0)) for label in then.keys() | now.keys())
    return max(map(abs, moves), default=0.0)


@dataclass
class FollowedLosses(Plain):
    """Which losses the level is of, by weights that stay: a change of weights is no change of the level."""

    weights: dict[str, float] = field(default_factory=dict)
    """Nothing: the total is followed."""
    factors: dict[str, float] = field(default_factory=dict)
    """Loss factors when following began."""
    unusable: list[str] = field(default_factory=list)
    """Losses that are not always positive, so that their logarithm says nothing."""

    def outdated(self, event: WindowEvent, factors: Mapping[str, float]) -> bool:
        """Whether other losses, or the same by other weights, would have to be followed from now on."""
        then, now = ({a: of[a] for a in self.weights if a in of} for of in (self.factors, factors))
        seen = [label for label, values in event.losses.items() if any(value <= 0 for value in values)]
        news = [label for label in seen if label not in self.unusable]
        self.unusable = sorted([*self.unusable, *news])
        gone = self.weights.keys() - event.losses.keys()
        return bool(news or gone) or drift(then, now) > FACTOR_DRIFT

    def choose(
        self, event: WindowEvent, configured: Mapping[str, float], factors: Mapping[str, float]
    ) -> None:
        """Follow the losses that are on, by their configured weights and the factors of now."""
        self.factors = dict(factors)
        self.weights = {
            label: configured[label] * factors.get(label, 1.0)
            for label in event.losses
            if label not in self.unusable and configured.get(label, 0.0) > 0
        }

    def level(self, event: WindowEvent) -> float | None:
        """Level of the loss in a window; None if no step has a positive finite loss."""
        totals = event.total
        if self.weights:
            totals = [
                math.fsum(weight * event.losses[label][i] for label, weight in self.weights.items())
                for i in range(len(event.total))
            ]
        logs = [math.log(value) for value in totals if math.isfinite(value) and value > 0]
        return trimmed_mean(logs) if logs else None


@dataclass
class LossTrend(Plain):
    """The levels since the last change of something that matters to the loss."""

    levels: list[float] = field(default_factory=list)
    count: int = 0
    """Levels so far, those no longer kept included."""
    lowest: float | None = None
    """Lowest mean of ten consecutive levels."""
    high: int = 0
    """Latest levels in a row that lie beyond a blow-up's limit."""
    bad: list[bool] = field(default_factory=list)
    """Whether the latest steps had a loss or gradient that is not finite."""

    def add(self, level: float, keep: int) -> None:
        """Take in a level; at most `keep` are remembered."""
        if self.lowest is not None:
            beyond = level > self.lowest + math.log(2) + 3 * scatter(self.levels[-50:])
            self.high = self.high + 1 if beyond else 0
        self.levels.append(level)
        del self.levels[:-keep]
        self.count += 1
        if len(self.levels) >= 3:
            mean = fmean(self.levels[-_SMOOTH:])
            self.lowest = mean if self.lowest is None else min(self.lowest, mean)

    def add_steps(self, event: WindowEvent, *, fp16: bool) -> None:
        """Note which steps were not finite; in fp16 gradients overflow as a matter of routine."""
        norms = event.total if fp16 else event.grad_norm.get("g", event.total)
        pairs = zip(event.total, norms, strict=True)
        self.bad = [*self.bad, *(not math.isfinite(a) or not math.isfinite(b) for a, b in pairs)][
            -_BAD_STEPS:
        ]

    @property
    def at_lowest(self) -> bool:
        """Whether the loss is known to be about as low as it ever was; not from a few levels."""
        if self.lowest is None or len(self.levels) < _SMOOTH:
            return False
        noise = 3 * scatter(self.levels[-50:]) / math.sqrt(_SMOOTH)
        return fmean(self.levels[-_SMOOTH:]) <= self.lowest + max(_RISE, noise)

    @property
    def risen(self) -> bool:
        """Whether the newest level lies significantly above the lowest."""
        if self.lowest is None or not self.levels:
            return False
        return self.levels[-1] > self.lowest + max(_RISE, 3 * scatter(self.levels[-50:]))

    def divergence(self) -> str:
        """Why the network counts as diverged, or nothing."""
        if sum(self.bad) >= _BAD_LIMIT:
            return f"{sum(self.bad)} of the last {len(self.bad)} steps were not finite"
        if self.high >= 2 and self.lowest is not None:
            times = math.exp(self.levels[-1] - self.lowest)
            return f"loss {times:.3g} times its lowest level"
        return ""

    def plateau(self, span: int, threshold: float) -> tuple[float, float] | None:
        """Improvement over a span (share of the loss) and its bound, where the bound lies below `threshold`.

        The shortest of one to four spans is used that is precise enough to tell `threshold` from nothing.
        """
        for spans in range(1, MOST_SPANS + 1):
            if len(self.levels) < spans * span:
                return None
            gain, se = _improvement(self.levels[-spans * span :], span)
            if Z95 * se < threshold:
                bound = gain + Z95 * se
                return (gain, bound) if bound < threshold else None
        return None

    def improved(self, span: int, threshold: float) -> bool:
        """Whether the last span improved by more than `threshold`, significantly."""
        if len(self.levels) < span:
            return False
        gain, se = _improvement(self.levels[-span:], span)
        return gain - Z95 * se > threshold

    def diverging(self, span: int) -> tuple[float, float] | None:
        """Rise over the last span and its limit, where it is significant and far above the lowest level."""
        if len(self.levels) < span or self.lowest is None:
            return None
        gain, se = _improvement(self.levels[-span:], span)
        above = fmean(self.levels[-_SMOOTH:]) - self.lowest
        return (-gain, _DIVERGENCE * se) if -gain > _DIVERGENCE * se and above > 0.05 + 3 * se else None


def _improvement(levels: Sequence[float], span: int) -> tuple[float, float]:
    """Fall of the fitted line over a span, and its standard error."""
    line = fit_line(levels)
    return -line.slope * (span - 1), line.se * (span - 1)
