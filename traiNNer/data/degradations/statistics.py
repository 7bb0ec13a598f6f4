"""Named statistics of a low-quality image, and what they say about the settings that it was made with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Table = NDArray[np.float64]

_LEAST = 1e-2  # of a level: below it is nothing but rounding
STATISTICS = (
    "noise floor",
    "noise floor of chroma",
    "median step",
    "large steps",
    "step at 2 over 1 pixels",
    "step at 4 over 2 pixels",
    "curvature over step",
    "step at 8 over 4 pixels",
    "steepness of edges",
    "finest detail",
    "steps across blocks",
    "zeros in blocks, low",
    "zeros in blocks, middle",
    "zeros in blocks, high",
)
"""Names of what `statistics` returns, in its order; natural logarithms but for steepness and shares."""


def statistics(image: Image) -> Table:
    """(14,) statistics of an image (h, w, 3) of at least 32 pixels a side, RGB, 0 to 255; see `STATISTICS`."""
    ycc = cast("Image", cv2.cvtColor(image / np.float32(255), cv2.COLOR_RGB2YCrCb)) * np.float32(255)
    luma = np.ascontiguousarray(ycc[..., 0])
    step = np.abs(np.diff(luma, axis=1)), np.abs(np.diff(luma, axis=0))
    mean = [np.mean([_shifted(luma, by).mean(), _shifted(luma.T, by).mean()]) for by in (1, 2, 4, 8)]
    curved = np.mean([np.abs(np.diff(luma, 2, axis=axis)).mean() for axis in (0, 1)])
    steps = np.concatenate([part.ravel() for part in step])
    edges, zeros = _blocks(luma)
    return np.array([
        _log(_floor(luma)), _log(np.mean([_floor(np.ascontiguousarray(ycc[..., c])) for c in (1, 2)])),
        _log(np.median(steps)), _log(np.percentile(steps, 95)),
        _log(mean[1]) - _log(mean[0]), _log(mean[2]) - _log(mean[1]), _log(curved) - _log(mean[0]),
        _log(mean[3]) - _log(mean[2]), _steepness(luma),
        _log(np.abs(cv2.filter2D(luma, -1, _CORNERS)).mean()), edges, *zeros,
    ])  # fmt: skip


_CORNERS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6  # Immerkaer's filter of noise


def _log(value: np.floating | float) -> float:
    return float(np.log(value + _LEAST))


def _shifted(plane: Image, by: int) -> Image:
    return np.abs(plane[:, by:] - plane[:, :-by])


def _steepness(luma: Image) -> float:
    """The largest step over the range of values, in the squares of 9 pixels with the largest range."""
    square = np.ones((9, 9), np.uint8)
    spread = cv2.dilate(luma, square) - cv2.erode(luma, square)
    step = np.maximum(np.abs(luma[1:, :-1] - luma[:-1, :-1]), np.abs(luma[:-1, 1:] - luma[:-1, :-1]))
    largest = cv2.dilate(step, square)
    inner = spread[:-1, :-1]
    strong = inner >= np.percentile(inner, 90)
    return float(np.mean(largest[strong] / (inner[strong] + 1)))


def _floor(plane: Image) -> float:
    """Standard deviation after Immerkaer's filter in the flattest tenth of the blocks of 8 pixels."""
    filtered = cv2.filter2D(plane, -1, _CORNERS)
    rows, columns = (side // 8 for side in plane.shape)
    blocks = filtered[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8)
    return float(np.percentile(blocks.std(axis=(1, 3)), 10))


def _blocks(luma: Image) -> tuple[float, list[float]]:
    """How much larger steps are across the edges of the likeliest grid of 8 pixels, as a logarithm; and in its
    blocks the shares of DCT coefficients below half a level, from low to high frequencies."""
    tops: list[int] = []
    found = []
    for axis in (0, 1):
        steps = np.abs(np.diff(luma, axis=axis)).mean(1 - axis) + _LEAST
        beside = (np.roll(steps, 1) + np.roll(steps, -1)) / 2
        excess = np.log(steps / beside)[1:-1]
        phases = [excess[phase::8].mean() for phase in range(8)]
        best = int(np.argmax(phases))
        found.append(phases[best])
        tops.append((best + 2) % 8)  # excess[i] is the step from pixel i + 1 to i + 2
    part = luma[tops[0] :, tops[1] :]
    rows, columns = (side // 8 for side in part.shape)
    blocks = part[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8).swapaxes(1, 2)
    coefficients = np.abs(_DCT @ blocks @ _DCT.T)
    small = (coefficients < 0.5).mean(axis=(0, 1))
    order = np.add.outer(np.arange(8), np.arange(8))
    zeros = [float(small[(order >= low) & (order < high)].mean()) for low, high in ((1, 4), (4, 8), (8, 15))]
    return float(np.mean(found)), zeros


def _dct() -> NDArray[np.float32]:
    place, wave = np.arange(8) + 0.5, np.arange(8)[:, None]
    matrix = np.cos(np.pi * wave * place / 8) * np.where(wave == 0, np.sqrt(1 / 8), 0.5)
    return matrix.astype(np.float32)


_DCT = _dct()


class Accuracy(NamedTuple):
    """How well a parameter is known from the statistics, on samples that were not learned from."""

    error: float
    """Median absolute error, in units of the parameter."""
    correlation: float
    """Of estimates with what was drawn; below `POSSIBLE` the statistics do not tell."""


POSSIBLE = 0.5


@dataclass(frozen=True)
class Estimator:
    """Estimates parameters from statistics by a quadratic polynomial, fitted by ridge regression."""

    centre: Table
    spread: Table
    weights: Table
    accuracy: tuple[Accuracy, ...]

    @classmethod
    def fit(cls, features: Table, parameters: Table) -> Estimator:
        """Learn from simulated samples; every fifth measures the accuracy.

        Args:
            features: (n, 14), of `statistics`.
            parameters: (n, k), what they were made with.
        """
        centre, spread = features.mean(0), features.std(0) + 1e-6
        held = np.arange(len(features)) % 5 == 0
        inputs = _polynomial((features - centre) / spread)
        known = inputs[~held]
        ridge = np.eye(inputs.shape[1]) * len(known) * 1e-3
        ridge[0, 0] = 0
        solved = np.linalg.solve(known.T @ known + ridge, known.T @ parameters[~held])
        weights = np.asarray(solved, np.float64)
        found, drawn = inputs[held] @ weights, parameters[held]
        accuracy = tuple(
            Accuracy(float(np.median(np.abs(a - b))), float(np.corrcoef(a, b)[0, 1]))
            for a, b in zip(found.T, drawn.T, strict=True)
        )
        return cls(centre, spread, weights, accuracy)

    def __call__(self, features: Table) -> Table:
        """(n, k) parameters of (n, 14) statistics."""
        # what lies outside of everything simulated must not be squared
        inner = np.clip((features - self.centre) / self.spread, -3, 3)
        return _polynomial(inner) @ self.weights


def _polynomial(z: Table) -> Table:
    first, second = np.triu_indices(z.shape[1])
    return np.concatenate([np.ones((len(z), 1)), z, z[:, first] * z[:, second]], axis=1)
