"""Collections of image pairs: what the stream draws its samples from, and what validation runs over."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from traiNNer.data.cache.memory import Images
from traiNNer.data.cache.policy import NO_CACHE, CacheSettings, keep_decoded, wants_all_headers
from traiNNer.data.held_out import Part, in_part
from traiNNer.data.images.image_io import ImageError, Pixels, read_image
from traiNNer.data.pairs.file_index import Files
from traiNNer.data.pairs.meta_info import listed_names
from traiNNer.data.pairs.pair_sizes import PairHeaders, fits
from traiNNer.data.pairs.pairing import (
    Pairs,
    Problems,
    Progress,
    check_folders,
    check_template,
    paired_files,
)
from traiNNer.data.sampler import SampleSpec

LOG = logging.getLogger(__name__)


class Patch(NamedTuple):
    """One training sample, cropped and flipped; both parts have the same dtype."""

    lq: Pixels
    gt: Pixels


class Pair(NamedTuple):
    """A whole image for validation."""

    lq: Pixels
    gt: Pixels | None
    """Exactly `scale` times as large as `lq`, of the same dtype; None where there is no ground truth."""
    name: str
    """Relative path without suffix, with `/`; unique in its data set."""


class Excerpt(NamedTuple):
    """What is looked at of a pair before training."""

    pair: Pair
    """Whole, or no more than the middle where that is cheaper; not to be written to."""
    gt: Pixels
    """The ground truth, whole."""


class Source(Protocol):
    """A collection of image pairs. Reading must be a pure function of its arguments."""

    def __len__(self) -> int: ...

    def read(self, draw: SampleSpec, lq_size: int) -> Patch:
        """The sample that a draw describes.

        Raises:
            ImageError: Names the file that cannot be read.
        """
        ...


class PairedImageDataset:
    """Pairs of a GT and an LQ image in two folders (or several pairs of folders), nested or not.

    An image belongs to the one with the same relative path and the same name without suffix. Pairs are checked
    from the file headers at construction, of large sets a sample (`headers.LARGE`), the others as they are read:
    GT must be `scale` times as large as LQ; where it is larger by less than `scale` pixels, as in the field's
    benchmarks, its right and lower edges are cut.
    """

    def __init__(
        self,
        gt_roots: Sequence[str | Path],
        lq_roots: Sequence[str | Path],
        scale: int,
        *,
        filename_tmpl: str = "{}",
        use_hflip: bool = True,
        use_rot: bool = True,
        skip_bad_images: bool = False,
        cache: CacheSettings = NO_CACHE,
        progress: Progress | None = None,
        part: Part = "all",
        left_out: Collection[str] = (),
        meta_info_file: str | Path | None = None,
    ) -> None:
        """Find and check the files.

        Args:
            gt_roots: Folders with ground truth.
            lq_roots: As many folders with LQ images, in the same order.
            scale: Height and width of GT over those of LQ.
            filename_tmpl: The name of an LQ file without suffix, `{}` standing for that of its GT: `{}x4`.
            use_hflip: Mirror samples left to right, as the draw says.
            use_rot: Mirror samples top to bottom and transpose them, as the draw says.
            skip_bad_images: Leave out, with a warning, what is unmatched, unreadable or of the wrong size.
            cache: Whether and where to keep decoded images.
            progress: Called while the headers are read.
            part: Which of the images to use, see `traiNNer.data.held_out`.
            left_out: Names (see `Pair.name`) of images that are not to be used.
            meta_info_file: A list of the images to use, see `listed_names`; None: all.

        Raises:
            ConfigError: Lists the files that do not fit, the first twenty of each kind; too few for a part.
        """
        self.scale = scale
        self._use_hflip, self._use_rot = use_hflip, use_rot
        gt_paths, lq_paths = [Path(root) for root in gt_roots], [Path(root) for root in lq_roots]
        check_folders(gt_paths, lq_paths, scale)
        check_template(filename_tmpl)
        problems = Problems(skip=skip_bad_images)
        listed = listed_names(meta_info_file) if meta_info_file else None
        pairs = paired_files(gt_paths, lq_paths, filename_tmpl, problems, listed)
        if left_out or part != "all":
            wanted = in_part(pairs.gt, part)
            wanted &= np.array([pairs.gt.name(i) not in left_out for i in range(len(pairs.gt))], np.bool_)
            pairs = Pairs(pairs.gt.select(wanted), pairs.lq.select(wanted))
        headers = PairHeaders(pairs, scale, progress)
        headers.read_some()
        if wants_all_headers(headers, cache):
            headers.read_all()
        good = headers.settle(problems)
        self._gt, self._lq = pairs.gt.select(good), pairs.lq.select(good)
        problems.settle(len(self), str(gt_paths[0]))
        both = 2 if self._gt.same_as(self._lq) else 1
        self.decoded_bytes = headers.decoded_bytes() // both
        """Bytes of the pixels of all files; estimated for large sets."""
        self._headers = headers.lq
        self._kept_gt, self._kept_lq, self.kept = keep_decoded(Pairs(self._gt, self._lq), headers, cache)

    def __len__(self) -> int:
        return len(self._gt)

    @property
    def names(self) -> list[str]:
        """Names of all pairs, as in `Pair.name`."""
        return [self._gt.name(index) for index in range(len(self))]

    def name(self, index: int) -> str:
        """The name of one pair, as in `Pair.name`."""
        return self._gt.name(index)

    @property
    def files(self) -> PairedImageDataset:
        """This itself: see `traiNNer.data.training_set.TrainingSet`."""
        return self

    def gt_path(self, index: int) -> Path:
        """The file of the ground truth of one pair."""
        return self._gt.path(index)

    @property
    def headers(self) -> NDArray[np.int32]:
        """(n, 2), height and width of each LQ image in pixels; zeros where the header was not read."""
        return self._headers[:, :2]

    def read(self, draw: SampleSpec, lq_size: int) -> Patch:
        """The sample that a draw describes: a square crop of `lq_size` LQ pixels, flipped and transposed.

        An image that is too small is continued by its mirror image, edge pixels included: the only
        reflection that continues LQ and GT alike.
        """
        lq, gt = self._pixels(draw.index)
        top = int(draw.row * max(1, lq.shape[0] - lq_size + 1))
        left = int(draw.column * max(1, lq.shape[1] - lq_size + 1))
        k = self.scale
        patch = of_one_type(
            _crop(lq, top, left, lq_size),
            _crop(gt, top * k, left * k, lq_size * k),
        )
        return Patch(self.orient(patch.lq, draw), self.orient(patch.gt, draw))

    def pair(self, index: int) -> Pair:
        """A whole image with its ground truth. Raises ImageError, which names the file."""
        lq, gt = of_one_type(*self._pixels(index))
        return Pair(writable(lq), writable(gt), self._gt.name(index))

    def excerpt(self, index: int, lq_size: int) -> Excerpt:
        """A pair of which `lq_size` LQ pixels in the middle are looked at. Raises ImageError, as `pair`."""
        lq, gt = of_one_type(*self._pixels(index))
        return Excerpt(Pair(lq, gt, self._gt.name(index)), gt)

    def decode(self, index: int) -> None:
        """Read the files of a pair, to see that they can be. Raises ImageError, as `pair`."""
        self._pixels(index)

    def gt_image(self, index: int) -> Pixels:
        """The whole ground truth of a pair; a view where it is kept. Raises ImageError, which names the file."""
        return self._image(self._gt, self._kept_gt, index)

    def _pixels(self, index: int) -> tuple[Pixels, Pixels]:
        """LQ and the GT that belongs to it; views where they are kept."""
        lq, gt = self._image(self._lq, self._kept_lq, index), self._image(self._gt, self._kept_gt, index)
        if not fits(gt.shape, lq.shape, self.scale):
            raise ImageError(
                f"{self._gt.path(index)}: its size {gt.shape[:2]} does not fit {lq.shape[:2]} of "
                f"{self._lq.path(index)} at scale {self.scale}"
            )
        return lq, cast("Pixels", gt[: lq.shape[0] * self.scale, : lq.shape[1] * self.scale])

    def _image(self, files: Files, kept: Images | None, index: int) -> Pixels:
        image = kept.get(index) if kept else None
        if image is None:
            image = self._decode(files.path(index))
            if kept:
                kept.put(index, image)
        return image

    def _decode(self, path: Path) -> Pixels:
        """The one place where files are decoded for samples."""
        return read_image(path)

    def orient(self, patch: Pixels, draw: SampleSpec) -> Pixels:
        """A contiguous copy, flipped and transposed as the draw says; it does not keep the whole image alive.

        By OpenCV: 4 us where numpy takes 50 to copy a flipped patch of 96 pixels.
        """
        rows, columns = self._use_rot and draw.flip_rows, self._use_hflip and draw.flip_columns
        # row by row first: straight from the image, whose rows lie far apart, transposing takes twice as long
        copy = (
            cv2.flip(patch, -1 if rows and columns else 0 if rows else 1) if rows or columns else patch.copy()
        )
        return cast("Pixels", cv2.transpose(copy) if self._use_rot and draw.transpose else copy)


def writable(image: Pixels) -> Pixels:
    """Pixels that may be written to, as torch asks of what it takes; those of a cache on the disk may not."""
    return image if image.flags.writeable else cast("Pixels", image.copy())


def _crop(image: Pixels, top: int, left: int, size: int) -> Pixels:
    """A square, continued below and on the right by reflection where the image ends."""
    part = image[top : top + size, left : left + size]
    below, right = size - part.shape[0], size - part.shape[1]
    if below or right:
        return cast("Pixels", np.pad(part, ((0, below), (0, right), (0, 0)), mode="symmetric"))
    return part


def of_one_type(lq: Pixels, gt: Pixels) -> Patch:
    """Where 8 and 16 bits meet, both become 16."""
    return Patch(lq, gt) if lq.dtype == gt.dtype else Patch(_words(lq), _words(gt))


def _words(image: Pixels) -> Pixels:
    """As uint16, full range to full range."""
    if image.dtype == np.uint16:
        return image
    return image.astype(np.uint16) * np.uint16(257)
