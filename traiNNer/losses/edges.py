"""Losses of the image gradient: where edges are and how sharp, and how much of them there should be.

With their defaults, a network near 30 dB has about 0.01 in `EdgeLoss` and 0.04 in `GradientVarianceLoss`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from traiNNer.losses import LOSSES, Loss, LossInputs
from traiNNer.losses.colour import luma
from traiNNer.losses.criteria import Criterion, mean_error
from traiNNer.losses.precision import at_least_float32


def _sobel(image: Tensor) -> Tensor:
    """Horizontal and vertical Sobel derivatives, (n, 2 c, h, w); the edge pixels are repeated outwards.

    Unnormalised: a slope of 1 per pixel gives 8. By slices, because replicating padding has no deterministic
    gradient on CUDA, and a convolution may compute in TF32.
    """
    rows = torch.cat((image[:, :, :1], image, image[:, :, -1:]), dim=2)
    padded = torch.cat((rows[..., :1], rows, rows[..., -1:]), dim=3)
    across = padded[..., 2:] - padded[..., :-2]
    horizontal = across[:, :, :-2] + 2 * across[:, :, 1:-1] + across[:, :, 2:]
    down = padded[:, :, 2:] - padded[:, :, :-2]
    vertical = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    return torch.cat((horizontal, vertical), dim=1)


@LOSSES.register("EdgeLoss", "SobelLoss")
class EdgeLoss(Loss):
    """Mean absolute difference of the Sobel derivatives of each channel, in levels per pixel."""

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, 0 at equality (and for images that differ by a constant)."""
        difference = at_least_float32(inputs.output) - at_least_float32(inputs.gt)
        return _sobel(difference).abs().mean() / 8


@LOSSES.register("GradientVarianceLoss", "GVLoss")
class GradientVarianceLoss(Loss):
    """Error of the variance that luma's Sobel derivatives have in squares of `patch_size`.

    Abrahamyan et al. 2022: blur lowers that variance even where each pixel is nearly right. The sum over the
    two directions, each a mean over squares; pixels that fill no square are not looked at. The paper takes
    `l2`; the default is the one that users of traiNNer-redux know.

    Args:
        patch_size: Side of the squares in pixels, at least 2.
        criterion: Of their differences: absolute (l1, or charbonnier, which is smooth at 0) or squared (l2).
    """

    luma_alone = True

    def __init__(self, *, patch_size: int = 16, criterion: Criterion = "charbonnier") -> None:
        super().__init__()
        if patch_size < 2:
            raise ValueError(f"GradientVarianceLoss needs a patch_size of at least 2 (got {patch_size})")
        self.patch_size = patch_size
        self.criterion: Criterion = criterion

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, at its minimum at equality.

        Raises:
            ValueError: Where the images are smaller than a square.
        """
        if min(inputs.gt.shape[2:]) < self.patch_size:
            size = tuple(inputs.gt.shape[2:])
            raise ValueError(f"GradientVarianceLoss: images of {size} hold no square of {self.patch_size}")
        difference = self._variances(inputs.output) - self._variances(inputs.gt)
        return 2 * mean_error(difference, self.criterion)  # two directions: their sum is twice the mean

    def _variances(self, image: Tensor) -> Tensor:
        """(n, 2, rows of squares, columns of squares)."""
        gradients = _sobel(luma(at_least_float32(image)))
        side = self.patch_size
        rows, columns = gradients.shape[2] // side, gradients.shape[3] // side
        squares = gradients[:, :, : rows * side, : columns * side].unflatten(3, (columns, side))
        return squares.unflatten(2, (rows, side)).var(dim=(3, 5))
