"""Every optimizer of torch by name, with its arguments checked.

The constructors of torch are the schema: names, types and defaults are read from them, so an optimizer that a
later torch brings is available at once.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, Optimizer

from traiNNer.optim.external_optimizers import (
    NO_SUCH_AVERAGE,
    external_optimizers,
    group_state,
    is_external,
)
from traiNNer.registry import ConfigError, Problem, Registry, normalise

OPTIMIZERS: Registry[Optimizer] = Registry("optimizer", package="traiNNer.optim")

_REFUSED = {
    "optimizer": "Optimizer is the base of all; take AdamW",
    "lbfgs": "LBFGS computes the loss several times in a step, on batches that must not change; take AdamW",
    "sparseadam": "SparseAdam is for sparse gradients, which no network here has; take AdamW",
}


def _plain(hint: Any) -> Any:
    """A type without the tensors that torch allows in place of numbers: no configuration holds a tensor."""
    arguments = tuple(_plain(argument) for argument in get_args(hint) if argument is not Tensor)
    if get_origin(hint) in (Union, types.UnionType):
        return Union[arguments]  # noqa: UP007  (the operator takes no tuple of types)
    return tuple[arguments] if get_origin(hint) is tuple else hint


def _checked(kind: type[Optimizer]) -> Callable[..., Optimizer]:
    """The constructor with a signature that a configuration can be checked by."""

    light = _without_compiler(kind)

    def construct(params: Iterable[Any], **options: Any) -> Optimizer:
        return light(params, **options)

    construct.__annotations__ = {key: _plain(hint) for key, hint in get_type_hints(kind.__init__).items()}
    construct.__dict__["__signature__"] = inspect.signature(kind)
    return construct


def _without_compiler(kind: type[Optimizer]) -> type[Optimizer]:
    """The same optimizer, which does not import torch's compiler (torch._dynamo).

    torch does so to keep the compiler out of optimizers, compiled or not: 2 of the 5 CPU seconds of a start.
    Nothing here compiles an optimizer.
    """
    for method in vars(Optimizer).values():
        plain = getattr(method, "__wrapped__", None)
        if plain is not None:  # where torch/_compile.py keeps what it found to call
            plain.__dict__.setdefault("__dynamo_disable", plain)
    return type(kind.__name__, (kind,), {"step": torch.no_grad()(inspect.unwrap(kind.step))})


for _name, _kind in vars(torch.optim).items():
    # torch's Muon takes matrices alone; the one of pytorch-optimizer takes convolutions
    _ours = not is_external(_name) and normalise(_name) not in _REFUSED
    if inspect.isclass(_kind) and issubclass(_kind, Optimizer) and _ours:
        OPTIMIZERS.register(_name)(_checked(_kind))


AUTO = "auto"
STARTING_RATES = {
    "adam": 5e-4, "adamw": 5e-4, "nadam": 5e-4, "radam": 5e-4, "adamax": 5e-4, "rmsprop": 5e-4,
    "adafactor": 1e-2, "adagrad": 1e-2, "sgd": 1e-1, "asgd": 1e-1,
}  # fmt: skip
"""Where a search for the rate starts (`lr: auto`), by normalised name; it reaches 128 times less and more."""


def with_starting_rate(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same with a number for `lr: auto` where one is known."""
    kind = normalise(str(spec.get("type", "AdamW")))
    if spec.get("lr") != AUTO or kind not in STARTING_RATES:
        return spec
    return {**spec, "lr": STARTING_RATES[kind]}


def check_optimizer(spec: Mapping[str, Any]) -> list[Problem]:
    """Everything that is wrong with `{"type": "AdamW", "lr": 2e-4, ...}`; without a type it means AdamW."""
    spec = with_starting_rate({"type": "AdamW", **spec})
    reason = _REFUSED.get(normalise(str(spec["type"])))
    if reason:
        return [Problem(("type",), reason)]
    if spec.get("lr") == AUTO:
        known = ", ".join(name for name in OPTIMIZERS.names() if normalise(name) in STARTING_RATES)
        return [Problem(("lr",), f"auto is for {known}; write a number for {spec['type']}")]
    try:
        registry = _registry(str(spec["type"]))
    except ConfigError as error:
        return [Problem(("type",), str(error))]
    problems = registry.check(spec, given=("params",))
    if problems:
        return problems
    if float(spec.get("lr", 1)) <= 0:
        return [Problem(("lr",), f"should be above 0 (got {spec['lr']})")]
    try:  # ranges are known to the constructors alone
        registry.build(spec, params=[nn.Parameter(torch.zeros(2, 2))])
    except ConfigError as error:
        return [Problem((), text) for text in error.messages]
    return []


