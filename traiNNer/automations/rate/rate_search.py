"""LearningRateSearch: `lr: auto`. Which rate is best is tried at the start of a run.

Rates a factor of four apart are tried, outwards while the best is at an end, then those half-way to its
neighbours, all in trials of a few steps. What is left of the samples goes into longer trials of the best and of
twice as much, for networks that wake up late. Every trial begins from the same weights, trains on the same
samples, is annealed at its end and scored on the same samples that no run trains on (decision 63).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from statistics import fmean
from typing import Literal

from traiNNer.automations import Automation
from traiNNer.automations.statistics import Z95, paired_gain, share
from traiNNer.control import Arm, Change, Controls, Decision, Plain, RunTrial
from traiNNer.events import Event, RunFacts, StartEvent, TrialEvent
from traiNNer.wording import counted

SHARE = 0.05
"""Of the run's samples: the most that all trials may take together."""
COARSE, FINE = 4.0, 2.0  # ratio of neighbouring rates, first and at the end
MOST_EXTENSIONS = 2  # further rates, one at a time, where the best is at an end
MOST_ROUGH = 3 + MOST_EXTENSIONS
"""Trials until the best is known to a factor of four."""
TRIAL_STEPS = 10
"""Of each of them; after as many the order is that of whole runs, after 14 to 40 higher rates are ahead."""
LONG_STEPS = 20
"""Fewest of the longer trials; a network that wakes up late has not done so before."""
MOST_STEPS = 500
"""Most of them; no more were ever tried, and a run of a million steps shall not wait for tens of thousands."""
MARGIN = 0.04
"""Share of the loss by which twice a rate must win (four times it: by twice that); rates that no whole run wants
win by up to 0.034."""
RAISED_LATER = {"SGD"}
"""Optimizers whose rate is raised by LearningRateRise, for which it need be known to a factor of four only."""
SHORTEST_RUN = math.ceil(TRIAL_STEPS * (MOST_ROUGH + 2) / SHARE)
"""Steps from which on a run can afford a search."""
_TOO_SHORT = f"the run is too short for a search (below {SHORTEST_RUN:,} steps)"
_REACH = COARSE ** (1 + MOST_EXTENSIONS) * FINE


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
    """Take `factor` times the starting rate as the peak of the schedule, from the next step on."""

    changes = "lr_factor"
    factor: float
    rate: float
    """The generator's, which it makes."""
    tried: list[Tried] = field(default_factory=list)

    def apply(self, controls: Controls) -> None:
        controls.lr_search = self.factor

    def change(self, controls: Controls) -> Change:
        return Change("lr", self.rate / self.factor * (controls.lr_search or 1.0), self.rate)


def _clearly_better(high: Tried, low: Tried) -> bool:
    """Whether a higher rate is worth its risk."""
    if not (high.losses and low.losses):
        return False
    gain = paired_gain(low.losses, high.losses)
    doublings = math.log2(high.factor / low.factor)
    return gain.mean > max(MARGIN * doublings, Z95 * gain.se)


@dataclass
class SearchState(Plain):
    """How far a search has come."""

    phase: Literal["waiting", "coarse", "fine", "long", "done"] = "waiting"
    tried: list[Tried] = field(default_factory=list)
    """In the order of their factors."""
    extensions: int = 0
    spent: int = 0
    """Steps of all trials so far."""
    fresh: bool = False
    """Whether something has come that is to be answered."""
    centre: float = 0.0
    """The best to a factor of four."""
    longer: list[Tried] = field(default_factory=list)
    """Those of the longer trials."""


