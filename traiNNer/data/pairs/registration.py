"""How an image differs from another of the same scene: shifted, of other contrast, or another scene."""

from __future__ import annotations

from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray


class Comparison(NamedTuple):
    """How an image differs from another, in grey."""

    shift: tuple[float, float]
    """To the right and down, in pixels."""
    gain: float
    """Its contrast over that of the other."""
    correlation: float


NO_DIFFERENCE = Comparison((0.0, 0.0), 1.0, 1.0)


def compare(expected: NDArray[np.float64], found: NDArray[np.float64]) -> Comparison:
    """Compare two grey images (h, w).

    Phase correlation tells the whole pixels, the least-squares solution of Lucas and Kanade (1981) the rest;
    on photographs it was ten times as exact as the peak of phase correlation. An image of less than eight
    pixels on a side is too small to tell and counts as equal.
    """
    if min(found.shape) < 8:
        return NO_DIFFERENCE
    window = cv2.createHanningWindow(expected.shape[::-1], cv2.CV_64F)
    # copies, because it multiplies its arguments in place
    x, y = cv2.phaseCorrelate(expected.copy(), found.copy(), window)[0]
    moves = [(0, 0)]
    if abs(x) < found.shape[1] / 4 and abs(y) < found.shape[0] / 4:
        moves.append((round(x), round(y)))
    a, b = _blur(expected), _blur(found)
    right, down = max(moves, key=lambda move: _correlation(*_overlap(a, b, *move)))
    expected, found = _overlap(a, b, right, down)
    gain = float(found.std() / expected.std()) if expected.std() else 1.0
    slope_y, slope_x = np.gradient(expected)
    slopes = np.stack([slope_x.ravel(), slope_y.ravel()])
    change = (expected - expected.mean()) - (found - found.mean()) / (gain or 1.0)
    rest = np.linalg.pinv(slopes @ slopes.T) @ (slopes @ change.ravel())
    return Comparison((right + float(rest[0]), down + float(rest[1])), gain, _correlation(expected, found))


def _blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """So little that only noise and compression count less."""
    return cast("NDArray[np.float64]", cv2.GaussianBlur(image, (0, 0), 1.0))


def _overlap(
    expected: NDArray[np.float64], found: NDArray[np.float64], right: int, down: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The parts of both that show the same, if `found` is shifted by whole pixels."""
    height, width = found.shape
    return (
        expected[max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)],
        found[max(0, down) : height - max(0, -down), max(0, right) : width - max(0, -right)],
    )


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    spread = float(a.std() * b.std())
    return float(((a - a.mean()) * (b - b.mean())).mean()) / spread if spread else 0.0
