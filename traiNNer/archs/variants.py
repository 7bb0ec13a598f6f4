"""Named variants of a network: the same parameters with other defaults."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

from torch import nn


def variant(network: Callable[..., nn.Module], **defaults: Any) -> Callable[..., nn.Module]:
    """A factory with the parameters of a network's class or factory, and other defaults.

    `inspect.unwrap` of the factory gives `network`.
    """
    hints = get_type_hints(network.__init__ if inspect.isclass(network) else network)
    parameters = [
        p.replace(annotation=hints[name], default=defaults.get(name, p.default))
        for name, p in inspect.signature(network).parameters.items()
    ]

    def build(**options: Any) -> nn.Module:
        return network(**{**defaults, **options})

    functools.update_wrapper(build, network, assigned=("__doc__",), updated=())
    build.__signature__ = inspect.Signature(parameters)
    build.__annotations__ = {p.name: p.annotation for p in parameters}
    return build
