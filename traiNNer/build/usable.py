"""Validation images that would end a run at its first validation: found at the start."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from traiNNer.build.metrics import unmeasurable
from traiNNer.data.images.image_io import ImageError
from traiNNer.data.single_dataset import MeasuredDataset, SingleImageDataset
from traiNNer.metrics import Metric
from traiNNer.registry import ConfigError
from traiNNer.runtime.cpus import usable_cpus
from traiNNer.wording import shortened

_log = logging.getLogger(__name__)

_MOST_READ = 500
"""Images that are decoded; of larger sets that many, spread evenly."""
_LISTED = 20


def usable(
    images: MeasuredDataset,
    metrics: Callable[[], Mapping[str, Metric]],
    *,
    read: bool,
    skip_bad_images: bool,
    reopen: Callable[[set[str]], MeasuredDataset],
) -> MeasuredDataset:
    """The set without what cannot be measured.

    Args:
        images: Opened, so that their headers are good.
        metrics: Makes the metrics; called only where an image is small.
        read: Whether to decode them.
        skip_bad_images: Go on without those that are bad, said in a warning.
        reopen: Opens the set again without the images of these names.

    Raises:
        ConfigError: Naming the images, and why, unless they may be skipped.
    """
    faults = unmeasurable(images, metrics)
    remedy = "leave them out, or the metric"
    if read and (damaged := _unreadable(images, skip=set(faults))):
        faults |= damaged
        remedy = "mend or remove them"
    if not faults:
        return images
    names = {images.names[index] for index in faults}
    lines = shortened([f"{_file(images, index)}: {why}" for index, why in sorted(faults.items())], _LISTED)
    said = "\n  ".join([f"images that cannot be measured ({len(faults)}):", *lines])
    if not skip_bad_images:
        raise ConfigError([said, f"{remedy}; skip_bad_images: true goes on without these files"])
    if len(faults) == len(images):
        raise ConfigError([said, "no image is left to measure"])
    _log.warning("skipped: %s", said)
    return reopen(names)


def _file(images: MeasuredDataset, index: int) -> Path:
    if isinstance(images, SingleImageDataset):
        return images.lq_path(index)
    return images.files.gt_path(index) if images.files else Path(images.names[index])


def _unreadable(images: MeasuredDataset, skip: set[int]) -> dict[int, str]:
    """What is wrong with files whose headers are good and whose pixels are not."""
    count = min(len(images), _MOST_READ)
    chosen = np.linspace(0, len(images) - 1, count).astype(np.int64).tolist()

    def fault(index: int) -> str:
        try:
            images.decode(index)
        except ImageError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(min(8, usable_cpus())) as pool:
        faults = pool.map(fault, chosen)
        return {index: why for index, why in zip(chosen, faults, strict=True) if why and index not in skip}
