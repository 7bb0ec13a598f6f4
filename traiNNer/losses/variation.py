"""Losses of the output alone."""

from __future__ import annotations

from torch import Tensor

from traiNNer.losses import LOSSES, Loss, LossInputs
from traiNNer.losses.precision import at_least_float32


@LOSSES.register("TVLoss", "tv", "TotalVariationLoss")
class TVLoss(Loss):
    """Total variation of the output: mean |step to the right| plus mean |step down|; Rudin et al. 1992.

    A penalty on noise, not a comparison: photographs have about 0.04, a constant image has 0.
    """

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, 0 for a constant output."""
        output = at_least_float32(inputs.output)
        right = output[..., 1:] - output[..., :-1]
        down = output[:, :, 1:] - output[:, :, :-1]
        return right.abs().mean() + down.abs().mean()
