"""Ranges of a degradation chain for somebody's own low-quality images, found by simulation.

Ground truth is degraded with known settings, statistics of the results are learned to tell the settings, and those
of the target are read off in the same way (simulation-based inference by regression).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from traiNNer.build.degradation import build_chain
from traiNNer.data.degradations.draws import Draws
from traiNNer.data.degradations.statistics import POSSIBLE, Accuracy, Estimator, statistics
from traiNNer.data.images.image_io import Pixels, eight_bits, image_size, read_bytes, read_image
from traiNNer.data.preparing.measures import jpeg_quality
from traiNNer.data.purposes import Purpose
from traiNNer.options.degradation import DegradationOptions

Image = NDArray[np.float32]

LARGEST_NOISE = 20.0
_QUALITIES = (25.0, 98.0)
_SIGMAS = (0.2, 1.5)  # of a blur, the larger one in LQ pixels
_LEAST, _MOST = 32, 128  # pixels a side of what statistics are taken of
_WINDOWS = 4  # a side, of a target image at most
_ROUNDS, _MARGIN = 2, 3  # the second learns within what the first found, widened by so many of its errors
_TAILS = (10, 90)
"""Percentiles of the estimates that become the range: single estimates are wider spread than the truth."""

FIXED: dict[str, Any] = {
    "preset": "realesrgan",
    "blur_prob": 1.0, "sinc_prob": 0.0, "kernel_list": ["iso"], "kernel_prob": [1], "kernel_range": [31, 31],
    "blur_kernel_size": 31,
    "resize_prob": [0, 0, 1], "noise_range": [0, 0], "poisson_scale_range": [0, 0], "jpeg_prob": 0.0,
    "blur_prob2": 0.0, "resize_prob2": [0, 0, 1], "gaussian_noise_prob2": 1.0, "final_sinc_prob": 0.0,
}  # fmt: skip
"""What a fitted chain is beside its ranges: one blur, shrinking, one noise, one JPEG."""


@dataclass(frozen=True)
class Parameter:
    """One setting that is estimated."""

    option: str
    label: str
    least: float
    most: float


def parameters_at(scale: int) -> tuple[Parameter, ...]:
    """What is estimated, and within which bounds."""
    return (
        Parameter("blur_sigma", "blur sigma (GT pixels)", _SIGMAS[0], _SIGMAS[1] * scale),
        Parameter("noise_range2", "noise sigma (levels)", 0.0, LARGEST_NOISE),
        Parameter("jpeg_range2", "JPEG quality", *_QUALITIES),
        Parameter("gray_noise_prob2", "grey noise", 0.0, 1.0),
    )


class _Seen(NamedTuple):
    """What is looked at of one target image."""

    windows: NDArray[np.float64]
    """(n, 14) statistics of its parts."""
    quality: int | None
    """Of JPEG, by its tables; None for other formats."""


@dataclass(frozen=True)
class Fit:
    """Settings that make images like the target."""

    options: dict[str, Any]
    """The section `degradation`."""
    accuracy: dict[str, Accuracy]
    """By `Parameter.label`."""
    from_tables: int
    """Target files whose JPEG quality was read from their tables."""
    before: NDArray[np.float64]
    """(14,) medians of the statistics of ground truth shrunk without damage."""
    after: NDArray[np.float64]
    """(14,) of ground truth under the fitted chain."""
    target: NDArray[np.float64]


def fit(targets: Sequence[Path], photos: Sequence[Path], scale: int, simulations: int = 800) -> Fit:
    """Settings for the images `targets`, learned on the ground truth `photos`.

    Raises:
        ImageError: For a file that cannot be read.
        ValueError: If images are too small.
    """
    side = _common_side(photos, targets, scale)  # by their headers: a refusal comes before decoding
    large = [path for path in photos if min(image_size(path)) >= side * scale]
    gt = [_middle(_levels(read_image(path)), 2 * _MOST * scale) for path in large]
    targets_seen = [_seen(path, side) for path in targets]
    known = parameters_at(scale)
    ranges: list[list[float]] = [[p.least, p.most] for p in known]
    settings: dict[str, Any] = {}
    estimate = None
    for _ in range(_ROUNDS):
        wide = FIXED | {p.option: r for p, r in zip(known[:3], ranges, strict=False)}
        estimate = Estimator.fit(*_simulate(gt, wide | {"gray_noise_prob2": 0.5}, scale, side, simulations))
        settings = _options(known, targets_seen, estimate)
        ranges = [
            _widened(settings[p.option], _MARGIN * value.error, p)
            for p, value in zip(known[:3], estimate.accuracy, strict=False)
        ]
    assert estimate is not None, "there is at least one round"
    clean = FIXED | {"blur_prob": 0.0, "noise_range2": [0, 0], "jpeg_prob2": 0.0}
    count = max(60, simulations // 8)
    before, after = (
        np.median(_simulate(gt, options, scale, side, count)[0], axis=0) for options in (clean, settings)
    )
    return Fit(
        settings,
        {p.label: value for p, value in zip(known, estimate.accuracy, strict=True)},
        sum(seen.quality is not None for seen in targets_seen),
        before,
        after,
        np.median([np.median(seen.windows, axis=0) for seen in targets_seen], axis=0),
    )


def _common_side(photos: Sequence[Path], targets: Sequence[Path], scale: int) -> int:
    sides = [min(image_size(path)) // scale for path in photos]
    side = min(_MOST, int(np.median(sides))) // 8 * 8  # larger windows tell more; smaller images are left out
    if side < _LEAST:
        raise ValueError(f"--gt: half of the images should have {_LEAST * scale} pixels a side at x{scale}")
    for path in targets:
        side = min(side, min(image_size(path)) // 8 * 8)
        if side < _LEAST:
            raise ValueError(f"{path}: should have at least {_LEAST} pixels a side")
    return side


def _simulate(
    gt: Sequence[Image], options: dict[str, Any], scale: int, side: int, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Statistics (n, 14), and the parameters (n, 4) that the samples drew."""
    chain = build_chain(DegradationOptions(**options))
    features, parameters = [], []
    for position in range(count):
        draws = Draws(0, Purpose.CHOICE, position)
        place, image = draws.stage(31), gt[position % len(gt)]
        top, left = (place.whole(0, length - side * scale) for length in image.shape[:2])
        part = image[top : top + side * scale, left : left + side * scale]
        trace: list[Any] = []
        features.append(statistics(chain(part, (side, side), draws, trace)))
        drew = {applied.stage: applied.parameters for applied in trace}
        noise = drew.get("noise_2", {})
        parameters.append([
            _sigma(drew.get("blur_1", {})), noise.get("sigma", 0.0),
            drew.get("compression_2", {}).get("quality", 100), float(noise.get("gray", False)),
        ])  # fmt: skip
    return np.array(features), np.array(parameters, np.float64)


