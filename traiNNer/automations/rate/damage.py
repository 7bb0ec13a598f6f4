"""Whether a network is damaged, shown by a trial: the run going on against a return to its last healthy weights.

A score that stands still below bicubic is what a dead network shows, and what a slow one shows, or one whose
rate is too low. Both arms train on the same samples; there is damage only where the return is soon the better.
"""

from __future__ import annotations

from typing import NamedTuple

from traiNNer.automations.statistics import Z95, paired_gain, share
from traiNNer.control import Arm, RunTrial
from traiNNer.events import RunFacts, TrialEvent

GO_ON, RETURN = "go on", "return"
MAX_TRIALS = 2
"""Most trials of one run: each costs its steps twice."""

_SHARE = 0.15  # of the run's steps, for each arm; in less a rate four times too high looks like a good one
_STEPS = (100, 500)  # fewest and most steps of an arm
_MARGIN = 0.02  # share of the loss by which the return must be better


class Verdict(NamedTuple):
    """What a trial says of damage."""

    damaged: bool
    text: str
    gain: float
    """By which the logarithm of the loss is lower after the return; negative where it is higher."""
    limit: float
    """What the gain must exceed to show damage."""


def trial(old: float, lower: float, why: str, facts: RunFacts) -> RunTrial:
    """Going on at the present factor of the learning rate against a return at a lower one."""
    steps = min(_STEPS[1], max(_STEPS[0], round(_SHARE * facts.total_iter)))
    return RunTrial(
        arms=[Arm(GO_ON, old), Arm(RETURN, lower, restored=True)],
        steps=steps,
        reason=why,
        counts=False,
    )


def about_damage(event: TrialEvent) -> bool:
    """Whether it is the answer to `trial`."""
    return [arm.name for arm in event.arms] == [GO_ON, RETURN]


def verdict(event: TrialEvent) -> Verdict | None:
    """What `trial` showed; None where an arm could not be trained."""
    scores = {arm.name: losses for arm, losses in zip(event.arms, event.scores, strict=True)}
    ahead, back = scores.get(GO_ON, []), scores.get(RETURN, [])
    if not back:
        return None
    if not ahead:
        return Verdict(True, "going on, the loss is not finite", 1.0, 0.0)
    gain = paired_gain(ahead, back)  # of losses: positive where those of the return are lower
    limit = max(_MARGIN, Z95 * gain.se)
    better = "a return" if gain.mean > 0 else "going on"
    text = f"{better} is better by {share(abs(gain.mean)):.1%} (limit {share(limit):.1%})"
    return Verdict(gain.mean > limit, text, gain.mean, limit)
