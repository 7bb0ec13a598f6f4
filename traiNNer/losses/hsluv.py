"""Hue, saturation and lightness as people see them: the colour space HSLuv (hsluv.org, revision 4)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from traiNNer.losses import LOSSES, Loss, LossInputs
from traiNNer.losses.criteria import Criterion
from traiNNer.losses.precision import at_least_float32

# of sRGB with white D65: linear RGB out of XYZ, and XYZ out of linear RGB, by rows
_TO_RGB = (
    (3.240969941904521, -1.537383177570093, -0.498610760293),
    (-0.96924363628087, 1.87596750150772, 0.041555057407175),
    (0.055630079696993, -0.20397695888897, 1.056971514242878),
)
_TO_XYZ = (
    (0.41239079926595, 0.35758433938387, 0.18048078840183),
    (0.21263900587151, 0.71516867876775, 0.072192315360733),
    (0.019330818715591, 0.11919477979462, 0.95053215224966),
)
_WHITE_U, _WHITE_V = 0.19783000664283, 0.46831999493879
_KAPPA, _EPSILON = 903.2962962, 0.0088564516
_GREY = 0.028972067  # chroma between the greyest colour of 8 bits and what float32 makes of grey
_DULL = 0.1  # of saturation or lightness, 0 to 1: below, hue means little


class Hsluv(NamedTuple):
    """(n, 1, h, w) each, 0 to 1; hue is an angle in turns."""

    hue: Tensor
    saturation: Tensor
    lightness: Tensor


def hsluv(image: Tensor) -> Hsluv:
    """HSLuv of images (n, 3, h, w), RGB, 0 to 1; other values are clamped to that. Grey has the hue 0."""
    x, y, z = (_mix(_linear(image.clamp(1e-12, 1)), row) for row in _TO_XYZ)
    lightness = torch.where(y > _EPSILON, 116 * y.clamp_min(_EPSILON) ** (1 / 3) - 16, _KAPPA * y)
    total = x + 15 * y + 3 * z
    u, v = 13 * lightness * (4 * x / total - _WHITE_U), 13 * lightness * (9 * y / total - _WHITE_V)
    grey = u.square() + v.square() < _GREY**2
    u, v = torch.where(grey, 1.0, u), torch.where(grey, 0.0, v)
    chroma = (u.square() + v.square()).sqrt()
    saturation = chroma / _largest_chroma(lightness, v / chroma, u / chroma)
    pale = grey | (lightness > 100 - 1e-5)
    hue = torch.atan2(v, u) / (2 * torch.pi) % 1
    return Hsluv(
        torch.where(grey, 0.0, hue),
        torch.where(pale, 0.0, saturation.clamp(0, 1)),
        lightness.clamp(0, 100) / 100,
    )


def _linear(image: Tensor) -> Tensor:
    curved = ((image.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(image <= 0.04045, image / 12.92, curved)


def _mix(image: Tensor, weights: tuple[float, float, float]) -> Tensor:
    red, green, blue = image.split(1, dim=1)
    return red * weights[0] + green * weights[1] + blue * weights[2]


def _largest_chroma(lightness: Tensor, sine: Tensor, cosine: Tensor) -> Tensor:
    """How far RGB reaches at a lightness in a direction: to the nearest of the six planes of its cube."""
    cube = (lightness + 16) ** 3 / 1560896
    part = torch.where(cube > _EPSILON, cube, lightness / _KAPPA)
    nearest = torch.full_like(lightness, 1e4)
    for a, b, c in _TO_RGB:
        for end in (0, 1):
            across = (284517 * a - 94839 * c) * part
            offset = (838422 * c + 769860 * b + 731718 * a) * lightness * part - 769860 * end * lightness
            along = (632260 * c - 126452 * b) * part + 126452 * end
            speed = along * sine - across * cosine
            ahead = offset * speed > 0
            nearest = torch.minimum(nearest, torch.where(ahead, offset / torch.where(ahead, speed, 1.0), 1e4))
    return nearest.clamp_min(1e-12)


@LOSSES.register("HSLuvLoss", "hsluv")
class HSLuvLoss(Loss):
    """Errors of hue, saturation and lightness in HSLuv, each 0 to 1, as in traiNNer-redux.

    Hue: the shorter way around the circle, twice, always absolute; 0 where both colours are dull or dark or the
    output is nearly white, and the larger saturation where one colour is dull and the other is not. Saturation
    counts by how far both are from black and white. Its gradient with respect to hue is far larger than that of
    other losses where colours are nearly grey.

    Args:
        criterion: Of saturation and lightness: absolute (l1, or charbonnier) or squared (l2).
        hue_weight: Factor on the mean error of hue.
        saturation_weight: Factor on that of saturation.
        lightness_weight: Factor on that of lightness.
        downscale_factor: Compare images made smaller by this, antialiased bicubic.
    """

    coloured = True

    def __init__(
        self,
        *,
        criterion: Criterion = "l1",
        hue_weight: float = 1 / 3,
        saturation_weight: float = 1 / 3,
        lightness_weight: float = 1 / 3,
        downscale_factor: int = 1,
    ) -> None:
        super().__init__()
        if downscale_factor < 1:
            raise ValueError(f"HSLuvLoss needs a downscale_factor of at least 1 (got {downscale_factor})")
        self.criterion: Criterion = criterion
        self.weights = hue_weight, saturation_weight, lightness_weight
        self.downscale_factor = downscale_factor

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, at its minimum at equality."""
        one, other = (hsluv(self._smaller(at_least_float32(x))) for x in (inputs.output, inputs.gt))
        middle = sum(torch.minimum(x.lightness, 1 - x.lightness).clamp(0, 0.5) for x in (one, other))
        hue, saturation, lightness = self.weights
        return (
            hue * _hue_difference(one, other).mean()
            + saturation * (_error(one.saturation - other.saturation, self.criterion) * middle).mean()
            + lightness * _error(one.lightness - other.lightness, self.criterion).mean()
        )

    def _smaller(self, image: Tensor) -> Tensor:
        if self.downscale_factor == 1:
            return image
        factor = 1 / self.downscale_factor
        return F.interpolate(image, scale_factor=factor, mode="bicubic", antialias=True).clamp(0, 1)


def _error(difference: Tensor, criterion: Criterion) -> Tensor:
    match criterion:
        case "l1":
            return difference.abs()
        case "l2":
            return difference.square()
        case "charbonnier":
            return (difference.square() + 1e-12).sqrt()


def _hue_difference(output: Hsluv, gt: Hsluv) -> Tensor:
    way = (output.hue - gt.hue).abs()
    difference = 2 * torch.minimum(way, 1 - way)
    dull, dull_gt = output.saturation < _DULL, gt.saturation < _DULL
    difference = torch.where(dull & dull_gt, 0.0, difference)
    difference = torch.where(dull ^ dull_gt, torch.maximum(output.saturation, gt.saturation), difference)
    dark = (output.lightness < _DULL) & (gt.lightness < _DULL)
    return torch.where(dark | (output.lightness > 1 - _DULL), 0.0, difference)
