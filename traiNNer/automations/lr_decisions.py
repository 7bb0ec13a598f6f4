"""The decisions on the learning rate in the words that users search their logs for."""

from __future__ import annotations

from typing import Any

from traiNNer.control import Ramp, RollBack, SetLearningRateFactor, Stop


def set_factor(
    old: float, new: float, why: str, statistic: float | None, limit: float | None
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
