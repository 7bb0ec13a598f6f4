"""Losses of brightness and of colour apart from each other.

Both are linear in the image, so they are computed from the difference of output and target. By `l1`, a
network near 30 dB has about 0.017 in luma and 0.001 in chroma.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from traiNNer.losses import LOSSES, Loss, LossInputs
from traiNNer.losses.criteria import Criterion, mean_error
from traiNNer.losses.precision import at_least_float32

# ITU-R BT.601 as in JPEG: rows Y, Cb, Cr of R, G, B, all of full range
_Y = (0.299, 0.587, 0.114)
_CB = (-0.168736, -0.331264, 0.5)
_CR = (0.5, -0.418688, -0.081312)


def luma(image: Tensor) -> Tensor:
    """Brightness (n, 1, h, w), 0 to 1, of images (n, 3, h, w), RGB, 0 to 1; one channel is brightness already."""
    return image if image.shape[1] == 1 else _mix(image, _Y)


def chroma(image: Tensor) -> Tensor:
    """Colour Cb and Cr (n, 2, h, w), each -0.5 to 0.5, of images (n, 3, h, w), RGB, 0 to 1."""
    return torch.cat((_mix(image, _CB), _mix(image, _CR)), dim=1)


def _mix(image: Tensor, weights: tuple[float, float, float]) -> Tensor:
    red, green, blue = image.split(
        1, dim=1
    )  # sums rather than a product of matrices, which TF32 would shorten
    return red * weights[0] + green * weights[1] + blue * weights[2]


@LOSSES.register("LumaLoss", "luma")
class LumaLoss(Loss):
    """Mean error of the luma Y, 0 to 1.

    Args:
        criterion: Of the differences: absolute (l1, or charbonnier, which is smooth at 0) or squared (l2).
    """

    luma_alone = True

    def __init__(self, *, criterion: Criterion = "l1") -> None:
        super().__init__()
        self.criterion: Criterion = criterion

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, at its minimum at equality."""
        difference = at_least_float32(inputs.output) - at_least_float32(inputs.gt)
        return mean_error(luma(difference), self.criterion)


@LOSSES.register("ColorLoss", "ColourLoss", "ChromaLoss", "color")
class ColorLoss(Loss):
    """Mean error of the chroma Cb and Cr, each -0.5 to 0.5, averaged over squares of `scale` pixels.

    The averaging keeps colour noise and chroma subsampling out of it; a `scale` of 1 turns it off.

    Args:
        criterion: Of the differences: absolute (l1, or charbonnier, which is smooth at 0) or squared (l2).
        scale: Side of the averaged squares in pixels.
    """

    coloured = True

    def __init__(self, *, criterion: Criterion = "l1", scale: int = 4) -> None:
        super().__init__()
        if scale < 1:
            raise ValueError(f"ColorLoss needs a scale of at least 1 pixel (got {scale})")
        self.criterion: Criterion = criterion
        self.scale = scale

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, at its minimum at equality."""
        difference = at_least_float32(inputs.output) - at_least_float32(inputs.gt)
        # ceil_mode: squares that reach over the edge count with the pixels they have
        return mean_error(F.avg_pool2d(chroma(difference), self.scale, ceil_mode=True), self.criterion)
