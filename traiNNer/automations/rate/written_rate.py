"""WrittenRateTrial: whether a written learning rate is too low, tried before the first step.

Short trials show little of how good a rate is for a whole run (decision 51), but a rate that four times as much
beats was too low in every run it was measured on. Then it is doubled, not more. That a rate is too high shows in
the run, and IntelligentLearningRateScheduler cuts it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from traiNNer.automations import Automation
from traiNNer.automations.rate.rate_search import MOST_STEPS
from traiNNer.automations.statistics import Z95, paired_gain, share
from traiNNer.control import Arm, Controls, Decision, Plain, RunTrial, SetLearningRateFactor
from traiNNer.events import Event, RunFacts, StartEvent, TrialEvent

TRIED, TAKEN = 4.0, 2.0
"""Times the written rate."""
MARGIN = 0.02
"""Share of the loss by which the higher rate must be better, as where damage is tried."""

_SHARE = 0.05 / 7
"""Of the run's samples, for each of the two."""
_FEWEST_STEPS = 10


def trial_steps(total_iter: int) -> int:
    """Steps of each of the two; 0 in a run that is too short for them."""
    steps = min(int(_SHARE * total_iter), MOST_STEPS)
    return steps if steps >= _FEWEST_STEPS else 0


@dataclass
class WrittenRateState(Plain):
    """How far the trial has come."""

    phase: Literal["waiting", "begun", "asked", "answered", "done"] = "waiting"
    losses: list[list[float]] = field(default_factory=list)
    """Logarithms on the held-out batches, of the written rate and of the higher one."""


class WrittenRateTrial(Automation[WrittenRateState]):
    """Doubles the learning rate where four times the written one is better in a short trial.

    Args:
        facts: Of the run.
    """

    name = "WrittenRateTrial"
    watches = "loss after short trials of the written rate and a higher one"

    def __init__(self, *, facts: RunFacts) -> None:
        self._rate, self._steps = facts.learning_rates["g"], trial_steps(facts.total_iter)
        self.state = WrittenRateState()

    @property
    def waiting(self) -> bool:
        """Whether it is still to be asked for."""
        return self.state.phase == "waiting"

    def observe(self, event: Event) -> None:
        """Take note of the start, and of what the trial has shown."""
        s = self.state
        match event:
            case StartEvent() if s.phase == "waiting":
                s.phase = "done" if event.step else "begun"  # a run that is under way has shown its rate
            case TrialEvent() if s.phase == "asked":
                s.phase, s.losses = "answered", event.scores
            case _:
                pass

    def decide(self, controls: Controls) -> Sequence[Decision]:
        """The trial, or the factor that follows from it."""
        s = self.state
        if s.phase == "begun":
            s.phase = "asked"
            arms = [Arm(f"{self._rate * times:.3g}", times) for times in (1.0, TRIED)]
            why = "a written rate may be too low"
            return [RunTrial(arms=arms, steps=self._steps, kept=False, counts=False, reason=why)]
        if s.phase != "answered":
            return ()
        s.phase = "done"
        written, higher = s.losses
        if not (written and higher):
            return ()
        gain = paired_gain(written, higher)
        if gain.mean <= max(MARGIN, Z95 * gain.se):
            return ()
        tried = f"{self._rate * TRIED:.3g} did better than {self._rate:.3g} in trials of {self._steps} steps"
        why = f"{tried}, by {share(gain.mean):.1%} of the loss"
        return [SetLearningRateFactor(factor=TAKEN, reason=why, statistic=gain.mean, limit=MARGIN)]

    def fallback(self, controls: Controls) -> Sequence[Decision]:
        """The written rate, or what has been found."""
        return ()
