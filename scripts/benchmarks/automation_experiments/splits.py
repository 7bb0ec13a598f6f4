"""The same batch in smaller pieces, and memory that runs out: what that does to the weights.

Rounding differs between the pieces. At a usual rate the weights stay together; at a high one the training itself
lets the difference grow.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from automation_experiments.runs import Laboratory
from automation_experiments.settings import BASE, GOOD_RATE, Setting

RATES = (2e-4, GOOD_RATE)
PIECES = (8, 4, 1)  # samples per forward, instead of 16
FAILURES = 3  # of the memory in a run
FIRST, LATER = "memory runs out twice in the first step", f"memory runs out in {FAILURES} random steps"

_VERSION = 2
_WHOLE = Setting(seed=0, lr=0.0, steps=50, batch=16, micro_batch=16, validations=1)


def key(seed: int) -> str:
    """Key of the line that holds what `measure` finds."""
    return json.dumps(
        {"experiment": "splits", "seed": seed, "version": _VERSION, "base": BASE}, sort_keys=True
    )


def measure(laboratory: Laboratory, seed: int) -> dict[str, Any]:
    """By rate and case, the largest difference between weights, relative to the largest weight."""
    return {f"{rate:g}": _differences(laboratory, replace(_WHOLE, seed=seed, lr=rate)) for rate in RATES}


def _differences(laboratory: Laboratory, setting: Setting) -> dict[str, float]:
    """Largest differences of the weights, as shares of the largest weight.

    Of pieces to the whole batch; of memory that runs out to pieces of 4, and to the whole batch.
    """

    def weights(pieces: int, fails: Callable[[int], bool] = lambda call: False) -> Tensor:
        return laboratory.weights(replace(setting, micro_batch=pieces), fails)

    whole, split = weights(16), {pieces: weights(pieces) for pieces in PIECES}
    rng = np.random.default_rng(setting.seed)
    second = int(rng.integers(1, 3))  # the first attempt is one call, the second two
    moments = set(rng.choice(setting.steps, FAILURES, replace=False).tolist())
    return {
        **{f"in pieces of {pieces}": _distance(found, whole) for pieces, found in split.items()},
        FIRST: _distance(weights(16, lambda call: call in (0, second)), split[4]),
        LATER: _distance(weights(16, lambda call: call in moments), whole),
    }


def _distance(one: Tensor, other: Tensor) -> float:
    return float(f"{((one - other).abs().max() / other.abs().max()).item():.2g}")
