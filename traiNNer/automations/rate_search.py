"""LearningRateSearch: `lr: auto`. Which rate is best is tried at the start of a run.

Rates a factor of four apart are tried, outwards while the best is at an end, then those a factor of two beside
the best. Every trial begins from the same weights, trains on the same samples, is annealed at its end and scored
on the same samples that no run trains on. All are equally long, so that all can be compared (decision 51).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from statistics import fmean
from typing import Literal

from traiNNer.automations import Automation
from traiNNer.automations.statistics import paired_gain
from traiNNer.control import Arm, Change, Controls, Decision, Plain, RunTrial
from traiNNer.events import Event, RunFacts, StartEvent, TrialEvent
from traiNNer.wording import counted

SHARE = 0.05
"""Of the run's samples: the most that all trials may take together."""
COARSE, FINE = 4.0, 2.0  # ratio of neighbouring rates, first and at the end
MOST_EXTENSIONS = 2  # further rates, one at a time, where the best is at an end
SHORT_TRIAL = 100
"""Steps; shorter trials favour rates that are too high for a whole run."""
_NEVER_TOO_HIGH = {"SGD", "ASGD"}
"""Optimizers of which short trials favour low rates instead."""
_MOST_ARMS = 7  # the first three, two extensions, two finer ones
FEWEST_STEPS = 10
"""Of a trial; a run that cannot afford it keeps the starting rate."""
MOST_STEPS = 500
"""Of a trial; no more were ever tried, and a run of a million steps shall not wait for tens of thousands."""
SHORTEST_RUN = math.ceil(FEWEST_STEPS * _MOST_ARMS / SHARE)
"""Steps from which on a run can afford a search."""
_TOO_SHORT = f"the run is too short for a search (below {SHORTEST_RUN:,} steps)"
_REACH = COARSE ** (1 + MOST_EXTENSIONS) * FINE


