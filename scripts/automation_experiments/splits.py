"""The same batch in smaller pieces, and memory that runs out: what that does to the weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from automation_experiments.plans import GOOD_RATE
from automation_experiments.runs import Laboratory
from automation_experiments.settings import BASE, Setting

PIECES = (16, 8, 4, 1)  # samples per forward
FAILURES = 3  # of the memory in a run

_WHOLE = Setting(seed=0, lr=GOOD_RATE, steps=50, batch=16, micro_batch=16, validations=1)


def key(seed: int) -> str:
    """Of the line that holds what `measure` finds."""
    return json.dumps({"experiment": "splits", "seed": seed, "base": BASE}, sort_keys=True)


def measure(laboratory: Laboratory, seed: int) -> dict[str, Any]:
    """Largest differences between weights, relative to the largest weight.

    Of the splits to the whole batch; of a run whose memory runs out in the first step, at a random piece of
    each size above 4, to the run that begins with pieces of 4; of a run whose memory runs out at random
    moments to the whole batch.
    """

    def weights(pieces: int, fails: Callable[[int], bool] = lambda call: False) -> Tensor:
        return laboratory.weights(replace(_WHOLE, seed=seed, micro_batch=pieces), fails)

    whole, fours = weights(16), weights(4)
    others = {pieces: weights(pieces) for pieces in PIECES if pieces not in (16, 4)} | {4: fours}
    rng = np.random.default_rng(seed)
    second = int(rng.integers(1, 3))  # the first attempt is one call, the second two
    moments = set(rng.choice(_WHOLE.steps, FAILURES, replace=False).tolist())
    return {
        "splits": {str(pieces): _distance(found, whole) for pieces, found in sorted(others.items())},
        "first step": _distance(weights(16, lambda call: call in (0, second)), fours),
        "random steps": _distance(weights(16, lambda call: call in moments), whole),
    }


def _distance(one: Tensor, other: Tensor) -> float:
    return float(f"{((one - other).abs().max() / other.abs().max()).item():.2g}")
