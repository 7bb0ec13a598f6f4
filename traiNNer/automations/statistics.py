"""Small statistics that automations share: lines through noisy numbers, paired gains, moments that outliers
cannot move. Pure functions of lists of floats, and two running forms that fit into a checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import NamedTuple

from traiNNer.control import Plain

Z95 = 1.64
"""One-sided 95 % point of the normal distribution."""

_MAD = 1.4826  # median absolute deviation of a normal variable, in units of its deviation
_LEFT_OUT = 1.05  # what leaving out outliers takes from the deviation of ten to twenty normal values


def finite_mean(values: Iterable[float]) -> float:
    """Mean of the finite values; NaN where there is none."""
    return fmean([value for value in values if math.isfinite(value)] or [math.nan])


def share(fall: float) -> float:
    """By what part of itself a loss fell, from the fall of its logarithm; negative where it rose."""
    return -math.expm1(-fall)


class Line(NamedTuple):
    """A least-squares line through values at 0, 1, 2, ..."""

    slope: float
    se: float
    """Standard error of the slope, widened where neighbouring residuals are correlated."""


def fit_line(values: Sequence[float]) -> Line:
    """The line through at least three values.

    The standard error is multiplied by sqrt((1 + r) / (1 - r)), r being the correlation of neighbouring
    residuals where positive: a wandering or curved series counts for fewer independent values than it has.
    """
    count = len(values)
    centre, level = (count - 1) / 2, fmean(values)
    spread = count * (count * count - 1) / 12
    slope = math.fsum((i - centre) * v for i, v in enumerate(values)) / spread
    rest = [v - level - slope * (i - centre) for i, v in enumerate(values)]
    power = math.fsum(r * r for r in rest)
    if power <= 0:
        return Line(slope, 0.0)
    neighbours = math.fsum(a * b for a, b in zip(rest, rest[1:], strict=False)) / power
    r = min(0.95, max(0.0, neighbours))
    return Line(slope, math.sqrt(power / (count - 2) / spread * (1 + r) / (1 - r)))


class Gain(NamedTuple):
    """The mean of paired differences."""

    mean: float
    se: float
    """Its standard error; 0 for a single pair, whose scatter is unknown."""


def paired_gain(new: Sequence[float], old: Sequence[float]) -> Gain:
    """How much higher `new` is than `old`, pair by pair; pairs that are not finite do not count.

    Without any pair nothing is known: a gain of 0 with an infinite error.
    """
    differences = [d for a, b in zip(new, old, strict=True) if math.isfinite(d := a - b)]
    if not differences:
        return Gain(0.0, math.inf)
    mean, count = fmean(differences), len(differences)
    if count < 2:
        return Gain(mean, 0.0)
    variance = math.fsum((d - mean) ** 2 for d in differences) / (count - 1)
    return Gain(mean, math.sqrt(variance / count))


def trimmed_mean(values: Sequence[float]) -> float:
    """The mean without the lowest and the highest fifth, so that a corrupted batch or two do not count."""
    cut = len(values) // 5
    return fmean(sorted(values)[cut : len(values) - cut])


def robust_moments(values: Sequence[float], floor: float) -> tuple[float, float]:
    """Mean and deviation of what lies within three robust deviations (at least `floor`) around the median.

    Outliers are left out, not clamped: two that are clamped among ten values double the deviation. The result is
    raised by what leaving out takes from the deviation of ten or twenty normal values (simulated).
    """
    centre = median(values)
    reach = 3 * max(floor, _MAD * median(abs(v - centre) for v in values))
    kept = [v for v in values if abs(v - centre) <= reach]
    mean = fmean(kept)
    variance = math.fsum((v - mean) ** 2 for v in kept) / max(1, len(kept) - 1)
    return mean, _LEFT_OUT * math.sqrt(variance)


def scatter(values: Sequence[float]) -> float:
    """Deviation of a series about whatever slow trend it has, from the steps between neighbours."""
    steps = [abs(b - a) for a, b in zip(values, values[1:], strict=False)]
    return _MAD * median(steps) / math.sqrt(2) if steps else 0.0


def t95(freedom: int) -> float:
    """One-sided 95 % point of Student's t; within 3 % of the table for three degrees of freedom and more."""
    return 1.645 + 1.52 / freedom + 1.42 / freedom**2


def upper_projection(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """Upper 95 % bound for the level at `x` of a line through at least four points, outliers discounted.

    Slope: median over all pairs (Theil 1950, Sen 1968); scatter: median absolute residual. The standard error
    is that of least squares times 1.25, the price of the median.
    """
    count = len(xs)
    slopes = [
        (ys[j] - ys[i]) / (xs[j] - xs[i]) for i in range(count) for j in range(i + 1, count) if xs[j] != xs[i]
    ]
    slope = median(slopes)
    start = median(y - slope * a for a, y in zip(xs, ys, strict=True))
    rest = [y - start - slope * a for a, y in zip(xs, ys, strict=True)]
    sigma = _MAD * median(abs(r) for r in rest) * math.sqrt(count / (count - 2))
    centre = fmean(xs)
    spread = math.fsum((a - centre) ** 2 for a in xs)
    se = 1.25 * sigma * math.sqrt(1 / count + (x - centre) ** 2 / spread)
    return start + slope * x + t95(count - 2) * se


@dataclass
class RunningMoments(Plain):
    """Mean and variance with a fading memory, each value clamped to what the past makes likely."""

    mean: float = 0.0
    variance: float = 0.0
    weight: int = 0
    """Values that the moments stand for, at most the memory."""

    def deviation(self, floor: float) -> float:
        """The standard deviation, at least `floor`."""
        return max(floor, math.sqrt(self.variance))

    def add(self, value: float, *, memory: int, floor: float) -> None:
        """Take in a value, clamped to three deviations around the mean."""
        reach = 3 * self.deviation(floor)
        value = min(self.mean + reach, max(self.mean - reach, value))
        self.weight = min(self.weight + 1, memory)
        step = value - self.mean
        self.mean += step / self.weight
        self.variance = (1 - 1 / self.weight) * (self.variance + step * step / self.weight)


@dataclass
class RunningLine(Plain):
    """A least-squares line from sums, for series too long to keep."""

    count: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    yy: float = 0.0
    """Means, then sums of squared and mixed deviations from them."""

    def add(self, x: float, y: float) -> None:
        """Take in a point (Welford's update)."""
        self.count += 1
        dx, dy = x - self.x, y - self.y
        self.x += dx / self.count
        self.y += dy / self.count
        self.xx += dx * (x - self.x)
        self.xy += dx * (y - self.y)
        self.yy += dy * (y - self.y)

    def falls(self, sigmas: float) -> bool:
        """Whether the slope lies below zero by more than so many standard errors."""
        if self.count < 10 or self.xx <= 0:
            return False
        slope = self.xy / self.xx
        rest = max(0.0, self.yy - slope * self.xy)
        return slope + sigmas * math.sqrt(rest / (self.count - 2) / self.xx) < 0
