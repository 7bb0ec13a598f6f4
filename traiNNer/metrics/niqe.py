"""NIQE, the distance of an image from natural photographs in general: no ground truth is asked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from traiNNer.metrics import METRICS
from traiNNer.metrics.niqe_model import COVARIANCE, MEAN
from traiNNer.metrics.protocol import compared

_BLOCK = 96  # pixels, half of it at half size; the model was fitted to blocks of that size
_TAPS = [math.exp(-((i - 3) ** 2) / (2 * (7 / 6) ** 2)) for i in range(7)]
_WINDOW = [tap / math.fsum(_TAPS) for tap in _TAPS]
_HALVING = [tap / 256 for tap in (-3, -9, 29, 111, 111, 29, -9, -3)]  # Keys' cubic at 7/4, 5/4, 3/4, 1/4 ...
_NOTHING = 1e-9  # what rounding leaves of an even area; its sign would decide about scores (by up to 0.5)
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))


@METRICS.register("niqe", "calculate_niqe")
@dataclass(frozen=True)
class Niqe:
    """Distance of luma from that of natural photographs, without ground truth; Mittal et al. 2013.

    "Making a 'completely blind' image quality analyzer", as the authors' release for MATLAB computes it: rounded
    luma in blocks of 96 x 96 from the top left corner, at two sizes. Photographs have about 2 to 6. NaN where an
    image holds NaN, or where less than two blocks differ from a single colour.
    """

    higher_is_better: ClassVar[bool] = False
    needs_gt: ClassVar[bool] = False

    crop_border: int = 0

    def __call__(self, sr: Tensor, gt: Tensor) -> Tensor:
        """Distances (n,) of images (n, 3, h, w), RGB, 0 to 1; what `gt` shows does not matter.

        Raises:
            ValueError: Where less than two blocks fit.
        """
        luma, _ = compared(sr, gt, crop_border=self.crop_border, y_channel=True)
        rows, columns = (size // _BLOCK for size in luma.shape[2:])
        if rows * columns < 2:
            raise ValueError(f"NIQE needs 192 x 96 pixels; cropping left {tuple(luma.shape[2:])}")
        inner = luma[:, 0, : rows * _BLOCK, : columns * _BLOCK].round()
        return torch.stack([_distance(image) for image in inner])


def _distance(image: Tensor) -> Tensor:
    """The distance of one plane (h, w), multiples of 96, 0 to 255: equation 10 of the paper."""
    features = torch.cat([_features(image, _BLOCK), _features(_halved(image), _BLOCK // 2)], dim=1)
    mean, covariance = _moments(features)
    natural_mean, natural_covariance = _natural(image.device, image.dtype)
    difference = natural_mean - mean
    solved, _ = torch.linalg.solve_ex((natural_covariance + covariance) / 2, difference)
    return torch.where(image.isnan().any(), math.nan, (difference * solved).sum().sqrt())


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance over blocks (blocks, 36); blocks without a distribution (of one colour) do not count.

    A single feature counts for its mean as long as it is there, as in the authors' release.
    """
    whole = ~features.isnan().any(1, keepdim=True)
    count = whole.sum()
    centred = torch.where(whole, features, 0.0)
    centred = torch.where(whole, centred - centred.sum(0) / count, 0.0)
    return features.nanmean(0), centred.T @ centred / (count - 1)


def _features(image: Tensor, side: int) -> Tensor:
    """18 numbers of each block, (blocks, 18): shapes and widths of what is left without mean and contrast."""
    blocks = _normalised(image).unfold(0, side, side).unfold(1, side, side).flatten(0, 1)
    shape, left, right = _fitted(blocks)
    found = [shape, (left + right) / 2]
    for shift in _NEIGHBOURS:
        shape, left, right = _fitted(blocks * blocks.roll(shift, (1, 2)))
        mean = (right - left) * ((2 / shape).lgamma() - (1 / shape).lgamma()).exp()
        found += [shape, mean, left, right]
    return torch.stack(found, dim=1)


def _fitted(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shape, left and right width of the asymmetric generalised Gaussian of each block; NaN without one.

    By moments; Lasmar et al. 2009. Of (blocks, h, w) to (blocks,) three times.
    """
    values = blocks.flatten(1)
    left, right = (_root_mean_square(values, values * sign > 0) for sign in (-1, 1))
    ratio = left / right
    flatness = values.abs().mean(1).square() / values.square().mean(1)
    flatness = flatness * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1).square()
    shapes, known = _flatness_of_shapes(values.device, values.dtype)
    above = torch.searchsorted(known, flatness.contiguous()).clamp(1, len(known) - 1)
    nearer_below = flatness - known[above - 1] <= known[above] - flatness
    shape = shapes[above - nearer_below.long()]
    width = ((1 / shape).lgamma() - (3 / shape).lgamma()).mul(0.5).exp()
    return torch.where(flatness.isnan(), flatness, shape), left * width, right * width


def _root_mean_square(values: Tensor, counted: Tensor) -> Tensor:
    return (torch.where(counted, values, 0.0).square().sum(1) / counted.sum(1)).sqrt()


@lru_cache(maxsize=4)
def _flatness_of_shapes(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Shapes, and E|x|^2 / E[x^2] of the generalised Gaussian of each, which rises with the shape."""
    shapes = torch.arange(0.2, 10.0005, 0.001, dtype=torch.float64)
    twice, once, thrice = (torch.lgamma(k / shapes) for k in (2, 1, 3))
    return shapes.to(device, dtype), (2 * twice - once - thrice).exp().to(device, dtype)


@lru_cache(maxsize=4)
def _natural(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Mean (36,) and covariance (36, 36) of natural images."""
    mean, upper = (
        torch.tensor([float(number) for number in text.split()], dtype=torch.float64)
        for text in (MEAN, COVARIANCE)
    )
    covariance = torch.zeros(36, 36, dtype=torch.float64)
    rows, columns = torch.triu_indices(36, 36)
    covariance[rows, columns] = covariance[columns, rows] = upper
    return mean.to(device, dtype), covariance.to(device, dtype)


def _normalised(image: Tensor) -> Tensor:
    """Without local mean and contrast, equation 1: (I - mean) / (deviation + 1) under a 7 x 7 Gaussian."""
    mean = _blur(image)
    deviation = (_blur(image.square()) - mean.square()).abs().sqrt()
    left = (image - mean) / (deviation + 1)
    return torch.where(left.abs() < _NOTHING, 0.0, left)


def _blur(image: Tensor) -> Tensor:
    """The plane (h, w) under the window, edges repeated."""
    for _ in range(2):
        image = _filtered(torch.cat([image[:1].expand(3, -1), image, image[-1:].expand(3, -1)]), _WINDOW).T
    return image


def _halved(image: Tensor) -> Tensor:
    """The plane (h, w) of even sides at half the size, as MATLAB's imresize of floats: edges mirrored."""
    for _ in range(2):
        mirrored = torch.cat([image[:3].flip(0), image, image[-3:].flip(0)])
        image = _filtered(mirrored, _HALVING, every=2).T
    return image


def _filtered(plane: Tensor, weights: list[float], *, every: int = 1) -> Tensor:
    """Weighted sums of as many rows, (h - taps + 1, w), or every second of them."""
    length = len(plane) - len(weights) + 1
    total = plane[:length:every] * weights[0]
    for i, weight in enumerate(weights[1:], start=1):
        total.add_(plane[i : i + length : every], alpha=weight)
    return total
