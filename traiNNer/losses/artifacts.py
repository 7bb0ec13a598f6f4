"""LDL, which tells details from artifacts by how the error varies, and weights the error by that."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from traiNNer.losses import LOSSES, Loss, LossInputs
from traiNNer.losses.criteria import Criterion, mean_error
from traiNNer.losses.precision import at_least_float32

_FLOOR = 1e-12  # of a variance, whose fifth root has no derivative at 0: errors of 1e-6 are rounding


@LOSSES.register("LDLLoss", "ldl")
class LDLLoss(Loss):
    """Error times a map of artifacts, |M (output - gt)|; Liang et al. 2022 (arXiv 2203.09195), section 3.

    With R the absolute error summed over the channels, M is the variance of R in the window around each pixel
    times the fifth root of its variance in the image, and 0 where R is below that of the EMA network: there
    training is on its way to details. The gradient flows through M too, as in the authors' programme. Needs
    `train.ema_decay`.

    Args:
        criterion: How the weighted error becomes a number.
        ksize: Side of the window, in pixels; odd.
    """

    averaged: ClassVar[bool] = True

    def __init__(self, *, criterion: Criterion = "l1", ksize: int = 7) -> None:
        super().__init__()
        if ksize < 3 or ksize % 2 == 0:
            raise ValueError(f"LDLLoss needs an odd ksize of 3 or more (got {ksize})")
        self.criterion: Criterion = criterion
        self.ksize = ksize

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, 0 at equality; patches need more than half of `ksize` pixels each way."""
        output, gt = at_least_float32(inputs.output), at_least_float32(inputs.gt)
        if min(output.shape[-2:]) <= self.ksize // 2:
            raise ValueError(
                f"LDLLoss with ksize {self.ksize} needs patches above {self.ksize // 2} pixels each way (got "
                f"{output.shape[-2]} x {output.shape[-1]})"
            )
        error = _error(output, gt)
        of_ema = _error(at_least_float32(inputs.ema_output), gt)
        image = error.var(dim=(1, 2, 3), keepdim=True).clamp_min(_FLOOR) ** 0.2
        artifacts = image * _local_variance(error, self.ksize) * (error >= of_ema)
        return mean_error(artifacts * (output - gt), self.criterion)


def _error(image: Tensor, gt: Tensor) -> Tensor:
    """(n, 1, h, w), the absolute difference summed over channels."""
    return (image - gt).abs().sum(dim=1, keepdim=True)


def _local_variance(x: Tensor, ksize: int) -> Tensor:
    """Variance in the window around each pixel, without bias; edges are reflected."""
    padded = F.pad(x, [ksize // 2] * 4, mode="reflect")
    windows = padded.unfold(2, ksize, 1).unfold(3, ksize, 1)
    return windows.var(dim=(-2, -1))
