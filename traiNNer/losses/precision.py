"""The precision in which losses compute, whatever the network computes in."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(image: Tensor) -> Tensor:
    """The tensor itself in float32 or float64, a float32 copy of a shorter type."""
    return image if image.dtype == torch.float64 else image.float()
