"""Pairs whose LQ image is made as it is asked for, from the ground truth and the draws of its position."""

from __future__ import annotations

from typing import Protocol, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from traiNNer.data.degradations.chain import Applied
from traiNNer.data.degradations.draws import Draws
from traiNNer.data.degradations.resizing import resize
from traiNNer.data.images.image_io import ImageError, Pixels
from traiNNer.data.paired_dataset import Excerpt, Pair, PairedImageDataset, Patch, of_one_type, writable
from traiNNer.data.purposes import Purpose
from traiNNer.data.sampler import SampleSpec

MARGIN = 8
"""Pixels of ground truth around a patch that are degraded with it and cut off, so that its borders are as good as
its middle; rounded up to whole LQ pixels."""
_VALIDATION_SEED = 0  # whatever the seed of the run: scores of runs can be compared


class Degrade(Protocol):
    """Makes an LQ image; see `degradations.chain.Chain`."""

    def __call__(
        self,
        image: NDArray[np.float32],
        size: tuple[int, int],
        draws: Draws,
        trace: list[Applied] | None = None,
    ) -> NDArray[np.float32]: ...


class DegradedImageDataset:
    """Ground truth with LQ images that are made while it is read.

    Args:
        files: The ground truth, with LQ images of its own where `paired_prob` is above 0; says how samples are
            flipped.
        scale: Height and width of GT over those of LQ.
        degrade: Makes LQ from GT.
        paired_prob: Share of samples that take the LQ image that `files` has.
    """

    def __init__(
        self, files: PairedImageDataset, scale: int, degrade: Degrade, *, paired_prob: float = 0.0
    ) -> None:
        self.scale = scale
        self.files = files
        self._degrade, self._paired_prob = degrade, paired_prob
        self._margin = -(-MARGIN // scale)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def names(self) -> list[str]:
        """Names of all images, as in `Pair.name`."""
        return self.files.names

    def read(self, draw: SampleSpec, lq_size: int) -> Patch:
        """The sample that a draw describes: LQ is a function of the seed and the position alone."""
        if self._is_paired(draw.seed, draw.position):
            return self.files.read(draw, lq_size)
        return self.traced(draw, lq_size, None)

    def traced(self, draw: SampleSpec, lq_size: int, trace: list[Applied] | None) -> Patch:
        """`read` by the chain alone, with every stage in `trace`."""
        gt = self.files.gt_image(draw.index)
        size, around = lq_size * self.scale, self._margin * self.scale
        top, left = (
            int(place * max(1, side - size + 1))
            for place, side in zip((draw.row, draw.column), gt.shape[:2], strict=True)
        )
        window = self.files.orient(_window(gt, top - around, left - around, size + 2 * around), draw)
        draws = Draws(draw.seed, Purpose.TRAIN, draw.position)
        whole = lq_size + 2 * self._margin
        lq = self._degrade(_levels(window), (whole, whole), draws, trace)
        inside = slice(self._margin, self._margin + lq_size)
        inner = window[around : around + size, around : around + size]
        return of_one_type(lq[inside, inside].astype(np.uint8), cast("Pixels", inner.copy()))

    def pair(self, index: int) -> Pair:
        """A whole image for validation, degraded by draws of its index: the same in every run."""
        if self._is_paired(_VALIDATION_SEED, index):
            return self.files.pair(index)
        return self.traced_pair(index, None)

    def traced_pair(self, index: int, trace: list[Applied] | None) -> Pair:
        """`pair` by the chain alone, with every stage in `trace`."""
        return self._degraded(index, self._cut(index), trace)

    def excerpt(self, index: int, lq_size: int) -> Excerpt:
        """The middle of a pair, `lq_size` LQ pixels or what there is; see `PairedImageDataset.excerpt`."""
        if self._is_paired(_VALIDATION_SEED, index):
            return self.files.excerpt(index, lq_size)
        whole = self._cut(index)
        top, left = (max(0, side // self.scale - lq_size) // 2 * self.scale for side in whole.shape[:2])
        size = lq_size * self.scale
        middle = cast("Pixels", whole[top : top + size, left : left + size])
        return Excerpt(self._degraded(index, middle, None), whole)

    def decode(self, index: int) -> None:
        """Read the files of a pair, to see that they can be. Raises ImageError, as `pair`."""
        if self._is_paired(_VALIDATION_SEED, index):
            self.files.decode(index)
        else:
            self._cut(index)

    def _cut(self, index: int) -> Pixels:
        """The ground truth without what is over at its right and lower edge."""
        gt = self.files.gt_image(index)
        height, width = (side // self.scale for side in gt.shape[:2])
        if not height or not width:
            raise ImageError(f"{self.files.gt_path(index)}: is smaller than {self.scale} pixels")
        return cast("Pixels", gt[: height * self.scale, : width * self.scale])

    def _degraded(self, index: int, gt: Pixels, trace: list[Applied] | None) -> Pair:
        """A pair of the ground truth given, by the draws of validation."""
        height, width = (side // self.scale for side in gt.shape[:2])
        draws = Draws(_VALIDATION_SEED, Purpose.VALIDATION, index)
        lq = self._degrade(_levels(gt), (height, width), draws, trace)
        return Pair(*of_one_type(lq.astype(np.uint8), writable(gt)), self.files.name(index))

    def _is_paired(self, seed: int, number: int) -> bool:
        return self._paired_prob > 0 and Draws(seed, Purpose.CHOICE, number).stage(0).chance(
            self._paired_prob
        )


class Downsampling:
    """The `Degrade` that only shrinks, by one of `degradations.resizing.MODES`."""

    def __init__(self, mode: str) -> None:
        self.mode = mode

    def __call__(
        self,
        image: NDArray[np.float32],
        size: tuple[int, int],
        draws: Draws,
        trace: list[Applied] | None = None,
    ) -> NDArray[np.float32]:
        """(*size, 3), whole numbers from 0 to 255."""
        small = resize(image, *size, self.mode)
        if trace is not None:
            trace.append(Applied("final", {"mode": self.mode}, small))
        return np.rint(np.clip(small, 0, 255))


def _window(image: Pixels, top: int, left: int, size: int) -> Pixels:
    """A square part of the image continued by its mirror image on all sides, edge pixels included."""
    bottom, right = top + size, left + size
    height, width = image.shape[:2]
    inside = image[max(0, top) : bottom, max(0, left) : right]
    beyond = max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width)
    if not any(beyond):
        return cast("Pixels", inside)
    return cast("Pixels", cv2.copyMakeBorder(np.ascontiguousarray(inside), *beyond, cv2.BORDER_REFLECT))


def _levels(image: Pixels) -> NDArray[np.float32]:
    """Float32, 0 to 255."""
    levels = image.astype(np.float32)
    return levels / np.float32(257) if image.dtype == np.uint16 else levels
