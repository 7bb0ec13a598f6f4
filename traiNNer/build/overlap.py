"""Validation images that are trained on too: the same file, or the same pixels in another one."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from traiNNer.data.images.image_io import ImageError
from traiNNer.data.training_set import ImageFiles, TrainingSet, lq_headers

_LARGE = 50_000
"""Training images above which only files of the same name are compared."""


def shared_images(train: TrainingSet, images: TrainingSet, most: int) -> list[Path]:
    """The ground truth of a validation set that is in the training set too.

    Files of the same size are compared by their bytes, then images of the same height and width by their pixels.

    Args:
        train: Training set.
        images: Validation set.
        most: Training images that are decoded for it; those of the same name as a validation image come first.
    """
    if not train.files or not images.files:
        return []
    val_paths = [images.files.gt_path(index) for index in range(len(images))]
    shared = set(_same_files(train.files, val_paths))
    left = [index for index, path in enumerate(val_paths) if path not in shared]
    shared |= {val_paths[index] for index in _same_pixels(train, images, left, most)}
    return [path for path in val_paths if path in shared]


def _same_files(train: ImageFiles, val_paths: list[Path]) -> Iterator[Path]:
    sizes = {path.stat().st_size for path in val_paths}
    names = {path.name for path in val_paths}
    everything = len(train) <= _LARGE
    paths = map(train.gt_path, range(len(train)))
    candidates = [path for path in paths if everything or path.name in names]
    known = {_digest(path) for path in candidates if path.stat().st_size in sizes}
    return (path for path in val_paths if known and _digest(path) in known)


def _same_pixels(train: TrainingSet, images: TrainingSet, left: list[int], most: int) -> Iterator[int]:
    assert train.files and images.files
    names, by_size = images.names, defaultdict(list)
    for index, size in zip(left, lq_headers(images)[left].tolist(), strict=True):
        by_size[tuple(size)].append(index)
    wanted = {_last_part(names[index]) for index in left}
    sizes = lq_headers(train)
    like = [(sizes == size).all(axis=1) for size in by_size if size != (0, 0)]
    candidates = np.flatnonzero(np.logical_or.reduce(like)).tolist() if like else []
    train_names = train.names if candidates else []
    candidates.sort(key=lambda index: _last_part(train_names[index]) not in wanted)
    digests = {_pixels(images.files, index): index for index in left} if candidates else {}
    for index in candidates[:most]:
        if (found := digests.get(_pixels(train.files, index))) is not None:
            yield found


def _last_part(name: str) -> str:
    return name.rpartition("/")[2]


def _pixels(images: ImageFiles, index: int) -> bytes:
    """A digest of the decoded ground truth; of a file that cannot be read, of nothing that another one has."""
    try:
        gt = images.gt_image(index)
    except ImageError as error:
        return str(error).encode()
    return hashlib.blake2b(np.ascontiguousarray(gt).data, digest_size=16).digest()


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha1").digest()