def _sigma(parameters: Any) -> float:
    value = parameters.get("sigma", 0.0)
    return float(value[0] if isinstance(value, (list, tuple)) else value)


def _options(known: Sequence[Parameter], targets: Sequence[_Seen], estimate: Estimator) -> dict[str, Any]:
    found = np.array([np.median(estimate(seen.windows), axis=0) for seen in targets])
    found = np.clip(found, [p.least for p in known], [p.most for p in known])
    for row, seen in zip(found, targets, strict=True):
        if seen.quality is not None:
            row[2] = seen.quality
    options = dict(FIXED)
    for column, parameter in enumerate(known[:3]):
        low, high = np.percentile(found[:, column], _TAILS)
        options[parameter.option] = [round(float(low), 2), round(float(high), 2)]
    told = estimate.accuracy[3].correlation >= POSSIBLE
    options["gray_noise_prob2"] = round(float(np.mean(found[:, 3])), 2) if told else 0.5
    return options


def _widened(values: Sequence[float], margin: float, parameter: Parameter) -> list[float]:
    # tables of files may say what lies outside of what is simulated
    low, high = (min(max(value, parameter.least), parameter.most) for value in values)
    return [max(parameter.least, low - margin), min(parameter.most, high + margin)]


def _seen(path: Path, side: int) -> _Seen:
    windows = [statistics(part) for part in _windows(_levels(read_image(path)), side)]
    return _Seen(np.array(windows), _quality_of(path))


def _quality_of(path: Path) -> int | None:
    """From the tables of a JPEG file; None for other formats."""
    data = read_bytes(path)
    return jpeg_quality(data) if data.startswith(b"\xff\xd8") else None


def _windows(image: Image, side: int) -> Iterable[Image]:
    """Up to `_WINDOWS` a side, spread evenly."""
    starts = [
        np.unique(np.linspace(0, length - side, min(_WINDOWS, length // side)).astype(int))
        for length in image.shape[:2]
    ]
    for top in starts[0]:
        for left in starts[1]:
            yield image[top : top + side, left : left + side]


def _middle(image: Image, most: int) -> Image:
    """The middle square of large images: 200 photographs of a camera would fill the memory."""
    top, left = (max(0, (length - most) // 2) for length in image.shape[:2])
    return image[top : top + most, left : left + most].copy()


def _levels(image: Pixels) -> Image:
    return eight_bits(image).astype(np.float32)
