"""What trials showed, as a table for the log, TensorBoard and the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from traiNNer.automations.rate.rate_search import SetSearchedRate
from traiNNer.automations.statistics import paired_gain

_TITLES = ("arm", "loss", "behind the best")


def search_text(decision: SetSearchedRate) -> str:
    """The rates that a search has tried, lowest first, as a table; nothing where it tried none."""
    start = decision.rate / decision.factor
    return _table({f"{start * tried.factor:.3g}": tried.losses for tried in decision.tried})


def trial_texts(events: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """The tables of each iteration with trials, from the fields of their TrialEvents.

    Trials of other lengths are other tables; those of a growing rate show nothing that could be compared in one.
    """
    arms: dict[int, dict[int, dict[str, Sequence[float]]]] = {}
    for event in events:
        found = zip(event["arms"], event["scores"], strict=True)
        annealed = {arm["name"]: scores for arm, scores in found if arm.get("growth", 1.0) == 1.0}
        if annealed:
            arms.setdefault(event["step"], {}).setdefault(event.get("steps", 0), {}).update(annealed)
    return {step: "\n\n".join(_table(of) for of in tables.values()) for step, tables in arms.items()}


def _table(arms: Mapping[str, Sequence[float]]) -> str:
    """A line for each arm: its loss, the geometric mean over the held-out batches, and how far it is behind."""
    best = min(filter(None, arms.values()), key=fmean, default=[])
    rows = [_TITLES, *((name, *_cells(losses, best)) for name, losses in arms.items())] if arms else []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _cells(losses: Sequence[float], best: Sequence[float]) -> tuple[str, str]:
    if not losses:
        return "failed", ""
    behind = paired_gain(losses, best)
    return (
        f"{math.exp(fmean(losses)):.5g}",
        "best" if losses is best else f"{behind.mean:.2%} +- {behind.se:.2%}",
    )
