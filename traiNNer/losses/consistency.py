"""Whether the output, made small again, is the image it was made from."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from traiNNer.losses import LOSSES, Loss, LossInputs
from traiNNer.losses.colour import chroma, luma
from traiNNer.losses.criteria import Criterion, mean_error
from traiNNer.losses.precision import at_least_float32


@LOSSES.register("LQConsistencyLoss")
class LQConsistencyLoss(Loss):
    """Error of luma and chroma between the output, reduced to the size of the LQ, and the LQ.

    Reduced by MATLAB's antialiased bicubic, as the field makes its LQ; then the loss is near 0 at the target, and
    it keeps colours and brightness where adversarial training drifts. LQ that was blurred, sharpened or
    compressed differs from the reduced target: there, give it little weight or none. The error of luma, 0 to 1,
    times `luma_weight`, plus the mean of those of Cb and Cr, each -0.5 to 0.5, times `chroma_weight`.

    Args:
        criterion: Of the differences: absolute (l1, or charbonnier, which is smooth at 0) or squared (l2).
        luma_weight: Of brightness.
        chroma_weight: Of colour.
    """

    coloured = True

    def __init__(
        self, *, criterion: Criterion = "l1", luma_weight: float = 1.0, chroma_weight: float = 1.0
    ) -> None:
        super().__init__()
        if not luma_weight and not chroma_weight:
            raise ValueError("LQConsistencyLoss computes nothing: luma_weight and chroma_weight are both 0")
        self.criterion: Criterion = criterion
        self.luma_weight, self.chroma_weight = luma_weight, chroma_weight

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, near 0 where the LQ was made from the output."""
        output, lq = at_least_float32(inputs.output), at_least_float32(inputs.lq)
        with torch.autocast(output.device.type, enabled=False):
            difference = _reduced(output, lq.shape[2], lq.shape[3]) - lq
        brightness = self.luma_weight * mean_error(luma(difference), self.criterion)
        return brightness + self.chroma_weight * mean_error(chroma(difference), self.criterion)


def _reduced(image: Tensor, height: int, width: int) -> Tensor:
    """As MATLAB's imresize without rounding. By products of matrices, whose gradient is deterministic."""
    rows = _weights(height, image.shape[2], image.device, image.dtype)
    columns = _weights(width, image.shape[3], image.device, image.dtype)
    return rows @ image @ columns.mT


@lru_cache(maxsize=8)  # a copy to the device at every step would wait for all that it has yet to do
def _weights(outputs: int, inputs: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What each output is made of, (outputs, inputs); inputs are mirrored at the edges."""
    scale = inputs / outputs
    centre = (torch.arange(outputs, dtype=torch.float64) + 0.5) * scale - 0.5
    reach = math.ceil(2 * scale)
    places = torch.arange(-reach, inputs + reach)
    weights = _cubic((centre[:, None] - places) / scale)
    mirrored = torch.where(places < 0, -1 - places, places) % (2 * inputs)
    mirrored = torch.where(mirrored < inputs, mirrored, 2 * inputs - 1 - mirrored)
    folded = torch.zeros(outputs, inputs, dtype=torch.float64).index_add(1, mirrored, weights)
    return (folded / folded.sum(1, keepdim=True)).to(device, dtype, non_blocking=True)


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution kernel with a = -0.5 (1981, equation 15)."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x <= 1, near, torch.where(x <= 2, far, 0.0))
