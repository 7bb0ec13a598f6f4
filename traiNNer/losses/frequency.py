"""Losses in the frequency domain."""

from __future__ import annotations

import torch
from torch import Tensor

from traiNNer.losses import LOSSES, Loss, LossInputs
from traiNNer.losses.precision import at_least_float32


@LOSSES.register("FFTLoss", "fft", "FrequencyLoss")
class FFTLoss(Loss):
    """Mean absolute difference of the spectra, over their real and imaginary parts.

    Cho et al. 2021, MIMO-UNet, equation 6; over the half of the spectrum that a real image needs, and with an
    orthonormal transform: the value is of the size of an L1 whatever the size of the patch. Weights found
    with an unnormalised transform are to be multiplied by sqrt(h * w).
    """

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, 0 at equality."""
        difference = at_least_float32(inputs.output) - at_least_float32(inputs.gt)
        spectrum = torch.fft.rfft2(difference, norm="ortho")  # linear: one transform for both images
        return torch.view_as_real(spectrum).abs().mean()
