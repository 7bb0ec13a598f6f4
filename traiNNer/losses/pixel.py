"""Losses that compare each value with the one at the same place.

All are means over samples, channels and pixels of values in 0..1, so they do not depend on the size of the
patch; a network near 30 dB has an L1 of about 0.02 and an MSE of about 0.001.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from traiNNer.losses import LOSSES, Loss, LossInputs
from traiNNer.losses.colour import luma
from traiNNer.losses.precision import at_least_float32


@LOSSES.register("L1Loss", "l1", "MAELoss")
class L1Loss(Loss):
    """Mean absolute difference, |output - gt|."""

    pixel: ClassVar[bool] = True

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, 0 at equality."""
        return F.l1_loss(at_least_float32(inputs.output), at_least_float32(inputs.gt))


@LOSSES.register("MSELoss", "mse", "L2Loss")
class MSELoss(Loss):
    """Mean squared difference, (output - gt)^2."""

    pixel: ClassVar[bool] = True

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, 0 at equality."""
        return F.mse_loss(at_least_float32(inputs.output), at_least_float32(inputs.gt))


@LOSSES.register("PSNRLoss", "psnr")
class PSNRLoss(Loss):
    """Decibels that the PSNR lacks to its limit, mean over samples: 10 log10(1 + MSE / eps).

    The loss of NAFNet (Chen et al. 2022), whose gradient it has, raised so that it is 0 at equality. Every sample
    counts by the factor by which its error falls, as in a mean of PSNR: smooth ones count more than in MSE or L1.

    Args:
        toY: Of the luma alone.
        eps: Mean squared error, above 0, far below which nothing is gained any more; 1e-6 is about the rounding of
            8 bits.
    """

    pixel: ClassVar[bool] = True
    luma_alone = "toY"

    def __init__(self, *, toY: bool = False, eps: float = 1e-8) -> None:
        super().__init__()
        if eps <= 0:
            raise ValueError(f"PSNRLoss needs eps above 0 (got {eps})")
        self.of_luma, self.eps = toY, eps

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar in dB, 0 at equality."""
        difference = at_least_float32(inputs.output) - at_least_float32(inputs.gt)
        if self.of_luma:
            difference = luma(difference)
        error = difference.square().flatten(1).mean(dim=1)
        return (10 / math.log(10) * torch.log1p(error / self.eps)).mean()


@LOSSES.register("CharbonnierLoss", "charbonnier")
class CharbonnierLoss(Loss):
    """A smooth L1: sqrt((output - gt)^2 + eps); Lai et al. 2017, LapSRN, equation 2.

    As in BasicSR, `eps` is what the paper writes as epsilon squared (its 1e-3 is an `eps` of 1e-6).

    Args:
        eps: Above 0; the loss is rounded within sqrt(eps) of 0 (1 is the full range).
    """

    pixel: ClassVar[bool] = True

    def __init__(self, *, eps: float = 1e-12) -> None:
        super().__init__()
        if eps <= 0:
            raise ValueError(f"CharbonnierLoss needs eps above 0 (got {eps}); L1Loss is its limit")
        self.eps = eps

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, sqrt(eps) at equality."""
        difference = at_least_float32(inputs.output) - at_least_float32(inputs.gt)
        return (difference.square() + self.eps).sqrt().mean()


@LOSSES.register("HuberLoss", "huber")
class HuberLoss(Loss):
    """Half the squared difference d up to `delta`, then delta (|d| - delta / 2); Huber 1964.

    Images lie in 0..1, so with the usual delta of 1 it is half the MSE; a delta of 0.01 makes it behave like
    0.01 times L1.

    Args:
        delta: Difference from which the loss is linear (1 is the full range).
    """

    pixel: ClassVar[bool] = True

    def __init__(self, *, delta: float = 1.0) -> None:
        super().__init__()
        if delta <= 0:
            raise ValueError(f"HuberLoss needs delta above 0 (got {delta})")
        self.delta = delta

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, 0 at equality."""
        output, gt = at_least_float32(inputs.output), at_least_float32(inputs.gt)
        return F.huber_loss(output, gt, delta=self.delta)
