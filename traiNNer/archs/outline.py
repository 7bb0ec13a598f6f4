"""Networks in outline: the shapes of their weights, without memory, values or random numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class outline(TorchFunctionMode):  # noqa: N801 (used as a context manager, as torch.no_grad is)
    """Layers made inside have weights on torch's meta device, and nothing fills them.

    `torch.device("meta")` would put everything there: networks that read an index or a rate of stochastic depth
    while they are built then fail, and drawing initial values imports torch's compiler, a second of every start.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        name, first = getattr(func, "__name__", ""), args[0] if args else given.get("tensor")
        in_place = name.endswith("_") and not name.endswith("__") and name != "requires_grad_"
        if (in_place or name == "__set__") and isinstance(first, Tensor) and first.is_meta:
            return first  # it would have become an initial value, or a part of one
        if func is torch.empty:  # what every layer of torch makes its weights with
            given["device"] = "meta"
        return func(*args, **given)
