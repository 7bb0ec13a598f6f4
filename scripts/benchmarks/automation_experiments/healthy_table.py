"""Healthy runs with everything off and everything on: what the automations did there, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from automation_experiments.plans import healthy_suite, useful_size
from automation_experiments.results import Results, mean_of, score
from automation_experiments.settings import Arms
from automation_experiments.tables import table

WORST = -0.05
"""dB; what no healthy run may lose."""


def healthy_table(results: Results) -> str:
    """A row for each setting of the suite, its seeds in a row, and a line that sums them up."""
    return _pairs(results, healthy_suite())


def useful_size_table(results: Results) -> str:
    """The same for a larger network."""
    return _pairs(results, useful_size())


def _pairs(results: Results, pairs: Mapping[str, Arms]) -> str:
    rows: list[list[object]] = []
    gains: list[float] = []
    for name, arms in pairs.items():
        off, on = (results.of(arms[arm]) for arm in ("off", "all"))
        seeds = sorted(off.keys() & on.keys())
        if not seeds:
            continue
        found = [score(on[seed]) - score(off[seed]) for seed in seeds]
        gains += found
        acts = zip(*(_acts(on[seed]["decisions"]) for seed in seeds), strict=True)
        columns = [[f"{score(off[seed]):.2f}" for seed in seeds], [f"{gain:+.3f}" for gain in found], *acts]
        rows.append([name, *(", ".join(filter(None, column)) for column in columns)])
    header = ["run", "off: PSNR", "all - off", "trials", "changes of the rate", "ended early"]
    if len(gains) < 2:
        return table(header, rows)
    lost = sum(gain < WORST for gain in gains)
    total = f"{len(gains)} pairs of {len(rows)} settings: mean {mean_of(gains)} dB, lowest {min(gains):+.3f}"
    return f"{table(header, rows)}\n\n{total}; {lost} below {WORST} dB."


def _acts(decisions: Sequence[Sequence[Any]]) -> list[str]:
    """How many trials and changes of the rate there were, and whether the run was stopped."""
    trials = sum(parameter == "trial" for _, _, parameter, *_ in decisions)
    rates = sum(parameter == "lr_factor" for _, _, parameter, *_ in decisions)
    stops = sum(parameter == "stop" for _, _, parameter, *_ in decisions)
    return [str(trials), str(rates), "yes" if stops else ""]
