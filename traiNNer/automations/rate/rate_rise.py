"""LearningRateRise: raises the rate of `lr: auto` where short trials cannot tell how high it may be.

Early in a run a copy trains beside it at a rate that grows, on the same samples, until it falls behind. What that
shows of SGD hardly depends on the rate that the run has, and the best rate of a whole run is half of it
(decision 63); short trials rank SGD's rates by noise.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

from traiNNer.automations import Automation
from traiNNer.automations.rate.rate_search import (
    MOST_ROUGH,
    RAISED_LATER,
    SHARE,
    SHORTEST_RUN,
    TRIAL_STEPS,
    SetSearchedRate,
)
from traiNNer.control import Arm, Controls, Decision, Plain, RunTrial
from traiNNer.events import ChangeEvent, Event, RunFacts, TrialEvent, WindowEvent

_log = logging.getLogger(__name__)

GROWTH = 2 ** (1 / 4)
"""Of the rate, from step to step."""
MOST_STEPS, FEWEST_STEPS = 24, 12
"""Of a trial; in them the rate grows 64-fold and 8-fold."""
BEGINS_AT, ENDS_AT = 0.025, 0.1
"""Shares of the run between which the trial may begin; the first steps of all are not like the others."""
BEHIND = 0.2
"""By how much the logarithm of the loss is higher where the rate is too high."""
SHARE_OF_LIMIT = 0.5
"""Rate that is taken, as a share of the one that was too high."""
LEAST = 1.2
"""How many times the rate of the run that must be to be taken."""
AT_ONCE = 2.0
"""How many times the rate grows in a window at most; four times at once ended a run (decision 63)."""
_SMOOTHED = 4  # steps that are judged together
_WINDOW = 10  # steps at whose end a trial can begin


def can_rise(facts: RunFacts) -> bool:
    """Whether a rate that was found by short trials will be raised; a long warm-up leaves no time for it."""
    in_time = facts.warmup_iter <= ENDS_AT * facts.total_iter - _WINDOW
    return facts.optimizer in RAISED_LATER and facts.total_iter >= SHORTEST_RUN and in_time


@dataclass
class RiseState(Plain):
    """How far it has come."""

    phase: Literal["waiting", "due", "asked", "beside", "answered", "climbing", "step", "done"] = "waiting"
    rising: list[float] = field(default_factory=list)
    """Logarithms of the losses at a rate that grows, fewer than were asked for where it diverged."""
    beside: list[float] = field(default_factory=list)
    """Those of the run itself on the same samples."""
    asked: int = 0
    """Steps of the trial under way."""
    spent: int = 0
    """Steps of all trials so far."""
    compared: bool = False
    """Whether any of them was compared with the run."""
    target: float = 1.0
    """Factor of the starting rate that the run is on its way to."""
    reason: str = ""
    open_end: bool = False
    """Whether no rate was too high, so that another trial may follow."""


class LearningRateRise(Automation[RiseState]):
    """Raises a rate that was found by short trials, early in the run.

    Where a trial ends before the rate is too high, or the run is changed before it can be compared, another one
    begins, as far as the samples allow: at 2,000 steps once.

    Args:
        facts: Of the run; its rates are those that the search started from.
    """

    name = "LearningRateRise"
    watches = "loss at a rising rate beside the run"

    def __init__(self, *, facts: RunFacts) -> None:
        self._start, self._anchor = facts.learning_rates["g"], facts.anchor_loss
        self._budget = int(SHARE * facts.total_iter) - MOST_ROUGH * TRIAL_STEPS
        self.state = RiseState()

    @property
    def done(self) -> bool:
        """Whether it will not act any more."""
        return self.state.phase == "done"

    def observe(self, event: Event) -> None:
        """Take note of the time, of what the trial has shown, and of the run beside it."""
        s = self.state
        match event:
            case WindowEvent():
                self._window(event)
            case TrialEvent(arms=[Arm(growth=growth)]) if s.phase == "asked" and growth > 1:
                s.phase, s.rising = "beside", event.scores[0]
            case ChangeEvent(control=control, by=by) if s.phase == "beside" and control != "validation":
                s.phase = "waiting"  # the run is not the one that the trial began from
                if not self._affordable:
                    self._end(f"{by} changed {control} before it was compared with a higher one")
            case ChangeEvent(control="lr_factor", by=by) if s.phase == "climbing" and by != self.name:
                self._end(f"{by} changed it on the way")
            case _:
                pass

    def _window(self, event: WindowEvent) -> None:
        s = self.state
        match s.phase:
            case "waiting" if event.progress > ENDS_AT:
                self._end(f"higher ones are tried before {ENDS_AT:.0%} of the run only")
            case "waiting" if event.progress >= BEGINS_AT:
                s.phase = "waiting" if event.warming_up else "due"
            case "beside":
                s.beside += [_logarithm(loss) for loss in event.losses.get(self._anchor, [math.inf])]
                s.phase = "answered" if len(s.beside) >= len(s.rising) else "beside"
            case "climbing":
                s.phase = "step"
            case _:
                pass

    def decide(self, controls: Controls) -> Sequence[Decision]:
        """The trial, or the rate that follows from it."""
        s = self.state
        if s.phase == "due":
            s.phase = "asked"
            return [self._trial(controls)]
        found = controls.lr_search or 1.0
        if s.phase == "answered" and self._finite():
            s.compared = True
            limit = limit_of(s.rising, s.beside)
            s.open_end = limit is None and len(s.rising) == s.asked
            times = SHARE_OF_LIMIT * (limit or GROWTH ** len(s.rising))
            s.target = found * times
            what = "was not too high yet" if s.open_end else "was too high"
            s.reason = f"beside the run {self._start * s.target / SHARE_OF_LIMIT:.3g} {what}"
            if times < LEAST:
                _log.info("%s: %s; the rate stays %.3g", self.name, s.reason, self._start * found)
                self._arrived()
                return ()
            s.phase = "step"
        return [self._step(found)] if s.phase == "step" else ()

    def _finite(self) -> bool:
        s = self.state
        if s.rising and all(map(math.isfinite, s.beside[: len(s.rising)])):
            return True
        self._end("a higher one could not be trained, or its loss or that of the run was not finite")
        return False

    def _step(self, found: float) -> SetSearchedRate:
        """Towards the target, by at most `AT_ONCE`."""
        s = self.state
        factor = min(s.target, AT_ONCE * found)
        if factor == s.target:
            self._arrived()
            why = f"{s.reason}; half of it is taken"
        else:
            s.phase = "climbing"
            why = f"{s.reason}; on the way to half of it, {self._start * s.target:.3g}"
        return SetSearchedRate(factor=factor, rate=self._start * factor, counts=False, reason=why)

    def _arrived(self) -> None:
        self.state.phase = "waiting" if self.state.open_end and self._affordable else "done"

    def fallback(self, controls: Controls) -> Sequence[Decision]:
        """The rate that was found."""
        return ()

    def _end(self, why: str) -> None:
        """Give up, and say what that leaves."""
        s = self.state
        s.phase = "done"
        left = "is not raised further" if s.compared else "stays half of what was found, which may be too low"
        _log.log(logging.INFO if s.compared else logging.WARNING, "%s: the rate %s: %s", self.name, left, why)

    @property
    def _affordable(self) -> int:
        """Steps of one more trial, 0 where there are too few."""
        left = min(MOST_STEPS, self._budget - self.state.spent)
        return left if left >= FEWEST_STEPS else 0

    def _trial(self, controls: Controls) -> RunTrial:
        s, rate = self.state, self._start * (controls.lr_search or 1.0)
        s.asked, s.rising, s.beside = self._affordable, [], []
        s.spent += s.asked
        name = f"{rate:.3g} rising to {rate * GROWTH ** (s.asked - 1):.3g}"
        arm = Arm(name, controls.lr_factor, growth=GROWTH)
        why = "short trials do not show how high the rate may be"
        return RunTrial(arms=[arm], steps=s.asked, kept=False, counts=False, reason=why)


def limit_of(rising: Sequence[float], beside: Sequence[float]) -> float | None:
    """Factor of the rate at which `rising` has left `beside`, step for step on the same samples; None: nowhere."""
    behind = [high - low for high, low in zip(rising, beside, strict=False)]
    for end in range(_SMOOTHED, len(behind) + 1):
        if fmean(behind[end - _SMOOTHED : end]) > BEHIND:
            return GROWTH ** (end - _SMOOTHED / 2)
    return None


def _logarithm(loss: float) -> float:
    """Infinite where there is none."""
    return math.log(loss) if 0 < loss < math.inf else math.inf
