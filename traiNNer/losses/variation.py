"""Losses of the output alone."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from traiNNer.losses import LOSSES, LossInputs
from traiNNer.losses.precision import at_least_float32


@LOSSES.register("TVLoss", "tv", "TotalVariationLoss")
class TVLoss(nn.Module):
    """Total variation of the output: mean |step to the right| plus mean |step down|; Rudin et al. 1992.

    A penalty on noise, not a comparison: photographs have about 0.04, a constant image has 0.
    """

    pixel: ClassVar[bool] = False

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, 0 for a constant output."""
        output = at_least_float32(inputs.output)
        right = output[..., 1:] - output[..., :-1]
        down = output[:, :, 1:] - output[:, :, :-1]
        return right.abs().mean() + down.abs().mean()
