"""The decisions on the learning rate, and the schedule of a run whose configuration has none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from traiNNer.automations.statistics import share
from traiNNer.control import Plain, Ramp, RollBack, SetLearningRateFactor, Stop
from traiNNer.wording import counted


@dataclass(frozen=True)
class ScheduleFallback(Plain):
    """The base schedule of a run whose configuration has none."""

    scheduler_type: str = "cosine"
    scheduler_params: dict[str, Any] = field(default_factory=dict)


def set_factor(
    new: float, why: str, statistic: float | None = None, limit: float | None = None
) -> SetLearningRateFactor:
    """Change the factor."""
    return SetLearningRateFactor(factor=new, reason=why, statistic=statistic, limit=limit)


def roll_back(new: float, why: str, rewarm: Ramp | None, arm: str = "") -> RollBack:
    """Return to the last healthy weights with a lower factor, or to where an arm of a trial took them."""
    return RollBack(factor=new, rewarm=rewarm, arm=arm, level="WARNING", reason=f"blow-up ({why})")


def give_up(why: str, *, asked: int, refused: int) -> Stop:
    """End the run with the best weights: returns were asked for, some of them not made, and did not help."""
    text = f"the network blew up again after {asked} returns"
    if refused:
        text = f"the network is still blown up: {asked} returns were asked for, {asked - refused} made"
    return Stop(rule="broken", restore_best=True, reason=f"{text} ({why})", counts=False, level="ERROR")


def in_words(gain: float, bound: float, steps: int) -> str:
    """How the loss went.

    Args:
        gain: By which its logarithm fell; negative where it rose.
        bound: Upper confidence bound of `gain`.
        steps: In which it did.
    """
    span, gain, bound = counted(steps, "step"), share(gain), share(bound)
    if gain >= 0:
        return f"loss improved by {gain:.2%} in {span}, at most {bound:.2%}"
    at_best = f"improved by {bound:.2%}" if bound >= 0 else f"rose by {-bound:.2%}"
    return f"loss rose by {-gain:.2%} in {span}, at best {at_best}"