def build_optimizer(spec: Mapping[str, Any], params: Iterable[Any]) -> Optimizer:
    """The optimizer that `spec` describes, over parameters or groups of them.

    The fused kernel is taken where class, device and type of the parameters have one, unless `fused` or
    `foreach` is given: it is the fastest, and it can skip a step on the device.

    Raises:
        ConfigError: With every problem of the spec, or where the parameters do not suit the optimizer.
    """
    spec = with_starting_rate({"type": "AdamW", **spec})
    name = f"optimizer {spec['type']!r}"
    problems = check_optimizer(spec)
    if problems:
        raise ConfigError([": ".join((name, *map(str, p.path), p.message)) for p in problems])
    groups = list(params)
    registry = _registry(spec["type"])
    if "capturable" in registry.parameters(spec["type"]) and _on_cuda(groups):
        spec = {"capturable": True, **spec}  # step counters on the device, where a step can be skipped
    optimizer = registry.build(spec, params=groups)
    chosen = any(spec.get(key) is not None for key in ("fused", "foreach"))
    fused = {**spec, "fused": True}
    if not chosen and "fused" in optimizer.defaults and _runs(fused, optimizer):
        return OPTIMIZERS.build(fused, params=groups)
    return optimizer


def _registry(kind: str) -> Registry[Optimizer]:
    if normalise(kind).startswith(NO_SUCH_AVERAGE):
        raise ConfigError(f"{kind} does not exist here; take ScheduleFreeAdamW (adamw_sf)")
    return external_optimizers() if is_external(kind) else OPTIMIZERS


def _on_cuda(groups: list[Any]) -> bool:
    first = groups[0]["params"][0] if isinstance(groups[0], dict) else groups[0]
    return first.is_cuda


def _runs(spec: Mapping[str, Any], like: Optimizer) -> bool:
    """Whether the optimizer can step where the parameters of another one are; torch knows only by trying."""
    kinds = {(param.device, param.dtype) for group in like.param_groups for param in group["params"]}
    probes = [nn.Parameter(torch.zeros(1, device=device, dtype=dtype)) for device, dtype in kinds]
    for probe in probes:
        probe.grad = torch.zeros_like(probe)
    try:
        OPTIMIZERS.build(spec, params=probes).step()
    except RuntimeError:
        return False
    return True


def is_adam_like(optimizer: Optimizer) -> bool:
    """Whether steps do not grow with the gradient, so that the rate follows the square root of the batch.

    True for all but SGD and ASGD, whose rate follows the batch itself (Goyal et al. 2017; for the others
    Malladi et al. 2022).
    """
    return not isinstance(optimizer, SGD | torch.optim.ASGD)


def has_device_skip(optimizer: Optimizer) -> bool:
    """Whether the step reads `found_inf` and `grad_scale` on the device, as fused kernels do.

    False for SGD with momentum: torch (2.15) leaves the momentum uninitialised where it skips the first step.
    """
    if not all(group.get("fused") for group in optimizer.param_groups):
        return False
    if isinstance(optimizer, SGD):
        return all(group["momentum"] == 0 for group in optimizer.param_groups)
    return isinstance(optimizer, Adam | Adagrad)


def counts_on_host(optimizer: Optimizer) -> bool:
    """Whether steps are counted on the host: Adagrad and Adafactor do for any device, others in their groups."""
    moments = [
        (p, m) for p, state in optimizer.state.items() for m in state.values() if isinstance(m, Tensor)
    ]
    return any(group_state(optimizer)) or any(moment.device != p.device for p, moment in moments)
