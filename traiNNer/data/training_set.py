"""What a training set is to the rest of the program, and what follows from that for every kind of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from traiNNer.data.images.image_io import Pixels
from traiNNer.data.paired_dataset import Excerpt, Pair, Source

LOG = logging.getLogger(__name__)


class ImageFiles(Protocol):
    """The files of a set, with ground truth: what their names and headers say, and how they are kept."""

    scale: int
    """Height and width of the ground truth over those in `headers`."""
    decoded_bytes: int
    """Of the pixels of all files; estimated for large sets."""

    def __len__(self) -> int: ...

    @property
    def kept(self) -> str:
        """Where the decoded images are, in words."""
        ...

    @property
    def headers(self) -> NDArray[np.int32]:
        """(n, 2), height and width of each image in pixels; zeros where the header was not read."""
        ...

    def gt_path(self, index: int) -> Path:
        """The file of the ground truth of one image."""
        ...

    def gt_image(self, index: int) -> Pixels:
        """The ground truth of one image, whole. Raises ImageError, which names the file."""
        ...


class TrainingSet(Source, Protocol):
    """A collection of image pairs for training, and for validation.

    All reading is a pure function of its arguments, and raises ImageError, which names the file.
    """

    scale: int
    """Height and width of GT over those of LQ."""

    @property
    def names(self) -> list[str]:
        """Names of all images, as in `Pair.name`."""
        ...

    @property
    def files(self) -> ImageFiles | None:
        """Where its images come from; None where it draws them, so that no file can be at fault."""
        ...

    def pair(self, index: int) -> Pair:
        """A whole image for validation."""
        ...

    def excerpt(self, index: int, lq_size: int) -> Excerpt:
        """A pair of which `lq_size` LQ pixels in the middle are looked at."""
        ...

    def decode(self, index: int) -> None:
        """Read what `pair` reads, to see that it can be, and make nothing of it."""
        ...


def lq_headers(images: TrainingSet) -> NDArray[np.int32]:
    """(n, 2), height and width of each LQ image in pixels; zeros where no header was read."""
    if not images.files:
        return np.zeros((len(images), 2), np.int32)
    return images.files.headers * images.files.scale // images.scale


def smaller(images: TrainingSet, lq_size: int) -> NDArray[np.int64]:
    """Indices of the images that are known to be smaller than a patch, and are continued by reflection."""
    sizes = lq_headers(images)
    return np.flatnonzero((sizes[:, 0] > 0) & (sizes < lq_size).any(axis=1))


def report_small(images: TrainingSet, lq_size: int) -> int:
    """Log and return how many of the images whose size is known are smaller than a patch."""
    small = smaller(images, lq_size)
    if images.files and len(small):
        text = "%d of %d images are smaller than the crop (%d LQ pixels) and are padded by reflection, as %s"
        known = int(np.count_nonzero(lq_headers(images)[:, 0]))
        LOG.warning(text, len(small), known, lq_size, images.files.gt_path(int(small[0])))
    return len(small)
