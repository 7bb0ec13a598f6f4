"""Finding and opening the data sets of a run; the demonstration data is made when it is missing."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from traiNNer.data.cache.memory import mib
from traiNNer.data.cache.policy import CacheSettings
from traiNNer.data.paired_dataset import PairedImageDataset
from traiNNer.data.synthetic import ensure_demo_data
from traiNNer.options import DatasetOptions, Options
from traiNNer.registry import ConfigError
from traiNNer.runtime.cpus import usable_cpus
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.runtime.memory import host_memory_limit

_log = logging.getLogger(__name__)

DEMO = Path("datasets/demo")


def open_sets(
    options: Options, processes: DistributedContext, *, may_write: bool = True
) -> tuple[PairedImageDataset, dict[str, PairedImageDataset]]:
    """The training set and the validation sets by name, checked.

    Args:
        options: Of the run.
        processes: Of the run.
        may_write: Whether decoded images may be written to the disk, as the options say.

    Raises:
        ConfigError: Missing folders, files without partner, sizes that do not fit, unreadable headers.
    """
    keys = [key for key in options.datasets if key == "train" or options.val.val_enabled]
    opened = _open_all(options, keys, processes, may_write=may_write)
    train = opened.pop("train")
    train.report_small(int(options.datasets["train"].lq_size or 0))
    return train, _by_name(options, opened)


def open_test_sets(options: Options, processes: DistributedContext) -> dict[str, PairedImageDataset]:
    """All sets but that of the training, by name, checked; each image is read once, so none is written decoded.

    Raises:
        ConfigError: As `open_sets`, and where there is no such set.
    """
    keys = [key for key in options.datasets if key != "train"]
    if not keys:
        raise ConfigError("datasets: needs a set to measure, under a key that begins with 'val' or 'test'")
    return _by_name(options, _open_all(options, keys, processes, may_write=False))


def _open_all(
    options: Options, keys: Sequence[str], processes: DistributedContext, *, may_write: bool
) -> dict[str, PairedImageDataset]:
    """The sets by key, after the demonstration data is made if one of them is part of it."""
    data = {key: options.datasets[key] for key in keys}
    if processes.is_main and any(is_demo(root) for part in data.values() for root in _roots(part)):
        ensure_demo_data(DEMO, options.scale)
    processes.wait()
    opened, problems = open_each(options, data, len(data) * processes.world_size, may_write=may_write)
    if problems:
        raise ConfigError(problems)
    return opened


def open_each(
    options: Options, data: Mapping[str, DatasetOptions], shares: int, *, may_write: bool = False
) -> tuple[dict[str, PairedImageDataset], list[str]]:
    """The sets that can be opened, by key, and what is wrong with the others.

    Args:
        options: Of the run.
        data: What to open, by key.
        shares: How many sets and processes share the memory for decoded images.
        may_write: Whether decoded images may be written to the disk.
    """
    problems: list[str] = []
    opened: dict[str, PairedImageDataset] = {}
    for key, part in data.items():
        try:
            opened[key] = _open(options, key, part, _cache_settings(part, shares, may_write=may_write))
        except ConfigError as error:
            problems += [f"datasets.{key}: {line}" for line in error.problems]
    return opened, problems


def _by_name(options: Options, opened: Mapping[str, PairedImageDataset]) -> dict[str, PairedImageDataset]:
    named: dict[str, PairedImageDataset] = {}
    for key, images in opened.items():
        name = options.datasets[key].name
        if name in named:
            raise ConfigError(f"datasets.{key}.name: another set is named {name!r} already")
        named[name] = images
    return named


def _open(options: Options, key: str, data: DatasetOptions, cache: CacheSettings) -> PairedImageDataset:
    began = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal began
        if time.monotonic() - began > 5:
            began = time.monotonic()
            _log.info("datasets.%s: checked %s of %s files", key, f"{done:,}", f"{total:,}")

    images = PairedImageDataset(
        data.dataroot_gt,
        data.dataroot_lq,
        options.scale,
        filename_tmpl=data.filename_tmpl,
        use_hflip=data.use_hflip,
        use_rot=data.use_rot,
        skip_bad_images=data.skip_bad_images,
        cache=cache,
        progress=progress,
    )
    size, pairs = mib(images.decoded_bytes), f"{len(images):,}"
    _log.info("datasets.%s: %s pairs, %s decoded, %s", key, pairs, size, images.kept)
    return images


def _cache_settings(data: DatasetOptions, shares: int, *, may_write: bool) -> CacheSettings:
    """For decoded images of one set, where `shares` sets and processes want as much memory."""
    memory = host_memory_limit()
    folder = Path(data.cache_dir) if data.cache_dir else None
    return CacheSettings(data.cache, memory // 2 // shares, memory, folder, may_write, usable_cpus())


def _roots(data: DatasetOptions) -> list[str]:
    return [*data.dataroot_gt, *data.dataroot_lq]


def is_demo(root: str) -> bool:
    """Whether a folder belongs to the demonstration data, which is made when it is missing."""
    return DEMO in Path(root).parents
