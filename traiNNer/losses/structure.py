"""Losses of structural similarity (SSIM), at one and at several scales.

`SSIMLoss` and `MSSIMLoss` mean what they mean in traiNNer-redux, and look at luma. `MSSSIMLoss` is the paper's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from traiNNer.losses import LOSSES, Loss, LossInputs
from traiNNer.losses.colour import luma
from traiNNer.losses.precision import at_least_float32

_SIZE, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, finest scale first


class _Similarity(NamedTuple):
    """Means over the image, (n, c)."""

    ssim: Tensor
    contrast: Tensor
    """SSIM without its luminance term."""


def _gaussian() -> Tensor:
    taps = torch.exp(-((torch.arange(_SIZE) - _SIZE // 2) ** 2) / (2 * _SIGMA**2))
    return taps / taps.sum()


def _blur(planes: Tensor, window: Tensor) -> Tensor:
    """(n, c, h, w) under the window where it fits, (n, c, h - 10, w - 10)."""
    channels = planes.shape[1]
    taps = window.to(planes.dtype).repeat(channels, 1)
    column, row = taps.view(channels, 1, -1, 1), taps.view(channels, 1, 1, -1)
    # variances are small differences of what comes out here, so it must not be TF32 or less. A convolution by
    # channels, contiguous and in float32, is torch's own kernel on CUDA, which computes in float32
    with torch.autocast(planes.device.type, enabled=False):
        return F.conv2d(F.conv2d(planes.contiguous(), column, groups=channels), row, groups=channels)


def _similarity(output: Tensor, gt: Tensor, window: Tensor, *, positive: bool = False) -> _Similarity:
    """`positive`: places where the images are opposed count as unlike, not as less than that."""
    planes = torch.cat((output, gt, output.square() + gt.square(), output * gt), dim=1)
    mean_output, mean_gt, square, product = _blur(planes, window).chunk(4, dim=1)
    means = mean_output * mean_gt
    squares = mean_output.square() + mean_gt.square()
    contrast = (2 * (product - means) + _C2) / (square - squares + _C2)
    contrast = contrast.relu() if positive else contrast
    luminance = (2 * means + _C1) / (squares + _C1)
    return _Similarity((luminance * contrast).mean((2, 3)), contrast.mean((2, 3)))


def _refuse_small(name: str, image: Tensor) -> None:
    if min(image.shape[2:]) < _SIZE:
        raise ValueError(f"{name} needs patches of {_SIZE} pixels or more, got {tuple(image.shape[2:])}")


@LOSSES.register("SSIMLoss", "ssim")
class SSIMLoss(Loss):
    """1 - SSIM, 0 to 2; Wang et al. 2004, equation 13.

    Of the luma Y of YIQ, 11 x 11 Gaussian window of sigma 1.5 where it lies inside the image, data range 1. Of
    the channels instead, for images of 8 bits, it is one minus the metric `ssim`; a network near 30 dB has
    about 0.13.

    Args:
        test_y_channel: Of the luma; false: the mean over the channels.
    """

    luma_alone = "test_y_channel"
    window: Tensor

    def __init__(self, *, test_y_channel: bool = True) -> None:
        super().__init__()
        self.test_y_channel = test_y_channel
        self.register_buffer("window", _gaussian(), persistent=False)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, 0 at equality.

        Raises:
            ValueError: For patches of less than 11 pixels.
        """
        _refuse_small("SSIMLoss", inputs.gt)
        output, gt = _planes(inputs, luma_alone=self.test_y_channel)
        return 1 - _similarity(output, gt, self.window).ssim.mean()


def _planes(inputs: LossInputs, *, luma_alone: bool) -> tuple[Tensor, Tensor]:
    output, gt = at_least_float32(inputs.output), at_least_float32(inputs.gt)
    return (luma(output), luma(gt)) if luma_alone else (output, gt)


@LOSSES.register("MSSIMLoss", "mssim")
class MSSIMLoss(Loss):
    """1 - MS-SSIM of the luma without the comparison of brightness, 0 to 1, as in traiNNer-redux.

    Five scales, halved by averaging 2 x 2 (with a border of zeros at odd sides), with the weights of Wang et al.
    2003; at each the contrast term, means over the image, multiplied per sample. Where the image is smaller than
    the 11 x 11 window, as in the last scales of patches below 176 pixels, it is surrounded by zeros. A scale
    below 0.001 counts as 0.001 and gives no gradient. It does not see a constant shift of brightness: keep a
    loss of pixels beside it.

    Args:
        test_y_channel: Of the luma; false: of the three channels together.
        include_luminance: Compare brightness too, at the coarsest scale.
    """

    luma_alone = "test_y_channel"
    window: Tensor

    def __init__(self, *, test_y_channel: bool = True, include_luminance: bool = False) -> None:
        super().__init__()
        self.test_y_channel, self.include_luminance = test_y_channel, include_luminance
        self.register_buffer("window", _gaussian(), persistent=False)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, 0 at equality."""
        output, gt = _planes(inputs, luma_alone=self.test_y_channel)
        score = output.new_ones(len(output))
        for scale, weight in enumerate(_SCALE_WEIGHTS):
            if scale > 0:
                odd = [side % 2 for side in gt.shape[2:]]
                output, gt = (F.avg_pool2d(image, 2, padding=odd) for image in (output, gt))
            pair = _surrounded(output), _surrounded(gt)
            whole = self.include_luminance and scale == len(_SCALE_WEIGHTS) - 1
            found = _similarity(*pair, self.window, positive=True)
            score = score * (found.ssim if whole else found.contrast).mean(1).clamp_min(1e-3) ** weight
        return 1 - score.mean()


def _surrounded(image: Tensor) -> Tensor:
    """The image, with zeros around it if the window does not fit."""
    edge = _SIZE // 2 if image.shape[3] < _SIZE else 0
    missing = max(0, _SIZE - image.shape[2] - 2 * edge)  # a strip that is wide and low
    return F.pad(image, (edge, edge, edge + missing, edge)) if edge or missing else image


@LOSSES.register("MSSSIMLoss", "msssim")
class MSSSIMLoss(Loss):
    """1 - MS-SSIM, 0 to 1; Wang et al. 2003, equation 7.

    The scales are combined per sample and channel. There are five, halved by averaging 2 x 2, as long as the
    11 x 11 window fits: patches below 176 pixels have fewer (128: four, 64: three, 32: two), and the paper's
    weights of those are stretched to a sum of 1. A scale whose contrast term is below 0.001, as where the
    output is a negative of its target, counts as 0.001 and gives no gradient. A
    network near 30 dB has about 0.02.
    """

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", _gaussian(), persistent=False)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, 0 at equality.

        Raises:
            ValueError: For patches of less than 11 pixels.
        """
        _refuse_small("MSSSIMLoss", inputs.gt)
        output, gt = at_least_float32(inputs.output), at_least_float32(inputs.gt)
        shortest, scales = min(gt.shape[2:]), 1
        while scales < len(_SCALE_WEIGHTS) and shortest >> scales >= _SIZE:
            scales += 1
        total = sum(_SCALE_WEIGHTS[:scales])
        terms: list[Tensor] = []
        for scale, weight in enumerate(_SCALE_WEIGHTS[:scales]):
            if scale > 0:
                output, gt = F.avg_pool2d(output, 2), F.avg_pool2d(gt, 2)
            similarity = _similarity(output, gt, self.window)
            term = similarity.ssim if scale == scales - 1 else similarity.contrast
            terms.append(term.clamp_min(1e-3) ** (weight / total))
        return 1 - torch.stack(terms).prod(0).mean()
