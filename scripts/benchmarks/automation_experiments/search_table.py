"""`lr: auto` against the best of a grid of rates, and how well trials and whole runs agree on their order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import StatisticsError, correlation, fmean
from typing import Any

from automation_experiments.results import Results, mean_of, score
from automation_experiments.search_plans import rate_search
from automation_experiments.settings import WRITTEN_RATE_TRIALS, Arms, Setting
from automation_experiments.tables import table
from traiNNer.automations.rate.written_rate import MARGIN, TAKEN, TRIED
from traiNNer.optim.optimizers import STARTING_RATES
from traiNNer.registry import normalise

STARTS = [name for name in next(iter(rate_search().values())) if name.startswith("from ")]


def written_rates_table(results: Results) -> str:
    """What every written rate has reached; the best is in bold."""
    rows: list[list[object]] = []
    for condition, arms in rate_search().items():
        grid = _grid(arms)
        best = results.best(grid)
        shown = {rate: results.shown(arm) for rate, arm in grid.items() if results.of(arm)}
        if shown:
            cells = (f"{rate}: {f'**{psnr}**' if rate == best else psnr}" for rate, psnr in shown.items())
            rows.append([condition, len(results.of(grid[best])), ", ".join(cells)])
    return table(["network, optimizer", "seeds", "written rate: PSNR"], rows)


def rate_search_table(results: Results) -> str:
    """By where the search starts, the rates found (one a seed) and how they end against the best of the grid."""
    rows: list[list[object]] = []
    for condition, arms in rate_search().items():
        if not results.best(_grid(arms)):
            continue
        found = [_found(results, arms, start) for start in STARTS]
        ranks = _agreement(results, arms)
        rows.append([condition, *found, f"{ranks:.2f}" if math.isfinite(ranks) else ""])
    return table(["network, optimizer", *STARTS, "Spearman"], rows)


def higher_rate_table(results: Results) -> str:
    """Which written rates WrittenRateTrial doubles by the trials above, and what whole runs gain by that."""
    rows: list[list[object]] = []
    for condition, arms in rate_search().items():
        finals = {float(name): results.psnr(arm) for name, arm in _grid(arms).items()}
        arms = {**arms, **{start: _of_written_rates(arms[start]) for start in STARTS}}
        gains: dict[float, list[float]] = {}
        for seed in _seeds(results, arms):
            tried = {float(rate): level for rate, level in _tried(results, arms, seed).items()}
            for rate in (
                r for r in finals if tried.get(TRIED * r, math.inf) < tried.get(r, -math.inf) - MARGIN
            ):
                low, high = (finals.get(r, {}).get(seed) for r in (rate, TAKEN * rate))
                if low is not None and high is not None:
                    gains.setdefault(rate, []).append(high - low)
        every = [gain for found in gains.values() for gain in found]
        if every:
            cells = (f"{rate:g}: {fmean(found):+.3f}" for rate, found in sorted(gains.items()))
            rows.append([condition, ", ".join(cells), len(every), f"{min(every):+.3f}"])
    return table(["network, optimizer", "doubled rate: gain", "runs", "lowest"], rows)


def _seeds(results: Results, arms: Arms) -> list[int]:
    return sorted({seed for start in STARTS for seed in results.of(arms[start])})


def _tried(results: Results, arms: Arms, seed: int) -> dict[str, float]:
    """By rate, the loss after a trial, of the searches from every start."""
    found: dict[str, float] = {}
    for arm in (arms[start] for start in STARTS):
        found |= _losses(arm, results.of(arm).get(seed, {"trials": []}))
    return found


def _of_written_rates(search: Setting) -> Setting:
    """A search whose trials were those that a written rate has."""
    return replace(search, searched=WRITTEN_RATE_TRIALS, start=_start(search))


def _start(search: Setting) -> float:
    return search.start or STARTING_RATES[normalise(search.optimizer["type"])]


def _grid(arms: Arms) -> Arms:
    return {name: arm for name, arm in arms.items() if not name.startswith("from ")}


def _found(results: Results, arms: Arms, start: str) -> str:
    """The difference to the best of the grid, the lowest one, and the rates; a `?`: that run is not trained."""
    grid = _grid(arms)
    best = results.psnr(grid[results.best(grid)])
    rates, gains = [], []
    for seed, run in sorted(results.of(arms[start]).items()):
        found = [new for _, _, parameter, _, new, _ in run["decisions"] if parameter == "lr"]
        rate = f"{found[-1]:.3g}"
        from_the_start = rate in grid and len(found) == 1
        reached = results.psnr(grid[rate]) if from_the_start else {}
        reached |= {seed: score(run)} if "psnr" in run else {}
        known = seed in reached and seed in best
        gains += [reached[seed] - best[seed]] if known else []
        rates.append(rate if known else f"{rate}?")
    lowest = f", lowest {min(gains):+.3f}" if len(gains) > 1 else ""
    return f"{mean_of(gains) if gains else ''}{lowest} ({', '.join(rates)})" if rates else ""


def _agreement(results: Results, arms: Arms) -> float:
    """Mean over the seeds of Spearman's correlation of trial and run, over the rates that both have."""
    finals = {name: results.psnr(arm) for name, arm in _grid(arms).items()}
    return _mean([_of_seed(results, arms, seed, finals) for seed in _seeds(results, arms)])


def _of_seed(results: Results, arms: Arms, seed: int, finals: Mapping[str, Mapping[int, float]]) -> float:
    tried = _tried(results, arms, seed)
    both = [name for name in tried if seed in finals.get(name, {})]
    try:
        return correlation(_ranks([-tried[n] for n in both]), _ranks([finals[n][seed] for n in both]))
    except StatisticsError:  # fewer than two rates
        return math.nan


def _losses(arm: Setting, run: Mapping[str, Any]) -> dict[str, float]:
    """By rate, the logarithm of the loss after a trial; those of all starts are of the same trials.

    Longer trials, and those of a growing rate, are left out.
    """
    shortest = min((steps for steps, _, _ in run["trials"]), default=0)
    tried = [(factor, level) for steps, factor, level in run["trials"] if steps == shortest]
    return {f"{_start(arm) * factor:g}": level for factor, level in tried if level is not None}


def _ranks(values: Sequence[float]) -> list[int]:
    ordered = sorted(values)
    return [ordered.index(value) for value in values]


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return fmean(finite) if finite else math.nan