class LearningRateSearch(Automation[SearchState]):
    """Finds the peak learning rate before the first step.

    Args:
        facts: Of the run; its rates are those that the search starts from.
        rough: Whether a factor of four is near enough, since LearningRateRise will raise the rate.
    """

    name = "LearningRateSearch"
    watches = "loss on held-out samples after short trials"

    def __init__(self, *, facts: RunFacts, rough: bool = False) -> None:
        self._start, self._rough = facts.learning_rates["g"], rough
        self._long_enough, self._budget = facts.total_iter >= SHORTEST_RUN, int(SHARE * facts.total_iter)
        self.state = SearchState()

    @property
    def waiting(self) -> bool:
        """Whether the search is still to begin."""
        return self.state.phase == "waiting"

    @property
    def done(self) -> bool:
        """Whether the rate is found."""
        return self.state.phase == "done"

    @property
    def outlook(self) -> str:
        """What the search will do, before it begins."""
        if not self._long_enough:
            return f"the starting rate {self._name(1.0)} stays: {_TOO_SHORT}"
        ends = (self._name(reach) for reach in (1 / _REACH, _REACH))
        return (
            f"trials of {TRIAL_STEPS} steps and more, {self._budget:,} in all, from {self._name(1.0)}; "
            f"it reaches from {' to '.join(ends)}"
        )

    def observe(self, event: Event) -> None:
        """Take note of the start, and of what a trial has shown."""
        s = self.state
        match event:
            case StartEvent() if s.phase == "waiting":
                s.fresh = True
            case TrialEvent() if s.phase in ("coarse", "fine", "long"):
                found = [Tried(a.lr_factor, x) for a, x in zip(event.arms, event.scores, strict=True)]
                if s.phase == "long":
                    s.longer = found
                else:
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
            if not self._long_enough:
                return self._settle(1.0, _TOO_SHORT)
            s.phase = "coarse"
            return [self._trial((1 / COARSE, 1.0, COARSE), "lr is auto")]
        best = self._best()
        if s.phase == "coarse" and (further := self._extension(best)):
            return [further]
        if not best.losses:
            return self._settle(1.0, "no trial could be trained and scored")
        if s.phase == "coarse" and not self._rough:
            return [self._finer(best)]
        if s.phase == "fine" and (longer := self._longer(best)):
            return [longer]
        return self._chosen(best)

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
        """Half and twice the best, or the one beside its better neighbour where else none could be longer."""
        s = self.state
        s.phase, s.centre = "fine", best.factor
        index = s.tried.index(best)
        beside = (best.factor / FINE, best.factor * FINE)
        scarce = self._long_steps(after=1) and not self._long_steps(after=2)
        if scarce and 0 < index < len(s.tried) - 1:
            lower, higher = s.tried[index - 1], s.tried[index + 1]
            beside = beside[:1] if lower.level <= higher.level else beside[1:]
        return self._trial(beside, f"{self._name(best.factor)} is the best so far")

    def _longer(self, best: Tried) -> RunTrial | None:
        """What is safe and twice the best, for as long as the samples allow, if that is longer at all."""
        if not (steps := self._long_steps()):
            return None
        self.state.phase = "long"
        factors = (self._safe(best).factor, FINE * best.factor)
        return self._trial(factors, "a network may wake up late", steps)

    def _long_steps(self, after: int = 0) -> int:
        """Of each of the two longer trials, after so many short ones; 0 where they would not be longer."""
        steps = min((self._budget - self.state.spent - after * TRIAL_STEPS) // 2, MOST_STEPS)
        return steps if steps >= LONG_STEPS else 0

    def _chosen(self, best: Tried) -> Sequence[Decision]:
        """What is safe, or twice the best of the trials where longer ones showed that to be better."""
        s, why = self.state, self._why(best)
        if self._rough:
            return self._settle(best.factor / FINE, f"{why}; half of it, to be raised later")
        match s.longer:
            case [low, high] if _clearly_better(high, low):
                return self._settle(high.factor, f"{why}; {self._name(high.factor)} is better in longer ones")
        safe = self._safe(best)
        doubt = "" if safe == best else ", which is not enough to take a higher rate"
        return self._settle(safe.factor, why + doubt)

    def _safe(self, best: Tried) -> Tried:
        """The best, or the one below it that it was not clearly better than."""
        centre = next((tried for tried in self.state.tried if tried.factor == self.state.centre), best)
        return centre if best.factor > centre.factor and not _clearly_better(best, centre) else best

    def _trial(self, factors: Sequence[float], why: str, steps: int = TRIAL_STEPS) -> RunTrial:
        self.state.spent += steps * len(factors)
        arms = [Arm(self._name(factor), factor) for factor in factors]
        return RunTrial(arms=arms, steps=steps, kept=False, counts=False, reason=why)

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
        error = gain.se * math.exp(-gain.mean)
        return f"{after}; {share(gain.mean):.2%} +- {error:.2%} ahead of {self._name(second.factor)}"

    def _name(self, factor: float) -> str:
        return f"{self._start * factor:.3g}"
