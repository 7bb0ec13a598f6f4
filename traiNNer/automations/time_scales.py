"""Periods that suit the length of a run."""

from __future__ import annotations

from traiNNer.events import RunFacts

LONG_RUN = 10_000
"""Steps of a run from which on the periods are the full ones."""
SHORTEST = 100
"""Steps; in fewer nothing can be told."""


def scaled(period: int, facts: RunFacts) -> int:
    """A period in steps that was chosen for long runs, for this run: a shorter one gets its share of it."""
    return min(period, max(SHORTEST, period * facts.total_iter // LONG_RUN))
