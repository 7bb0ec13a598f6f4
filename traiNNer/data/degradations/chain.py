"""The whole way from a good image to a bad one: Real-ESRGAN's two passes, or BSRGAN's in a drawn order.

    USM of the input, thick lines
    blur, resize, noise, compression        first pass
    blur, resize, noise                     second pass
    resize to LQ, low-pass, compression     or compression first
    halo, chroma                            before the last of these that compresses
    dithering, USM of LQ, rounding

Shuffled (BSRGAN): both blurs, both noises, both resizings and the first compression in any order in which the
resizing to LQ is the later one; the last compression at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from traiNNer.data.degradations.blur import blur, sharpen
from traiNNer.data.degradations.compression import CompressionSettings, compress
from traiNNer.data.degradations.draws import Draws, Stage
from traiNNer.data.degradations.effects import (
    ChromaSettings,
    DitherSettings,
    HaloSettings,
    UsmSettings,
    add_halo,
    dither,
    lose_chroma,
    sharpen_lq,
    thicken_lines,
)
from traiNNer.data.degradations.kernels import KernelMix, draw_kernel, low_pass, odd_size
from traiNNer.data.degradations.noise import NoiseSettings, add_noise
from traiNNer.data.degradations.resizing import resize

Image = NDArray[np.float32]

_LEAST = 4  # pixels a side that resizing leaves


@dataclass(frozen=True)
class BlurSettings:
    """One blur."""

    prob: float
    """Share of the samples that are blurred here."""
    kernels: KernelMix


@dataclass(frozen=True)
class ResizeSettings:
    """One resizing."""

    weights: tuple[float, float, float]
    """How often it enlarges, shrinks, and keeps the size."""
    factors: tuple[float, float]
    """Smallest and largest factor."""
    modes: tuple[str, ...]
    """Interpolations to draw from, names in `resizing.MODES`."""
    mode_weights: tuple[float, ...]
    """How often each; any sum."""


@dataclass(frozen=True)
class FinalSettings:
    """The resizing to the size of LQ, and the low-pass filter after it."""

    modes: tuple[str, ...]
    mode_weights: tuple[float, ...]
    sinc_prob: float
    sinc_sizes: tuple[int, int]


@dataclass(frozen=True)
class EffectSettings:
    """What may happen besides."""

    sharpen_input: bool = False
    """Unsharp masking of what LQ is made from (Real-ESRGAN's `gt_usm`)."""
    thick_lines_prob: float = 0.0
    halo: HaloSettings = field(default_factory=HaloSettings)
    chroma: ChromaSettings = field(default_factory=ChromaSettings)
    dither: DitherSettings = field(default_factory=DitherSettings)
    usm: UsmSettings = field(default_factory=UsmSettings)


@dataclass(frozen=True)
class Pass:
    """Blur, resizing, noise and compression, once."""

    blur: BlurSettings
    resize: ResizeSettings
    """Factors: of the first pass of the input, of the second of LQ."""
    noise: NoiseSettings
    compression: CompressionSettings


@dataclass(frozen=True)
class ChainSettings:
    """What a chain draws from."""

    first: Pass
    second: Pass
    final: FinalSettings
    effects: EffectSettings
    shuffle_prob: float = 0.0
    """Share of the samples that take BSRGAN's way."""
    clean_prob: float = 0.0
    """Share of the samples that are shrunk by bicubic and nothing else."""


class StageOf(IntEnum):
    """Which counter each stage draws by. Numbers stay: another one changes every sample."""

    WAY = 0
    LINES = 1
    BLUR_1 = 2
    RESIZE_1 = 3
    NOISE_1 = 4
    COMPRESSION_1 = 5
    BLUR_2 = 6
    RESIZE_2 = 7
    NOISE_2 = 8
    FINAL = 9
    SINC = 10
    COMPRESSION_2 = 11
    HALO = 12
    CHROMA = 13
    DITHER = 14
    USM = 15


class Applied(NamedTuple):
    """One stage that changed a sample."""

    stage: str
    parameters: Mapping[str, Any]
    """What it drew, for people to read."""
    image: Image
    """After it."""


_Step = Callable[[Image, Stage], tuple[Image, dict[str, Any]]]


class Chain:
    """Makes the LQ image of a good one: a pure function of the image and of its draws."""

    def __init__(self, settings: ChainSettings) -> None:
        self._settings = settings

    def __call__(
        self, image: Image, size: tuple[int, int], draws: Draws, trace: list[Applied] | None = None
    ) -> Image:
        """(*size, 3), whole numbers from 0 to 255.

        Args:
            image: (h, w, 3), RGB, 0 to 255; every side the same multiple of `size`.
            size: Height and width of LQ.
            draws: Of the sample.
            trace: Gets every stage that changed the image.
        """
        full = image.shape[:2]
        for stage, step in self._steps(full, size, draws):
            image, parameters = step(image, draws.stage(stage))
            if trace is not None and parameters:
                trace.append(Applied(stage.name.lower(), parameters, image))
        return np.rint(np.clip(image, 0, 255))

    def _steps(
        self, full: tuple[int, int], size: tuple[int, int], draws: Draws
    ) -> Iterator[tuple[StageOf, _Step]]:
        settings, way = self._settings, draws.stage(StageOf.WAY)
        if way.chance(settings.clean_prob):
            yield StageOf.FINAL, lambda image, draw: (resize(image, *size, "bicubic"), {"mode": "bicubic"})
            return
        shuffled, late = way.chance(settings.shuffle_prob), way.chance(0.5)
        yield StageOf.LINES, self._prepare
        steps = self._by_stage(full, size)
        order = self._shuffled(way) if shuffled else (*_PASSES, *(_LATE if late else _EARLY))
        for stage in (*order, StageOf.DITHER, StageOf.USM):
            yield stage, steps[stage]

    def _shuffled(self, way: Stage) -> list[StageOf]:
        drawn = [_SHUFFLED[index] for index in way.order(len(_SHUFFLED))]
        first, last = sorted((drawn.index(StageOf.RESIZE_1), drawn.index(StageOf.FINAL)))
        drawn[first], drawn[last] = StageOf.RESIZE_1, StageOf.FINAL
        return [*drawn, *_SEAMS, StageOf.COMPRESSION_2]

    def _by_stage(self, full: tuple[int, int], size: tuple[int, int]) -> dict[StageOf, _Step]:
        first, second, effects = self._settings.first, self._settings.second, self._settings.effects
        return {
            StageOf.BLUR_1: lambda image, draw: _blur(image, first.blur, draw),
            StageOf.RESIZE_1: lambda image, draw: _resize(image, full, first.resize, draw),
            StageOf.NOISE_1: lambda image, draw: add_noise(image, first.noise, draw),
            StageOf.COMPRESSION_1: lambda image, draw: _compress(image, first.compression, draw),
            StageOf.BLUR_2: lambda image, draw: _blur(image, second.blur, draw),
            StageOf.RESIZE_2: lambda image, draw: _resize(image, size, second.resize, draw),
            StageOf.NOISE_2: lambda image, draw: add_noise(image, second.noise, draw),
            StageOf.FINAL: lambda image, draw: self._final(image, size, draw),
            StageOf.SINC: self._low_pass,
            StageOf.COMPRESSION_2: lambda image, draw: _compress(image, second.compression, draw),
            StageOf.HALO: lambda image, draw: add_halo(image, effects.halo, draw),
            StageOf.CHROMA: lambda image, draw: lose_chroma(image, effects.chroma, draw),
            StageOf.DITHER: lambda image, draw: dither(image, effects.dither, draw),
            StageOf.USM: lambda image, draw: sharpen_lq(image, effects.usm, draw),
        }

    def _prepare(self, image: Image, draw: Stage) -> tuple[Image, dict[str, Any]]:
        parameters: dict[str, Any] = {}
        if self._settings.effects.sharpen_input:
            image, parameters["usm"] = sharpen(image), True
        if draw.chance(self._settings.effects.thick_lines_prob):
            image, parameters["thick lines"] = thicken_lines(image), True
        return image, parameters

    def _final(self, image: Image, size: tuple[int, int], draw: Stage) -> tuple[Image, dict[str, Any]]:
        final = self._settings.final
        mode = draw.pick(final.modes, final.mode_weights)
        return resize(image, *size, mode), {"mode": mode}

    def _low_pass(self, image: Image, draw: Stage) -> tuple[Image, dict[str, Any]]:
        final = self._settings.final
        if not draw.chance(final.sinc_prob):
            return image, {}
        kernel = low_pass(odd_size(final.sinc_sizes, draw), draw.uniform(np.pi / 3, np.pi))
        return blur(image, kernel), kernel.parameters


_PASSES = (
    StageOf.BLUR_1, StageOf.RESIZE_1, StageOf.NOISE_1, StageOf.COMPRESSION_1,
    StageOf.BLUR_2, StageOf.RESIZE_2, StageOf.NOISE_2,
)  # fmt: skip
_SEAMS = (StageOf.HALO, StageOf.CHROMA)
_LATE = (StageOf.FINAL, StageOf.SINC, *_SEAMS, StageOf.COMPRESSION_2)
_EARLY = (*_SEAMS, StageOf.COMPRESSION_2, StageOf.FINAL, StageOf.SINC)
_SHUFFLED = (
    StageOf.BLUR_1, StageOf.BLUR_2, StageOf.RESIZE_1, StageOf.FINAL,
    StageOf.NOISE_1, StageOf.NOISE_2, StageOf.COMPRESSION_1,
)  # fmt: skip


def _blur(image: Image, settings: BlurSettings, draw: Stage) -> tuple[Image, dict[str, Any]]:
    if not draw.chance(settings.prob):
        return image, {}
    kernel = draw_kernel(settings.kernels, draw)
    return blur(image, kernel), kernel.parameters


def draw_resizing(settings: ResizeSettings, draw: Stage) -> tuple[float, str]:
    """By which factor and how an image is resized."""
    way = draw.pick((1, -1, 0), settings.weights)
    low, high = settings.factors
    up, down = draw.uniform(max(1.0, low), max(1.0, high)), draw.uniform(min(1.0, low), min(1.0, high))
    factor = up if way > 0 else down if way < 0 else 1.0
    return factor, draw.pick(settings.modes, settings.mode_weights)


def _resize(
    image: Image, base: tuple[int, int], settings: ResizeSettings, draw: Stage
) -> tuple[Image, dict[str, Any]]:
    factor, mode = draw_resizing(settings, draw)
    height, width = (max(_LEAST, round(side * factor)) for side in base)
    return resize(image, height, width, mode), {"factor": round(factor, 3), "mode": mode}


def _compress(image: Image, settings: CompressionSettings, draw: Stage) -> tuple[Image, dict[str, Any]]:
    return compress(image, settings, draw) if draw.chance(settings.prob) else (image, {})
