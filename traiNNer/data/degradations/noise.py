"""Noise by tables of quantiles: sixteen raw bits a value choose where in a distribution it lies.

Both kinds keep the mean of what they are added to. Clipping noise at black and white, as others do, lifts blacks
and dims whites; here no value may move further than it could move the other way.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from traiNNer.data.degradations.draws import Stage

Image = NDArray[np.float32]

_ROWS_AT_ONCE = 32  # keeps everything of a part in the cache
_POISSON_BITS = 12
"""Number of random bits used, of the sixteen.

A table for each grey level stays within 4 MB, and its largest value is 3.7 deviations out.
"""


@dataclass(frozen=True)
class NoiseSettings:
    """Which noise is drawn."""

    gaussian_prob: float
    """Share of Gaussian noise; the rest is Poisson."""
    sigma: tuple[float, float]
    """Smallest and largest standard deviation of Gaussian noise, in levels of 255."""
    poisson_scale: tuple[float, float]
    """Factor on the noise of counting 256 quanta at white."""
    gray_prob: float
    """Share with one plane for the three channels."""
    correlated_prob: float = 0.0
    """Share of Gaussian noise whose channels depend on each other (BSRGAN); taken after that of grey noise."""
    content_levels: bool = False
    """Count as many quanta as the patch has distinct values, rounded up to a power of two, instead of 256."""
    keep_mean: bool = True
    """Move no value further than it could move the other way; false: clip."""


def add_noise(image: Image, settings: NoiseSettings, draw: Stage) -> tuple[Image, dict[str, Any]]:
    """The image with noise, 0 to 255, and what was added."""
    normal = draw.chance(settings.gaussian_prob)
    gray, correlated = draw.chance(settings.gray_prob), draw.chance(settings.correlated_prob)
    strength = draw.uniform(*(settings.sigma if normal else settings.poisson_scale))
    if strength <= 0:
        return image, {}
    parameters: dict[str, Any] = {"gray": gray}
    bits = draw.sixteen_bits(*image.shape[:2], 1 if gray else 3)
    if normal:
        parameters |= {"noise": "gaussian", "sigma": round(strength, 3)}
        mixing = _mixing(draw) if correlated and not gray else None
        if mixing is not None:
            parameters["correlated"] = True
        noise = _Gaussian(strength, mixing)
    else:
        quanta = _distinct(image) if settings.content_levels else 256
        parameters |= {"noise": "poisson", "scale": round(strength, 3), "levels": quanta}
        noise = _Poisson(strength, quanta, keep_mean=settings.keep_mean)
    out = np.empty_like(image)
    for top in range(0, len(image), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        part = np.clip(image[rows], 0, 255)
        added = noise(part, bits[rows])
        if gray:  # eight times as fast as adding one plane to three
            added = cast("Image", cv2.cvtColor(added, cv2.COLOR_GRAY2RGB))
        _add_limited(part, added, out[rows], keep_mean=settings.keep_mean)
    return out, parameters


@dataclass(frozen=True)
class _Gaussian:
    sigma: float
    mixing: NDArray[np.float32] | None

    def __call__(self, image: Image, bits: NDArray[np.uint16]) -> Image:
        """(h, w, planes), to be added; from as many random bits."""
        added = normal_table().take(bits)
        added *= np.float32(self.sigma)
        return added if self.mixing is None else added @ self.mixing


@dataclass(frozen=True)
class _Poisson:
    """Counts of `quanta` at white less their expectation, in levels of 255, times `scale`."""

    scale: float
    quanta: int
    keep_mean: bool
    """Take the normal distribution of the same variance for 256 quanta: without skew, limits keep the mean."""

    def __call__(self, image: Image, bits: NDArray[np.uint16]) -> Image:
        """(h, w, planes), to be added; from as many random bits."""
        gray = bits.shape[2] == 1
        source = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None] if gray else image
        if self.keep_mean and self.quanta == 256:
            added = normal_table().take(bits)
            added *= np.sqrt(source)
            added *= np.float32(self.scale * (255 / self.quanta) ** 0.5)
            return added
        levels = np.rint(source).astype(np.int32)
        levels <<= _POISSON_BITS
        levels |= bits >> (16 - _POISSON_BITS)
        added = poisson_table(self.quanta, symmetric=self.keep_mean).take(levels)
        added *= np.float32(self.scale)
        return added


def _add_limited(image: Image, added: Image, out: Image, *, keep_mean: bool) -> None:
    """Write the sum, 0 to 255, to `out`."""
    if not keep_mean:
        np.clip(image + added, 0, 255, out=out)
        return
    room = np.minimum(np.subtract(255, image, out=out), image, out=out)  # on the nearer side
    # a quarter of the time of np.clip with arrays as limits
    np.minimum(added, room, out=added)
    np.maximum(added, np.negative(room, out=room), out=added)
    np.add(image, added, out=out)


def _mixing(draw: Stage) -> NDArray[np.float32]:
    """(3, 3): makes independent channels depend on each other, each of the same variance as before."""
    directions = np.array([[draw.uniform(-1, 1) for _ in range(3)] for _ in range(3)])
    return (directions / np.linalg.norm(directions, axis=0)).astype(np.float32)


def _distinct(image: Image) -> int:
    """The published rule: distinct values of the patch after rounding, up to the next power of two."""
    counts = np.bincount(np.rint(image).astype(np.uint8).ravel(), minlength=256)
    return 1 << (int(np.count_nonzero(counts)) - 1).bit_length()


@lru_cache(maxsize=1)
def normal_table() -> NDArray[np.float32]:
    """(65536,) quantiles of the standard normal distribution, of variance 1."""
    inverse = NormalDist().inv_cdf
    half = np.array([inverse((index + 0.5) / 65536) for index in range(32768, 65536)])
    table = np.concatenate([-half[::-1], half])
    return (table / table.std()).astype(np.float32)


@lru_cache(maxsize=18)
def poisson_table(quanta: int, *, symmetric: bool) -> NDArray[np.float32]:
    """(256 * 4096,): for each grey level the quantiles of count minus expectation, in levels of 255.

    Every row has mean 0 and the variance of the distribution, which its few outermost quantiles alone would miss.
    """
    rows = 1 << _POISSON_BITS
    expected = np.arange(256) * quanta / 255
    pmf = _poisson_pmf(expected)
    counts = np.arange(pmf.shape[1])
    size = rows // 2 if symmetric else rows
    places = (np.arange(size) + 0.5) / size
    cdf = np.cumsum(pmf, axis=1)
    found = np.stack([np.searchsorted(row, places) for row in cdf])
    deviation = np.minimum(found, counts[-1]) - expected[:, None]
    deviation -= deviation.mean(axis=1, keepdims=True)
    if symmetric:
        deviation = np.concatenate([deviation, -deviation[:, ::-1]], axis=1)
    spread = deviation.std(axis=1, keepdims=True)
    right = np.sqrt(expected)[:, None] / np.where(spread > 0, spread, 1)
    return (deviation * right * (255 / quanta)).astype(np.float32).ravel()


def _poisson_pmf(expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """(levels, counts), from logarithms; counts far enough for the last quantile."""
    most = int(expected[-1] + 6 * expected[-1] ** 0.5 + 12)
    counts = np.arange(most)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, most)))])
    logs = counts * np.log(np.maximum(expected, 1e-300))[:, None] - expected[:, None] - factorials
    pmf = np.exp(logs)
    pmf[expected == 0] = counts == 0
    return pmf
