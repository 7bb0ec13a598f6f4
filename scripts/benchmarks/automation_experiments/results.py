"""Finished runs, looked up by setting, and what two arms of an experiment differ by."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from whole_runs import finished

from automation_experiments.plans import SEEDS
from automation_experiments.settings import Setting

T95 = (math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Two-sided 95 % points of Student's t by degrees of freedom, 0 to 10; tables of any textbook."""

LOWEST = 0.0
"""dB, for a network whose output is not a number."""


class Mean(NamedTuple):
    """A mean over seeds and half its 95 % interval."""

    value: float
    reach: float
    seeds: int

    def __str__(self) -> str:
        match self.seeds:
            case 0:
                return ""
            case 1:
                return f"{self.value:+.3f}"
        return f"{self.value:+.3f} ± {self.reach:.3f}"


class Results:
    """The lines of a file of finished runs.

    Args:
        path: Of the file; it may be missing.
    """

    def __init__(self, path: Path) -> None:
        self.by_key: dict[str, dict[str, Any]] = {
            json.dumps(line["setting"], sort_keys=True): line["result"] for line in finished(path)
        }

    def of(self, arm: Setting, seeds: Sequence[int] = SEEDS) -> dict[int, dict[str, Any]]:
        """By seed, as far as they are there."""
        keys = {seed: arm.with_seed(seed).key for seed in seeds}
        return {seed: self.by_key[key] for seed, key in keys.items() if key in self.by_key}

    def psnr(self, arm: Setting) -> dict[int, float]:
        """PSNR of the last validation, by seed, in dB."""
        return {seed: score(run) for seed, run in self.of(arm).items()}

    def mean(self, arm: Setting) -> float:
        """Mean of the scores, in dB; NaN where there are none."""
        scores = self.psnr(arm).values()
        return fmean(scores) if scores else math.nan

    def shown(self, arm: Setting) -> str:
        """The mean for a table."""
        return f"{self.mean(arm):.3f}" if self.of(arm) else ""

    def difference(self, arm: Setting, base: Setting) -> Mean:
        """How much higher `arm` scores than `base`, seed by seed."""
        mine, others = self.psnr(arm), self.psnr(base)
        return mean_of([mine[seed] - others[seed] for seed in sorted(mine.keys() & others.keys())])

    def best(self, arms: Mapping[str, Setting]) -> str:
        """The name of the arm with the highest mean score; nothing if none has run."""
        there = [name for name in arms if self.of(arms[name])]
        return max(there, key=lambda name: self.mean(arms[name]), default="")

    def recovered(self, off: Setting, on: Setting, good: Setting) -> float:
        """Share of what `off` lacks of `good` that `on` has got back, over the seeds that all three have."""
        scores = [self.psnr(arm) for arm in (off, on, good)]
        seeds = set.intersection(*(set(found) for found in scores))
        low, mine, high = (sum(found[seed] for seed in seeds) for found in scores)
        return (mine - low) / (high - low) if high > low else math.nan

    def count(self, arm: Setting, wanted: Callable[[Sequence[Any]], bool]) -> float:
        """Decisions a run that `wanted` says yes to; each is [step, automation, parameter, old, new, reason]."""
        runs = self.of(arm).values()
        return fmean(sum(map(wanted, run["decisions"])) for run in runs) if runs else math.nan


def score(run: Mapping[str, Any]) -> float:
    """PSNR of the last validation of a run, dB."""
    return LOWEST if run["psnr"] is None else run["psnr"]


def mean_of(values: Sequence[float]) -> Mean:
    """Mean and half its 95 % interval by Student's t; NaN of nothing."""
    if not values:
        return Mean(math.nan, math.nan, 0)
    if len(values) == 1:
        return Mean(values[0], math.inf, 1)
    reach = T95[min(len(values) - 1, len(T95) - 1)] * stdev(values) / math.sqrt(len(values))
    return Mean(fmean(values), reach, len(values))
