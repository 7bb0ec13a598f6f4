"""The ways to turn differences into one number that users choose among by name."""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor

Criterion: TypeAlias = Literal["l1", "l2", "charbonnier"]

_EPS = 1e-12  # as the default of CharbonnierLoss


def mean_error(difference: Tensor, criterion: Criterion) -> Tensor:
    """The mean of |d| (`l1`), d^2 (`l2`) or sqrt(d^2 + 1e-12) (`charbonnier`) over all values."""
    match criterion:
        case "l1":
            return difference.abs().mean()
        case "l2":
            return difference.square().mean()
        case "charbonnier":
            return (difference.square() + _EPS).sqrt().mean()
