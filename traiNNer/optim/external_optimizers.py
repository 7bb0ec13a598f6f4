"""Optimizers of the package pytorch-optimizer, which is imported when one of them is asked for.

They count their steps, and Prodigy keeps its distance, in the parameter groups, beside the settings:
`group_state` and `with_group_state` keep that in training states, so that a resumed run is the same run.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_type_hints

from torch import Tensor
from torch.optim import Optimizer

from traiNNer.registry import ConfigError, Registry, normalise

NAMES = (
    "AdaBelief",
    "Adan",
    "AdEMAMix",
    "ADOPT",
    "CAME",
    "Lamb",
    "LaProp",
    "Lion",
    "MARS",
    "Prodigy",
    "SOAP",
    "StableAdamW",
    "Tiger",
)
"""Those that are tested here: through skipped steps, and stopped and resumed to the same bits."""
SCHEDULE_FREE = ("schedulefree", "adamwsf", "adansf", "soapsf", "adamwschedulefree")
"""How names begin of optimizers that train other weights than those that are validated."""


def is_external(kind: str) -> bool:
    """Whether an optimizer is of this package, by its name."""
    return normalise(kind) in map(normalise, NAMES)


@functools.cache
def external_optimizers() -> Registry[Optimizer]:
    """The optimizers of the package by name, with their arguments as its constructors declare them.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        package = importlib.import_module("pytorch_optimizer")
    except ImportError:
        raise ConfigError(
            "needs the package pytorch-optimizer: pip install pytorch-optimizer (the extra `optim`)"
        ) from None
    registry: Registry[Optimizer] = Registry("optimizer", package="traiNNer.optim")
    for name in NAMES:
        registry.register(name)(_checked(getattr(package, name)))
    return registry


def _checked(kind: type[Optimizer]) -> Callable[..., Optimizer]:
    """The constructor without what a configuration cannot hold: functions and arguments of any name."""

    def construct(params: Iterable[Any], **options: Any) -> Optimizer:
        return kind(params, **options)

    signature = inspect.signature(kind)
    plain = [
        p
        for p in signature.parameters.values()
        if p.kind is not inspect.Parameter.VAR_KEYWORD and not callable(p.default)
    ]
    construct.__annotations__ = get_type_hints(kind.__init__)
    construct.__annotations__["lr"] = float
    construct.__dict__["__signature__"] = signature.replace(parameters=plain)
    return construct


def group_state(optimizer: Optimizer) -> list[dict[str, Any]]:
    """What an optimizer has written into each of its groups itself; nothing for those of torch."""
    defaults = optimizer.defaults
    return [
        {
            key: value
            for key, value in group.items()
            if key not in ("params", "lr")
            and (key not in defaults or isinstance(value, Tensor) or value != defaults[key])
        }
        for group in optimizer.param_groups
    ]


def with_group_state(
    groups: Sequence[Mapping[str, Any]], kept: Sequence[Mapping[str, Any]] | None
) -> list[dict[str, Any]]:
    """Groups with what `group_state` gave; states from before it have none."""
    return [{**group, **own} for group, own in zip(groups, kept or [{}] * len(groups), strict=True)]


def forget_group_state(optimizer: Optimizer) -> None:
    """Put the groups back to what they were made with."""
    for group, own in zip(optimizer.param_groups, group_state(optimizer), strict=True):
        for key in own:
            if key in optimizer.defaults:
                group[key] = optimizer.defaults[key]
            else:
                del group[key]
