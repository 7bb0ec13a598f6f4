"""The experiments with `lr: auto`: what it finds, beside rates that are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from automation_experiments.settings import HEALTHY, NETWORKS, RISE, SEARCH, Arms
from traiNNer.automations.rate.rate_search import RAISED_LATER
from traiNNer.optim.optimizers import STARTING_RATES
from traiNNer.registry import normalise

ADAMW: Mapping[str, Any] = {"type": "AdamW", "weight_decay": 0}
SGD: Mapping[str, Any] = {"type": "SGD", "momentum": 0.9}


class Searched(NamedTuple):
    """Where a rate is searched for, and a grid of factors of two to compare with."""

    network: str
    """One of NETWORKS."""
    optimizer: Mapping[str, Any]
    lowest: float
    rates: int
    """How many the grid has."""
    best: float
    """Of them, mean over the seeds that have run."""
    steps: int = 2000


SEARCHED = {
    "compact 8x2, AdamW": Searched("compact 8x2", ADAMW, 1e-3, 6, 8e-3),
    "compact 8x2, SGD": Searched("compact 8x2", SGD, 0.025, 7, 0.8),
    "compact 16x2, AdamW": Searched("compact 16x2", ADAMW, 1e-3, 6, 4e-3),
    "compact 16x2, SGD": Searched("compact 16x2", SGD, 0.025, 7, 0.8),
    "paragonsr2 nano, AdamW": Searched("paragonsr2 nano", ADAMW, 1e-3, 6, 0.016),
    "paragonsr2 nano, SGD": Searched("paragonsr2 nano", SGD, 0.1, 5, 0.8),
    "compact 32x4, AdamW": Searched("compact 32x4", ADAMW, 1e-3, 5, 2e-3),
    "compact 8x2, AdamW, 10,000 steps": Searched("compact 8x2", ADAMW, 4e-3, 3, 8e-3, 10_000),
    "compact 8x2, SGD, 10,000 steps": Searched("compact 8x2", SGD, 0.4, 2, 0.8, 10_000),
}
STARTS = {"1/64": 1 / 64, "1/8": 1 / 8, "8": 8.0, "64": 64.0}
"""Where a search starts, times the best rate of the grid."""


def rate_search() -> dict[str, Arms]:
    """By network and optimizer: written rates, and searches from the usual rate and from others.

    The searches are not trained on: a run after one is that of the written rate, which a test shows. Where the
    rate is raised later that is not so, and the search from the usual rate is a whole run.
    """
    found: dict[str, Arms] = {}
    for text, case in SEARCHED.items():
        base = replace(
            HEALTHY,
            network=NETWORKS[case.network][0],
            optimizer=case.optimizer,
            steps=case.steps,
            validations=4,
        )
        rates = [case.lowest * 2**power for power in range(case.rates)]
        usual = STARTING_RATES[normalise(case.optimizer["type"])]
        first = 0.0 if case.optimizer["type"] in RAISED_LATER else usual
        starts = {"usual": first, **{name: case.best * times for name, times in STARTS.items()}}
        found[text] = {
            **{f"{rate:g}": replace(base, lr=rate) for rate in rates},
            **{
                f"from {name}": replace(base, lr=0.0, searched=SEARCH if start else RISE, start=start)
                for name, start in starts.items()
            },
        }
    return found