def trial_steps(total_iter: int) -> int:
    """Steps of each trial of a run, at most MOST_STEPS; below FEWEST_STEPS it is too short for any."""
    return min(int(SHARE * total_iter) // _MOST_ARMS, MOST_STEPS)


@dataclass(frozen=True)
class Tried(Plain):
    """An arm and its scores."""

    factor: float
    losses: list[float]
    """Logarithms, one a held-out batch; empty where the arm failed."""

    @property
    def level(self) -> float:
        """Mean, infinite for an arm that failed: it loses against every other."""
        return fmean(self.losses) if self.losses else math.inf


@dataclass(frozen=True, kw_only=True)
class SetSearchedRate(Decision):
    """Take `factor` times the starting rate as the peak of the schedule, from the first step on."""

    factor: float
    rate: float
    """The generator's, which it makes."""
    tried: list[Tried] = field(default_factory=list)

    def apply(self, controls: Controls) -> None:
        controls.lr_search = self.factor

    def change(self, controls: Controls) -> Change:
        return Change("lr", self.rate / self.factor * (controls.lr_search or 1.0), self.rate)


@dataclass
class SearchState(Plain):
    """How far a search has come."""

    phase: Literal["waiting", "coarse", "fine", "done"] = "waiting"
    tried: list[Tried] = field(default_factory=list)
    """In the order of their factors."""
    extensions: int = 0
    spent: int = 0
    """Steps of all trials so far."""
    fresh: bool = False
    """Whether something has come that is to be answered."""


class LearningRateSearch(Automation[SearchState]):
    """Finds the peak learning rate before the first step.

    What is best for a few steps is not so for a run: half of it is taken where trials are short, but for SGD
    (measured, decision 51).

    Args:
        facts: Of the run; its rates are those that the search starts from.
    """

    name = "LearningRateSearch"
    watches = "loss on held-out samples after short trials"

    def __init__(self, *, facts: RunFacts) -> None:
        self._start = facts.learning_rates["g"]
        self._steps = trial_steps(facts.total_iter)
        halved = self._steps < SHORT_TRIAL and facts.optimizer not in _NEVER_TOO_HIGH
        self._of_best = 1 / FINE if halved else 1.0
        self.state = SearchState()

    @property
    def waiting(self) -> bool:
        """Whether the search is still to begin."""
        return self.state.phase == "waiting"

    @property
    def outlook(self) -> str:
        """What the search will do, before it begins."""
        if self._steps < FEWEST_STEPS:
            return f"the starting rate {self._name(1.0)} stays: {_TOO_SHORT}"
        ends = (self._name(reach) for reach in (1 / _REACH, _REACH))
        return (
            f"at most {_MOST_ARMS} trials of {self._steps} steps, from {self._name(1.0)}; "
            f"it reaches from {' to '.join(ends)}"
        )

    def observe(self, event: Event) -> None:
        """Take note of the start, and of what a trial has shown."""
        s = self.state
        match event:
            case StartEvent() if s.phase == "waiting":
                s.fresh = True
            case TrialEvent() if s.phase in ("coarse", "fine"):
                found = [Tried(a.lr_factor, x) for a, x in zip(event.arms, event.scores, strict=True)]
                s.tried = sorted([*s.tried, *found], key=lambda tried: tried.factor)
                s.fresh = True
            case _:
                pass

    def decide(self, controls: Controls) -> Sequence[Decision]:
        """The next trials, or the rate."""
        s = self.state
        fresh, s.fresh = s.fresh, False
        if not fresh:
            return ()
        if s.phase == "waiting":
            if self._steps < FEWEST_STEPS:
                return self._settle(1.0, _TOO_SHORT)
            s.phase = "coarse"
            return [self._trial((1 / COARSE, 1.0, COARSE), "lr is auto")]
        best = self._best()
        if s.phase == "coarse" and (further := self._extension(best)):
            return [further]
        if not best.losses:
            return self._settle(1.0, "no trial could be trained and scored")
        if s.phase == "coarse":
            return [self._finer(best)]
        trained = {tried.factor for tried in s.tried if tried.losses}
        times = self._of_best if best.factor * self._of_best in trained else 1.0
        return self._settle(best.factor * times, f"{self._why(best)}; x {times:g} for a whole run")

    def fallback(self, controls: Controls) -> Sequence[Decision]:
        """The starting rate, or what has been found."""
        return ()

    # --- parts ---------------------------------------------------------------------------------------------

    def _best(self) -> Tried:
        """Of equals the lower rate, also where all failed; a rate above one that failed has failed, too."""
        trained = takewhile(lambda tried: tried.losses, self.state.tried)
        return min(trained, key=lambda tried: tried.level, default=self.state.tried[0])

    def _extension(self, best: Tried) -> RunTrial | None:
        """One more arm where the best is at an end."""
        s = self.state
        ends = {s.tried[0].factor: 1 / COARSE, s.tried[-1].factor: COARSE}
        if best.factor not in ends or s.extensions >= MOST_EXTENSIONS:
            return None
        s.extensions += 1
        return self._trial((best.factor * ends[best.factor],), "the best is at the end")

    def _finer(self, best: Tried) -> RunTrial:
        self.state.phase = "fine"
        neighbours = (best.factor / FINE, best.factor * FINE)
        return self._trial(neighbours, f"{self._name(best.factor)} is the best so far")

    def _trial(self, factors: Sequence[float], why: str) -> RunTrial:
        self.state.spent += self._steps * len(factors)
        arms = [Arm(self._name(factor), factor) for factor in factors]
        return RunTrial(arms=arms, steps=self._steps, kept=False, counts=False, reason=why)

    def _settle(self, factor: float, why: str) -> Sequence[Decision]:
        s = self.state
        s.phase = "done"
        return [
            SetSearchedRate(factor=factor, rate=self._start * factor, tried=s.tried, counts=False, reason=why)
        ]

    def _why(self, best: Tried) -> str:
        second = min((t for t in self.state.tried if t is not best), key=lambda tried: tried.level)
        spent = counted(self.state.spent, "step", form=",")
        after = f"{self._name(best.factor)} is the best of the trials, {spent} in all"
        if not second.losses:
            return f"{after}; the others failed"
        gain = paired_gain(second.losses, best.losses)
        return f"{after}; {gain.mean:.2%} +- {gain.se:.2%} ahead of {self._name(second.factor)}"

    def _name(self, factor: float) -> str:
        return f"{self._start * factor:.3g}"
