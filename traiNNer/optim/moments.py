"""Whether an optimizer can go on with the moments of a training state."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.optim import Optimizer

Moments: TypeAlias = Mapping[int, Mapping[str, Any]]
"""By the number of the parameter and by name, as in the `state` of torch's state dicts."""


def misfit(optimizer: Optimizer, kind: str, moments: Moments) -> str:
    """Why an optimizer cannot use moments, in words; empty where it can.

    Args:
        optimizer: Of these parameters; one that has moments of its own has them by the same settings.
        kind: The class that made the moments.
        moments: Of the same parameters.
    """
    own = type(optimizer).__name__
    if own != kind:
        return f"{own} cannot use the moments of {kind} and begins without"
    if optimizer.state or not (missing := _missing(optimizer, moments)):
        return ""
    asked = ", ".join(sorted(missing))
    return f"{own} begins without its moments: the new settings ask for {asked}, which they are without"


def _missing(optimizer: Optimizer, moments: Moments) -> set[str]:
    """Moments that settings such as `amsgrad` ask for, by a step of a copy with one parameter of each group."""
    probe: Any = object.__new__(type(optimizer))
    probe.__dict__ = {**optimizer.__dict__, "state": defaultdict(dict), "param_groups": []}
    first, known = 0, dict[nn.Parameter, Mapping[str, Any]]()
    for group in optimizer.param_groups:
        count = len(group["params"])
        index = next((i for i in range(first, first + count) if moments.get(i)), None)
        if index is not None:
            parameter = nn.Parameter(torch.zeros_like(group["params"][index - first]))
            parameter.grad = torch.zeros_like(parameter)
            settings = {key: value for key, value in group.items() if key != "params"}
            probe.param_groups.append({**copy.deepcopy(settings), "params": [parameter]})
            known[parameter] = moments[index]
        first += count
    if known:
        probe.step()
    return {name for p, had in known.items() for name in _names(probe.state[p]) - _names(had)}


def _names(moments: Mapping[str, Any]) -> set[str]:
    return {name for name, value in moments.items() if value is not None}
