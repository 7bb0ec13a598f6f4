"""Blur kernels of Real-ESRGAN and BSRGAN, in closed form.

With q = x' S^-1 x and S = R diag(sigma_x^2, sigma_y^2) R': Gaussian exp(-q / 2), generalised Gaussian
exp(-q^beta / 2), plateau 1 / (1 + q^beta) (Liu et al. 2020, "Estimating generalized Gaussian blur kernels"); and
the circular low-pass filter w J1(w r) / (2 pi r), which rings like over-sharpened pictures do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from traiNNer.data.degradations.draws import Stage

KERNELS = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")
_NEGLIGIBLE = 1e-3  # of the weight, which may be cut off: a quarter of a step at white


class Kernel(NamedTuple):
    """A blur kernel, point symmetric, of sum 1."""

    weights: NDArray[np.float32]
    """(k, k), k odd."""
    row: NDArray[np.float32] | None
    """(k,), where the weights are the outer product of it with itself."""
    parameters: dict[str, Any]
    """What it was made of, for people to read."""


@dataclass(frozen=True)
class KernelMix:
    """Which kernels are drawn."""

    kinds: tuple[str, ...]
    """Kinds of kernel to draw from, names in `KERNELS`."""
    weights: tuple[float, ...]
    """How often each; any sum."""
    sizes: tuple[int, int]
    """Smallest and largest side; odd sizes between them are drawn evenly."""
    sigma: tuple[float, float]
    """Standard deviations in pixels."""
    beta_gaussian: tuple[float, float]
    """Exponents of generalised Gaussians: half of them below 1, half above."""
    beta_plateau: tuple[float, float]
    """Exponents of plateaus, likewise."""
    sinc_prob: float
    """Share of low-pass filters instead."""


def gaussian(
    size: int, sigma: tuple[float, float], angle: float = 0.0, kind: str = "iso", beta: float = 1.0
) -> NDArray[np.float64]:
    """(size, size) weights of one of `KERNELS`; `sigma` along its own axes, of which the first is at `angle`.

    The angle is in radians, from the x axis towards the y axis.
    """
    offsets = np.arange(size) - (size - 1) / 2
    x, y = offsets[None, :], offsets[:, None]
    along = (math.cos(angle) * x + math.sin(angle) * y) / sigma[0]
    across = (math.cos(angle) * y - math.sin(angle) * x) / sigma[1]
    q = along**2 + across**2
    if kind.startswith("generalized"):
        weights = np.exp(-0.5 * q**beta)
    elif kind.startswith("plateau"):
        weights = 1 / (1 + q**beta)
    else:
        weights = np.exp(-0.5 * q)
    return weights / weights.sum()


def sinc(size: int, cutoff: float) -> NDArray[np.float64]:
    """(size, size) weights of an ideal low-pass filter; `cutoff` in radians a pixel, up to pi."""
    offsets = np.arange(size) - (size - 1) / 2
    radius = np.hypot(offsets[None, :], offsets[:, None])
    radius[size // 2, size // 2] = 1.0  # its limit is set below
    bessel = torch.special.bessel_j1(torch.from_numpy(cutoff * radius)).numpy()
    weights = cutoff * bessel / (2 * math.pi * radius)
    weights[size // 2, size // 2] = cutoff**2 / (4 * math.pi)
    return weights / weights.sum()


def draw_kernel(mix: KernelMix, draw: Stage) -> Kernel:
    """One kernel of a mix."""
    size = odd_size(mix.sizes, draw)
    if draw.chance(mix.sinc_prob):
        return low_pass(size, draw.uniform(math.pi / (3 if size < 13 else 5), math.pi))
    kind = draw.pick(mix.kinds, mix.weights)
    first = draw.uniform(*mix.sigma)
    second, angle = draw.uniform(*mix.sigma), draw.uniform(-math.pi, math.pi)
    if kind.endswith("aniso"):
        sigma = (first, second)
    else:
        sigma, angle = (first, first), 0.0
    parameters = {"kernel": kind, "size": size, "sigma": _rounded(sigma[: 2 if angle else 1])}
    if angle:
        parameters["angle"] = round(math.degrees(angle))
    beta = 1.0
    if "_" in kind:
        low, high = mix.beta_gaussian if kind.startswith("generalized") else mix.beta_plateau
        beta = draw.uniform(low, 1) if draw.chance(0.5) else draw.uniform(1, high)
        parameters["beta"] = round(beta, 3)
    weights = gaussian(size, sigma, angle, kind, beta)
    row = weights.sum(0) if kind == "iso" else None
    return _cropped(weights, row, parameters)


def low_pass(size: int, cutoff: float) -> Kernel:
    """The low-pass filter of a size."""
    weights = sinc(size, cutoff).astype(np.float32)
    return Kernel(weights, None, {"kernel": "sinc", "size": size, "cutoff": round(cutoff, 3)})


def odd_size(sizes: tuple[int, int], draw: Stage) -> int:
    """An odd number from the first to the second."""
    least = sizes[0] | 1
    return least + 2 * draw.whole(0, max(0, (sizes[1] - least) // 2))


def _cropped(
    weights: NDArray[np.float64], row: NDArray[np.float64] | None, parameters: dict[str, Any]
) -> Kernel:
    """Without the rim that weighs next to nothing: a narrow kernel in a large square takes ten times as long."""
    margin = 0
    half = len(weights) // 2
    while margin < half:
        inner = weights[margin + 1 : len(weights) - margin - 1, margin + 1 : len(weights) - margin - 1]
        if inner.sum() < 1 - _NEGLIGIBLE:
            break
        margin += 1
    inside = slice(margin, len(weights) - margin)
    weights = weights[inside, inside]
    if row is not None:
        row = row[inside] / row[inside].sum()
    return Kernel(
        (weights / weights.sum()).astype(np.float32),
        row.astype(np.float32) if row is not None else None,
        parameters,
    )


def _rounded(values: tuple[float, ...]) -> float | list[float]:
    return round(values[0], 3) if len(values) == 1 else [round(value, 3) for value in values]
