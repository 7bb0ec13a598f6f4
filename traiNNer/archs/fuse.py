"""Folding for release: parts that are fixed or linear become fewer operations with the same output."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod

from torch import nn


class Foldable(nn.Module, ABC):
    """A module that knows a replacement of fewer operations with the same output."""

    @abstractmethod
    def fold(self) -> nn.Module:
        """The replacement. It may share or change this module's parts: fold copies only."""


def fuse(net: nn.Module) -> nn.Module:
    """A copy of `net` for inference: fewer operations, the same output up to rounding, other state-dict keys.

    Resampler taps become the filters of one convolution, layer scales and gains go into the convolution
    before them, residual sums into its centre tap. The copy is in evaluation mode and takes no gradients;
    networks without anything to fold are copied as they are.
    """
    net = copy.deepcopy(net).eval().requires_grad_(False)
    return _folded(net)


def _folded(module: nn.Module) -> nn.Module:
    if isinstance(module, Foldable):
        return module.fold()
    for name, child in module.named_children():
        setattr(module, name, _folded(child))
    return module
