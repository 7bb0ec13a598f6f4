"""Telling by spandrel which network of other authors a file of weights belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from traiNNer.archs.detectors import Guess
from traiNNer.archs.published.family import FAMILIES, Family
from traiNNer.registry import ConfigError

OWN = {
    "Compact": "compact",
    "ESRGAN": "esrgan",
    "PLKSR": "realplksr",
    "SPAN": "span",
}
"""Architectures of spandrel that have a network of this program's own."""


class Recognised(NamedTuple):
    """A file of another author's network."""

    guess: Guess
    weights: dict[str, Tensor]
    """Under the names of today, whatever those in the file were."""


def recognise(weights: Mapping[str, Tensor]) -> Recognised | None:
    """What spandrel makes of weights; None where it does not know them.

    Raises:
        ConfigError: For networks that are known and cannot be trained here.
    """
    from spandrel import ModelLoader, UnsupportedModelError  # takes a second, and is rarely needed

    try:
        found = ModelLoader(device="cpu").load_from_state_dict(dict(weights))
    except UnsupportedModelError:
        return None
    except (RuntimeError, ValueError, KeyError, AssertionError, IndexError, TypeError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise ConfigError(f"looks like a network of spandrel, but does not load there ({reason})") from None
    name, model = found.architecture.name, found.model
    family = _family(found.architecture.id, type(model).__name__)
    if family is None:
        known = OWN.get(found.architecture.id)
        variant = f", in a variant that {known} has not" if known else ""
        raise ConfigError(f"is a {name} network{variant}; it can be run, but not trained here")
    options = family.describe({**_arguments(model), "scale": found.scale, "network": type(model).__name__})
    assumed = {key: options.pop(key) for key in family.asks if key in options}
    return Recognised(Guess(family.name, options, assumed), dict(model.state_dict()))


def _arguments(model: nn.Module) -> dict[str, Any]:
    """The arguments of the constructor, as spandrel keeps them, as far as they are plain values."""
    kept: Mapping[str, Any] = model.hyperparameters  # type: ignore[assignment]  # every class of spandrel has it
    return {key: value for key, value in kept.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)


def _family(architecture: str, kind: str) -> Family | None:
    for family in FAMILIES.values():
        exact = family.network or (architecture in OWN and architecture)
        if family.architecture == architecture and exact in (kind, False, ""):
            return family
    return None
