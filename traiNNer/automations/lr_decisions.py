"""Decisions on the learning rate in the words that users search for, and what the run falls back to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from traiNNer.control import Plain, Ramp, RollBack, SetLearningRateFactor, Stop


@dataclass(frozen=True)
class ScheduleFallback(Plain):
    """The base schedule of a run whose configuration has none."""

    scheduler_type: str = "cosine"
    scheduler_params: dict[str, Any] = field(default_factory=dict)


def set_factor(
    old: float, new: float, why: str, statistic: float | None = None, limit: float | None = None
) -> SetLearningRateFactor:
    """Change the factor."""
    return SetLearningRateFactor(factor=new, statistic=statistic, limit=limit, **_words(old, new, why))


def roll_back(old: float, new: float, why: str, rewarm: Ramp) -> RollBack:
    """Return to the last healthy weights with a lower factor."""
    return RollBack(factor=new, rewarm=rewarm, level="WARNING", **_words(old, new, f"blow-up ({why})"))


def give_up(why: str) -> Stop:
    """End the run with the best weights."""
    return Stop(
        rule="broken",
        restore_best=True,
        parameter="stop",
        old="running",
        new="broken",
        reason=why,
        counts=False,
        level="ERROR",
        message=f"Training stopped - {why}; the best weights are restored",
    )


def _words(old: float, new: float, why: str) -> dict[str, Any]:
    multiplier = f"{new / old:.2f}"
    return {
        "parameter": "lr_factor",
        "old": old,
        "new": new,
        "reason": why,
        "message": f"Suggested LR multiplier {multiplier} for reason: {why}; factor {old:.3g} -> {new:.3g}",
    }
