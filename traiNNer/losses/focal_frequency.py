"""The focal frequency loss."""

from __future__ import annotations

import torch
from torch import Tensor

from traiNNer.losses import LOSSES, Loss, LossInputs
from traiNNer.losses.precision import at_least_float32


@LOSSES.register("FocalFrequencyLoss", "FFLoss", "focalfrequency", "ffl")
class FocalFrequencyLoss(Loss):
    """Squared error of the spectrum, where each frequency counts as much as it is wrong; Jiang et al. 2021.

    The mean of w |F(output) - F(gt)|^2 over frequencies, channels and samples; w is |F(output) - F(gt)|^alpha over
    its largest value in a channel of a sample, and gives no gradient. Orthonormal transforms. Weights over the
    batch (`batch_matrix`, `ave_spectrum` of the authors' code) would not be a mean over samples and are left out.

    Args:
        alpha: How much worse frequencies count more; 0 weights all alike.
        log_matrix: Take ln(1 + w) before dividing by the largest.
        patch_factor: Transform this many by this many equal patches; rows and columns left over are not looked at.
    """

    def __init__(self, *, alpha: float = 1.0, log_matrix: bool = False, patch_factor: int = 1) -> None:
        super().__init__()
        if alpha < 0:
            raise ValueError(f"FocalFrequencyLoss needs an alpha of 0 or more (got {alpha})")
        if patch_factor < 1:
            raise ValueError(f"FocalFrequencyLoss needs a patch_factor of 1 or more (got {patch_factor})")
        self.alpha, self.log_matrix, self.patch_factor = alpha, log_matrix, patch_factor

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, 0 at equality.

        Raises:
            ValueError: If a patch would have no pixel.
        """
        difference = self._patches(at_least_float32(inputs.output) - at_least_float32(inputs.gt))
        spectrum = torch.view_as_real(torch.fft.fft2(difference, norm="ortho"))
        squared = spectrum.square().sum(-1)
        return (self._weights(squared.detach()) * squared).mean()

    def _weights(self, squared: Tensor) -> Tensor:
        weights = squared.sqrt() ** self.alpha
        if self.log_matrix:
            weights = weights.log1p()
        largest = weights.amax((-2, -1), keepdim=True)
        return weights / largest.clamp_min(torch.finfo(weights.dtype).tiny)

    def _patches(self, image: Tensor) -> Tensor:
        """(n, 3, rows of patches, columns of patches, height, width)."""
        factor = self.patch_factor
        height, width = image.shape[2] // factor, image.shape[3] // factor
        if not height or not width:
            size = tuple(image.shape[2:])
            raise ValueError(f"FocalFrequencyLoss: images of {size} have no {factor} x {factor} patches")
        inner = image[:, :, : height * factor, : width * factor]
        return inner.unflatten(2, (factor, height)).unflatten(4, (factor, width)).transpose(3, 4)
