"""One frame through a video codec, by PyAV (the optional dependency `video`)."""

from __future__ import annotations

import io
from importlib.util import find_spec
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from traiNNer.data.degradations.chroma import to_rgb, to_ycc
from traiNNer.data.degradations.resizing import resize

Bytes = NDArray[np.uint8]
Image = NDArray[np.float32]

_ENCODERS = {
    "mpeg2": ("mpeg2video", ("qmin", "qmax"), (24, 3), {}),
    "mpeg4": ("mpeg4", ("qmin", "qmax"), (24, 3), {}),
    "h264": ("libx264", ("crf",), (38, 20), {"preset": "veryfast"}),
    "hevc": (
        "libx265",
        ("crf",),
        (38, 20),
        {"preset": "veryfast", "x265-params": "log-level=none:pools=none:frame-threads=1"},
    ),
    "vp9": ("libvpx-vp9", ("crf",), (52, 24), {"b": "0", "deadline": "realtime", "cpu-used": "8"}),
}
"""Encoder, the options that set its quality, their worst and best value, and what else it is told."""
CODECS = tuple(_ENCODERS)
_LEAST = 16  # pixels a side; some encoders refuse less


def has_video() -> bool:
    """Whether PyAV is installed."""
    return find_spec("av") is not None


def video_frame(image: Image, codec: str, quality: float) -> Image:
    """The image, (h, w, 3), RGB, 0 to 255, as the first frame of a film; `quality` from 0 (worst) to 1.

    Chroma has half the resolution and values have the range of television, as in nearly all films.
    """
    height, width = image.shape[:2]
    below, right = (max(size + size % 2, _LEAST) - size for size in (height, width))
    padded = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REFLECT_101)
    planes = _decoded(_encoded(_to_planes(cast("Image", padded)), codec, quality))
    return np.clip(_from_planes(planes, *padded.shape[:2]), 0, 255)[:height, :width]


def _to_planes(image: Image) -> Bytes:
    """(h * 3 / 2, w): luma, and below it both planes of chroma. swscale's own way darkens green by 1.5 levels."""
    height, width = image.shape[:2]
    ycc = to_ycc(image)
    chroma = resize(ycc, height // 2, width // 2, "area")[..., 1:]
    stacked = np.concatenate([chroma[..., 0].ravel(), chroma[..., 1].ravel()]).reshape(height // 2, width)
    planes = np.concatenate([ycc[..., 0] * (219 / 255) + 16, stacked * (224 / 255) + 128])
    return np.rint(planes).astype(np.uint8)


def _from_planes(planes: Bytes, height: int, width: int) -> Image:
    luma = (planes[:height, :, None].astype(np.float32) - 16) * np.float32(255 / 219)
    both = planes[height:].reshape(2, height // 2, width // 2).transpose(1, 2, 0)
    chroma = (both.astype(np.float32) - 128) * np.float32(255 / 224)
    chroma = cv2.resize(chroma, (width, height), interpolation=cv2.INTER_LINEAR)
    return to_rgb(cast("Image", np.concatenate([luma, chroma], axis=2)))


def _encoded(planes: Bytes, codec: str, quality: float) -> io.BytesIO:
    import av  # costs 40 ms and 30 MB, for those alone who ask for it

    encoder, keys, (worst, best), more = _ENCODERS[codec]
    wanted = str(round(worst + (best - worst) * quality))
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        options = {**more, **dict.fromkeys(keys, wanted)}
        stream = cast("Any", container.add_stream(encoder, rate=25, options=options))
        stream.height, stream.width, stream.pix_fmt = planes.shape[0] // 3 * 2, planes.shape[1], "yuv420p"
        stream.thread_count = 1
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        for packet in (*stream.encode(frame), *stream.encode()):
            container.mux(packet)
    file.seek(0)
    return file


def _decoded(file: io.BytesIO) -> Bytes:
    import av

    with av.open(file, "r") as container:
        return cast("Bytes", next(container.decode(video=0)).to_ndarray(format="yuv420p"))
