"""Losses. Each module holds one loss or one family; the registry imports them all.

A loss is an `nn.Module` whose `forward(inputs: LossInputs)` returns a scalar: a mean over the samples, so
that `loss(batch repeated) == loss(batch)` and micro-batches can be weighted by their size. Its attribute
`pixel` (of the class) says whether it compares all values at their places, and so can anchor other losses.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from traiNNer.registry import Registry

LOSSES: Registry[nn.Module] = Registry("loss", package=__name__)


@dataclass(frozen=True)
class LossInputs:
    """Everything a loss may look at, so that all losses share one signature. Float32, RGB, 0 to 1."""

    output: Tensor
    """(n, 3, h * scale, w * scale), what the generator made; not clamped."""
    gt: Tensor
    """(n, 3, h * scale, w * scale), what it should have made."""
    lq: Tensor
    """(n, 3, h, w), what it was given."""
