"""Compression by the codecs that people's files were made with: JPEG, WebP, video frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from traiNNer.data.degradations.draws import Stage
from traiNNer.data.degradations.video import CODECS, video_frame

Image = NDArray[np.float32]
Bytes = NDArray[np.uint8]

_SAMPLING = {
    "444": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "422": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "420": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "411": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
}
SUBSAMPLINGS = tuple(_SAMPLING)
_GRID = 16  # pixels: the largest block of JPEG, with chroma at half resolution


@dataclass(frozen=True)
class CompressionSettings:
    """Which compression is drawn."""

    prob: float
    """Share of the samples that are compressed here."""
    jpeg_quality: tuple[float, float]
    """As libjpeg counts, 1 to 100."""
    subsamplings: tuple[str, ...] = ("420",)
    """Resolutions of JPEG's chroma, evenly: of `SUBSAMPLINGS`."""
    webp_prob: float = 0.0
    """Share of WebP among them."""
    webp_quality: tuple[float, float] = (30, 95)
    video_prob: float = 0.0
    """Share of video codecs among them, taken before that of WebP."""
    video_codecs: tuple[str, ...] = CODECS
    """Evenly: of `video.CODECS`."""
    video_quality: tuple[float, float] = (0.0, 1.0)
    """From the worst (0) to the best (1) that a codec is asked for."""


def compress(image: Image, settings: CompressionSettings, draw: Stage) -> tuple[Image, dict[str, Any]]:
    """The image after rounding to 8 bits and compression, and how it was compressed."""
    top, left = draw.whole(0, _GRID - 1), draw.whole(0, _GRID - 1)
    video, webp = draw.chance(settings.video_prob), draw.chance(settings.webp_prob)
    quality = draw.unit()
    if video:
        codec = draw.pick(settings.video_codecs)
        wanted = _between(settings.video_quality, quality)
        return video_frame(np.clip(image, 0, 255), codec, wanted), {
            "format": codec,
            "quality": round(wanted, 3),
        }
    # the patch is a part of a larger picture, whose blocks do not begin at its corner
    padded = cast("Bytes", cv2.copyMakeBorder(_bytes(image), top, 0, left, 0, cv2.BORDER_REFLECT_101))
    if webp:
        wanted = round(_between(settings.webp_quality, quality))
        found, parameters = webp_bytes(padded, wanted), {"format": "webp", "quality": wanted}
    else:
        wanted, sampling = round(_between(settings.jpeg_quality, quality)), draw.pick(settings.subsamplings)
        found = jpeg_bytes(padded, wanted, sampling)
        parameters = {"format": "jpeg", "quality": wanted, "chroma": sampling}
    return found[top:, left:].astype(np.float32), parameters


def jpeg_bytes(image: Bytes, quality: int, subsampling: str = "420") -> Bytes:
    """(h, w, 3), RGB, uint8, through libjpeg."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _SAMPLING[subsampling]]
    return _through(image, ".jpg", options)


def webp_bytes(image: Bytes, quality: int) -> Bytes:
    """(h, w, 3), RGB, uint8, through libwebp."""
    return _through(image, ".webp", [cv2.IMWRITE_WEBP_QUALITY, quality])


def _through(image: Bytes, suffix: str, options: list[int]) -> Bytes:
    _, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    assert decoded is not None, "what was just encoded can be decoded"
    return cast("Bytes", decoded)


def _bytes(image: Image) -> Bytes:
    # rounds like numpy and saturates, in one pass where numpy takes three
    return cast("Bytes", cv2.convertScaleAbs(np.maximum(image, 0)))


def _between(bounds: tuple[float, float], place: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * place
