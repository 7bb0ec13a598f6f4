"""`lr: auto` against the best of a grid of rates, and how well trials and whole runs agree on their order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import StatisticsError, correlation, fmean
from typing import Any

from automation_experiments.plans import rate_search
from automation_experiments.results import Results
from automation_experiments.settings import Setting
from automation_experiments.tables import table


def rate_search_table(results: Results) -> str:
    """A row for each network and optimizer that has run."""
    rows: list[list[object]] = []
    for condition, arms in rate_search().items():
        grid = dict(arms)
        auto = grid.pop("auto")
        best = results.best(grid)
        if not best or not results.of(auto):
            continue
        found = [run["decisions"][-1][4] for _, run in sorted(results.of(auto).items())]
        ranks = _agreement(results, auto, grid)
        rows.append(
            [
                condition,
                len(results.of(auto)),
                ", ".join(f"{rate}: {results.shown(arm)}" for rate, arm in grid.items() if results.of(arm)),
                ", ".join(f"{rate:g}" for rate in found),
                results.shown(auto),
                results.difference(auto, grid[best]),
                f"{ranks:.2f}" if math.isfinite(ranks) else "",
            ]
        )
    header = [
        "network, optimizer",
        "runs",
        "written rate: PSNR",
        "rates found",
        "PSNR",
        "- best written",
        "Spearman",
    ]
    return table(header, rows)


def _agreement(results: Results, auto: Setting, grid: Mapping[str, Setting]) -> float:
    """Mean over the seeds of Spearman's correlation of trial and run, over the rates that both have."""
    finals = {name: results.psnr(arm) for name, arm in grid.items()}
    return _mean([_of_seed(run, seed, finals) for seed, run in results.of(auto).items()])


def _of_seed(run: Mapping[str, Any], seed: int, finals: Mapping[str, Mapping[int, float]]) -> float:
    start = run["decisions"][-1][3]
    tried = {f"{start * factor:g}": level for _, factor, level in run["trials"] if level is not None}
    both = [name for name in tried if seed in finals.get(name, {})]
    try:
        return correlation(_ranks([-tried[n] for n in both]), _ranks([finals[n][seed] for n in both]))
    except StatisticsError:  # fewer than two rates
        return math.nan


def _ranks(values: Sequence[float]) -> list[int]:
    ordered = sorted(values)
    return [ordered.index(value) for value in values]


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return fmean(finite) if finite else math.nan
