"""What one metric says of whether a run has anything left to gain; a run ends where no metric objects."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import fmean
from typing import TypeAlias

from traiNNer.automations.statistics import Z95, scatter, upper_projection
from traiNNer.automations.validation_record import Scores, ValidationRecord
from traiNNer.control import Plain
from traiNNer.events import ValidationEvent

FEWEST_VALIDATIONS = 3  # without a gain, before patience counts
FEWEST_POINTS = 6  # validations since the last change of learning rate, before a projection
_MOST_POINTS = 200  # that a line goes through: slopes are as many as pairs of them
IN_A_ROW = 2  # validations that must agree on a projection
CREEP = 10  # gains that count: what may still come after the rate has ended without being worth the steps

Curve: TypeAlias = list[tuple[float, float]]
"""ln(samples) and mean score of each validation since the last change of learning rate."""


@dataclass
class Watched(Plain):
    """A metric beside the monitored one. Scores are signed: higher is better."""

    record: ValidationRecord = field(default_factory=ValidationRecord)
    curve: Curve = field(default_factory=list)
    flat: int = 0
    """Validations in a row whose projection promised no gain."""
    first: float | None = None
    """Mean of the first validation of the record."""
    silent: bool = False
    """Whether the last validation had no value of it."""

    def add(self, scores: Scores, event: ValidationEvent, *, end: int, margin: float) -> None:
        """Take in a validation of a run of `end` samples; gains up to `margin` do not count."""
        self.silent, self.first = False, scores.mean if self.first is None else self.first
        self.record.add(scores, event.step, margin)
        self.curve.append((math.log(max(1, event.position)), scores.mean))
        flat = nothing_to_gain(self.curve, self.record.highest, end, margin, ended=event.lr_exhausted)
        self.flat = self.flat + 1 if flat else 0

    def forget(self) -> None:
        """After a change that bends the curve: what came before promises nothing."""
        self.curve, self.flat = [], 0

    def gains(self, step: int, patience: int, rule: str) -> bool:
        """Whether a stop by a rule would throw gains of this metric away: those of lately, or those to come."""
        if self.record.highest is None:
            return False
        if rule == "diminishing_returns":
            return self.flat < IN_A_ROW
        return step - self.record.best_step < patience or self.record.since < FEWEST_VALIDATIONS


def margin_of(watched: Watched, monitored: ValidationRecord, first: float | None, margin: float) -> float:
    """What counts as a gain of another metric: as large a part of what the run gained in it as for the monitored.

    Args:
        watched: The other metric.
        monitored: The record of the monitored one.
        first: Its first mean.
        margin: Its smallest gain that counts.
    """
    if None in (watched.first, watched.record.highest, first, monitored.highest):
        return 0.0
    gained = monitored.highest - first  # type: ignore[operator]  # none is None here
    own = watched.record.highest - watched.first  # type: ignore[operator]
    return margin * own / gained if gained > 0 and own > 0 else 0.0


def nothing_to_gain(curve: Curve, highest: float | None, end: float, margin: float, *, ended: bool) -> bool:
    """Whether the upper bound of what the rest of the run brings lies below `margin`.

    Args:
        curve: Of the metric.
        highest: Its highest mean so far.
        end: Samples of the whole run.
        margin: Smallest gain that counts.
        ended: Whether the learning rate has.
    """
    if len(curve) < FEWEST_POINTS or highest is None:
        return False
    if ended and settled(curve, CREEP * margin):
        return True
    # the later half: curves bend, and a line through all of it would promise the gains of the beginning
    late = thinned(curve[-max(FEWEST_POINTS, len(curve) // 2) :])
    bound = upper_projection([x for x, _ in late], [y for _, y in late], max(curve[-1][0], math.log(end)))
    return bound - highest < margin


def thinned(curve: Curve) -> Curve:
    """A long curve by the means of neighbours, so many that few enough remain; of an odd lot the oldest go."""
    size = math.ceil(len(curve) / _MOST_POINTS)
    groups = [curve[at : at + size] for at in range(len(curve) % size, len(curve), size)]
    return [(fmean(x for x, _ in group), fmean(y for _, y in group)) for group in groups]


def settled(curve: Curve, margin: float) -> bool:
    """Whether gains shrink so fast that all to come together lie below `margin`, at a rate that has ended.

    Means of the three thirds of the curve: their differences d1, d2 go on as a geometric series, d2^2 / (d1 - d2)
    in all (Aitken's delta-squared); d2 is taken at its upper 95 % bound.
    """
    length = len(curve) // 3
    scores = [score for _, score in curve[-3 * length :]]
    first, second, third = (fmean(scores[k * length : (k + 1) * length]) for k in range(3))
    before, lately = second - first, third - second + Z95 * scatter(scores) * math.sqrt(2 / length)
    if lately <= 0:
        return True
    return lately < before and lately**2 / (before - lately) < margin


def share_waited(step: int, since: int | None, patience: int) -> float:
    """Share of `patience` steps that have gone since a step; 0 where nothing is waited for."""
    return 0.0 if since is None else min(1.0, (step - since) / max(1, patience))
