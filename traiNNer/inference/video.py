"""Frames of videos through OpenCV: pictures alone, without sound."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self, cast

import cv2

from traiNNer.data.images.image_io import ImageError, Pixels

VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v"})

_CODECS = {".avi": "MJPG", ".webm": "VP80", ".mkv": "FFV1"}
"""What OpenCV's own ffmpeg can write everywhere; MPEG-4 in all other containers."""


class Reader:
    """The frames of a video, (h, w, 3), RGB, uint8; turned as the file says. Used in a `with` statement.

    Raises:
        ImageError: For a file that cannot be read as a video, and where it ends before its last frame.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._video = cv2.VideoCapture(str(path))
        if not self._video.isOpened():
            raise ImageError(f"{path}: cannot be read as a video")
        self.height = int(self._video.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self.width = int(self._video.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.frames = max(0, int(self._video.get(cv2.CAP_PROP_FRAME_COUNT)))
        """As the header says; 0 where it does not."""
        self.frames_per_second = self._video.get(cv2.CAP_PROP_FPS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._video.release()

    def __iter__(self) -> Iterator[Pixels]:
        for number in itertools.count():
            good, frame = self._video.read()
            if not good:
                if number < self.frames - 1:  # headers may count one that is never shown
                    raise ImageError(f"{self._path}: ends after {number} of {self.frames} frames")
                return
            yield cast("Pixels", cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))


def frames_written(path: Path, frames: Iterable[Pixels], frames_per_second: float) -> int:
    """Write a video, beside its place and then moved into it; returns the number of frames.

    The codec is FFV1 in .mkv, else MPEG-4 (Motion JPEG in .avi, VP8 in .webm). An odd row or column at the end
    is left out: they take even sizes.

    Raises:
        ImageError: If it cannot be written, or there are no frames.
    """
    suffix = path.suffix.lower()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{suffix}")
    codec = cv2.VideoWriter.fourcc(*_CODECS.get(suffix, "mp4v"))
    writer = cv2.VideoWriter()
    count = 0
    try:
        for frame in frames:
            if not count and not writer.open(
                str(partial), codec, frames_per_second, (frame.shape[1], frame.shape[0])
            ):
                raise ImageError(f"{path}: no video of {frame.shape[1]} x {frame.shape[0]} can be written")
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            count += 1
        writer.release()
        if not count:
            raise ImageError(f"{path}: there are no frames to write")
        partial.replace(path)
    finally:
        writer.release()
        partial.unlink(missing_ok=True)
    return count
