"""Optimizers of the package pytorch-optimizer, which is imported when one of them is asked for.

They count their steps, and Prodigy keeps its distance, in the parameter groups, beside the settings:
`group_state` and `with_group_state` keep that in training states, so that a resumed run is the same run. What is a
setting there, the groups as they were made tell.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_type_hints
from weakref import WeakKeyDictionary

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
    "Muon",
    "Prodigy",
    "ScheduleFreeAdamW",
    "ScheduleFreeRAdam",
    "ScheduleFreeSGD",
    "SOAP",
    "StableAdamW",
    "Tiger",
)
"""Those that are tested here: through skipped steps, and stopped and resumed to the same bits."""
_ALSO = {"ScheduleFreeAdamW": ("adamw_sf", "AdamWScheduleFree")}
"""Names of other trainers."""
NO_SUCH_AVERAGE = ("adansf", "soapsf", "adanschedulefree", "schedulefreewrapper")
"""How names begin of schedule-free optimizers that the package has not."""


_MADE: WeakKeyDictionary[Optimizer, list[dict[str, Any]]] = WeakKeyDictionary()
"""The groups of each optimizer of the package as it was made, without what is trained."""


def is_external(kind: str) -> bool:
    """Whether an optimizer is of this package, by its name."""
    return _own_name(kind) is not None


def is_schedule_free(kind: str) -> bool:
    """Whether an optimizer averages the weights itself, by its name."""
    return (_own_name(kind) or "").startswith("ScheduleFree")


def _own_name(kind: str) -> str | None:
    """The package's name of an optimizer; None where it has none of that kind."""
    spellings = ((name, (name, *_ALSO.get(name, ()))) for name in NAMES)
    return next((name for name, also in spellings if normalise(kind) in map(normalise, also)), None)


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
            "needs the package pytorch-optimizer, newer than this installation: pip install pytorch-optimizer"
        ) from None
    registry: Registry[Optimizer] = Registry("optimizer", package="traiNNer.optim")
    for name in NAMES:
        if name != "Muon":
            registry.register(name, *_ALSO.get(name, ()))(_checked(getattr(package, name)))
    registry.register("Muon")(_muon_of(package.Muon))
    return registry


def _checked(kind: type[Optimizer]) -> Callable[..., Optimizer]:
    """The constructor without what a configuration cannot hold: functions and arguments of any name."""

    def construct(params: Iterable[Any], **options: Any) -> Optimizer:
        return _remembered(kind(params, **options))

    signature = inspect.signature(kind)
    plain = [
        p
        for p in signature.parameters.values()
        if p.kind is not inspect.Parameter.VAR_KEYWORD and not callable(p.default)
    ]
    construct.__annotations__ = get_type_hints(kind.__init__)
    # its own annotations of betas allow two and three, where each optimizer takes as many as it has defaults
    construct.__annotations__ |= {
        p.name: tuple[(float,) * len(p.default)] for p in plain if isinstance(p.default, tuple)
    }
    construct.__annotations__["lr"] = float
    construct.__dict__["__signature__"] = signature.replace(parameters=plain)
    return construct


def _remembered(optimizer: Optimizer) -> Optimizer:
    _MADE[optimizer] = [
        {key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups
    ]
    return optimizer


def _muon_of(kind: Callable[..., Optimizer]) -> Callable[..., Optimizer]:
    def muon(
        params: Iterable[Tensor],
        *,
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        nesterov: bool = True,
        ns_steps: int = 5,
        use_adjusted_lr: bool = False,
        adamw_lr: float = 3e-4,
        adamw_betas: tuple[float, float] = (0.9, 0.95),
        adamw_wd: float = 0.0,
        adamw_eps: float = 1e-10,
    ) -> Optimizer:
        """Muon for the weights of convolutions and linear layers, AdamW for all other parameters.

        K. Jordan et al., Muon, 2024: the momentum of a weight, as a matrix of one row for each output channel, is
        replaced by the orthogonal matrix nearest to it. What is no such matrix has AdamW: biases, slopes, scales
        of norms, and weights with a single row or column.
        """
        weights, rest = [], []
        for parameter in params:
            matrix = parameter.ndim >= 2 and 1 < len(parameter) < parameter.numel()
            (weights if matrix else rest).append(parameter)
        own = {"lr": lr, "weight_decay": weight_decay, "use_muon": True}
        adam = {"lr": adamw_lr, "betas": adamw_betas, "weight_decay": adamw_wd, "eps": adamw_eps}
        groups = [{"params": weights, **own}] if weights else []
        groups += [{"params": rest, **adam, "use_muon": False}] if rest else []
        settings = {"momentum": momentum, "nesterov": nesterov, "ns_steps": ns_steps}
        return _remembered(kind(groups, use_adjusted_lr=use_adjusted_lr, **settings))

    return muon


def group_state(optimizer: Optimizer) -> list[dict[str, Any]]:
    """What an optimizer has written into each of its groups itself; nothing for those of torch."""
    made = _made(optimizer)
    return [
        {
            key: value
            for key, value in group.items()
            if key not in ("params", "lr")
            and (key not in settings or isinstance(value, Tensor) or value != settings[key])
        }
        for group, settings in zip(optimizer.param_groups, made, strict=True)
    ]


def _made(optimizer: Optimizer) -> Sequence[Mapping[str, Any]]:
    """The settings of each group, of which those of torch have the same in all."""
    return _MADE.get(optimizer) or [optimizer.defaults] * len(optimizer.param_groups)


def with_group_state(optimizer: Optimizer, kept: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """The groups of an optimizer's state dict with what `group_state` gave, and nothing that came after it.

    States from before it have none.
    """
    forget_group_state(optimizer)
    groups = optimizer.state_dict()["param_groups"]
    return [{**group, **own} for group, own in zip(groups, kept or [{}] * len(groups), strict=True)]


def forget_group_state(optimizer: Optimizer) -> None:
    """Put the groups back to what they were made with."""
    made = _made(optimizer)
    for group, own, settings in zip(optimizer.param_groups, group_state(optimizer), made, strict=True):
        for key in own:
            if key in settings:
                group[key] = settings[key]
            else:
                del group[key]
