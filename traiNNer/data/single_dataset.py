"""Collections of LQ images without ground truth, for validation and tests."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from traiNNer.data.images.image_io import read_image
from traiNNer.data.paired_dataset import Pair
from traiNNer.data.pairs.file_index import Files, Names
from traiNNer.data.pairs.pair_sizes import read_headers
from traiNNer.data.pairs.pairing import Problems, Progress, find_images
from traiNNer.data.training_set import TrainingSet
from traiNNer.registry import ConfigError


class SingleImageDataset:
    """LQ images without ground truth: for looking at results, not for training."""

    def __init__(
        self,
        lq_roots: Sequence[str | Path],
        scale: int = 1,
        *,
        skip_bad_images: bool = False,
        progress: Progress | None = None,
        left_out: Collection[str] = (),
    ) -> None:
        """Find the files.

        Args:
            lq_roots: Folders of images.
            scale: Height and width of what is made of them over their own.
            skip_bad_images: Leave out, with a warning, what cannot be read.
            progress: Called while the headers are read.
            left_out: Names (see `Pair.name`) of images that are not to be used.

        Raises:
            ConfigError: With the files whose header cannot be read.
        """
        self.scale = scale
        roots = [Path(root) for root in lq_roots]
        if not roots:
            raise ConfigError("dataroot_lq is missing: a folder of images is needed")
        problems = Problems(skip=skip_bad_images)
        files = Files.joined(roots, [Names.of(find_images(root)) for root in roots])
        sizes, bad = read_headers(files, progress)
        problems.add("unreadable images", [bad[index] for index in sorted(bad)])
        wanted = np.array(
            [i not in bad and files.name(i) not in left_out for i in range(len(files))], np.bool_
        )
        self._lq = files.select(wanted)
        self.headers: NDArray[np.int32] = sizes[wanted, :2]
        """(n, 2), height and width of each image in pixels."""
        problems.settle(len(self), str(roots[0]))

    def __len__(self) -> int:
        return len(self._lq)

    @property
    def names(self) -> list[str]:
        """Names of all images, as in `Pair.name`."""
        return [self._lq.name(index) for index in range(len(self))]

    def lq_path(self, index: int) -> Path:
        """The file of one image."""
        return self._lq.path(index)

    def decode(self, index: int) -> None:
        """Read the file of an image, to see that it can be. Raises ImageError, as `pair`."""
        read_image(self._lq.path(index))

    def pair(self, index: int) -> Pair:
        """A whole image. Raises ImageError, which names the file."""
        return Pair(read_image(self._lq.path(index)), None, self._lq.name(index))


MeasuredDataset: TypeAlias = TrainingSet | SingleImageDataset
"""What a validation or a test runs over."""
