"""Telling by names and shapes which network of our own a file of weights belongs to.

A family teaches this its files by a function under `@recognises(...)`: it says which network this is, what follows
for its parameters, and what the file cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

from traiNNer.archs.weights_file import Weights


@dataclass(frozen=True)
class Guess:
    """What names and shapes tell about the network of a file."""

    type: str
    """A name of the registry."""
    options: dict[str, Any]
    """Parameters that follow from the file."""
    assumed: dict[str, Any] = field(default_factory=dict)
    """Parameters that the file does not tell but that all published files of this kind share."""
    asks: tuple[str, ...] = ()
    """Parameters that the file does not tell and nobody can know: metadata or an override must say them."""
    completion: dict[str, Tensor] = field(default_factory=dict)
    """Weights that older files leave out, with the values that change nothing."""


_Infer: TypeAlias = Callable[[Weights], Guess]


class Detector(NamedTuple):
    """Whether weights are of a family, and which network of it they are."""

    applies: Callable[[Weights], bool]
    infer: _Infer


DETECTORS: list[Detector] = []
"""What `recognises` has registered, in the order in which files are tried."""


def recognises(applies: Callable[[Weights], bool]) -> Callable[[_Infer], _Infer]:
    """A decorator: the function says what network weights belong to if `applies` is true of them.

    `applies` must be false for the files of all other families. The function may raise ConfigError for files
    that it knows and does not support.
    """

    def add(infer: _Infer) -> _Infer:
        DETECTORS.append(Detector(applies, infer))
        return infer

    return add
