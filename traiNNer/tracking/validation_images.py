"""What is kept of validated images: files, and strips for the dashboard.

Every process validates its share of the images. Each writes its own files; the strips travel to the main process.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from traiNNer.data.images.image_io import Pixels, write_image
from traiNNer.inference.images import Shown
from traiNNer.runtime.distributed import DistributedContext

_STRIPS = 4  # images of each validation set that the dashboard shows
_SIDE = 384  # pixels of each that it shows, from the middle


class Strip(NamedTuple):
    """One validated image beside what it was made from: LQ (pixels repeated), bicubic, trained, GT if any."""

    tag: str
    """`<set>/<image>`."""
    number: int
    """Place of the image in its set."""
    images: dict[str, Pixels]
    """By what they are."""


class ValidationImages:
    """Takes the images that this process validates.

    Args:
        folder: For files, `<folder>/<set>/<image>/<image>_<step>.png`; None: no files.
        suffix: Added to their names.
        strips: Whether there is a dashboard to show them.
        processes: Those that share the images.
    """

    def __init__(
        self, folder: Path | None, *, suffix: str, strips: bool, processes: DistributedContext
    ) -> None:
        self._folder, self._suffix, self._wants_strips = folder, suffix, strips
        self._processes = processes
        self._strips: list[Strip] = []

    def taker(self, step: int) -> Callable[[Shown], None] | None:
        """What to do with each image of a validation, or None if nobody looks at them."""
        if self._folder is None and not self._wants_strips:
            return None

        def take(shown: Shown) -> None:
            if self._wants_strips and shown.number < _STRIPS:
                self._strips.append(_strip(shown))
            if self._folder is not None:
                path = image_file(self._folder, shown.set_name, shown.name, step, self._suffix)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_image(path, shown.output)

        return take

    def forget(self) -> None:
        """Drop the strips of a validation that failed."""
        self._strips = []

    def collect(self) -> list[Strip]:
        """The strips of all processes since the last time; every process must ask."""
        mine, self._strips = self._strips, []
        if not self._wants_strips:
            return []
        shares = self._processes.gather(mine)
        return sorted((strip for share in shares for strip in share), key=lambda strip: strip.number)


def image_file(folder: Path, set_name: str, image: str, step: int, suffix: str) -> Path:
    """`<folder>/<set>/<image>/<image>_<step><suffix>.png`."""
    return folder / set_name / image / f"{Path(image).name}_{step}{suffix}.png"


def _strip(shown: Shown) -> Strip:
    """The same part of each."""
    scale = shown.scale
    height, width = shown.lq.shape[0] * scale, shown.lq.shape[1] * scale
    top, left = max(0, (height - _SIDE) // 2), max(0, (width - _SIDE) // 2)
    enlarged = shown.lq.repeat(scale, axis=0).repeat(scale, axis=1)
    part = (slice(top, top + _SIDE), slice(left, left + _SIDE))
    images = {"LQ": enlarged, "bicubic": shown.bicubic, "trained": shown.output, "GT": shown.gt}
    parts = {name: image[part] for name, image in images.items() if image is not None}
    return Strip(f"{shown.set_name}/{shown.name}", shown.number, parts)
