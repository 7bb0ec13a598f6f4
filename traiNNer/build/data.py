"""Finding and opening the data sets of a run; the demonstration data is made when it is missing."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from traiNNer.build.data_folders import DEMO, is_demo, of_training, refuse_missing, refuse_same_folders, roots
from traiNNer.build.degradation import build_chain, chain_options
from traiNNer.build.demands import too_large
from traiNNer.build.metrics import MetricError, build_metrics
from traiNNer.build.other_runs import refuse_other_runs
from traiNNer.build.overlap import shared_images
from traiNNer.build.usable import usable
from traiNNer.build.written_names import (
    by_name,
    refuse_results_folder,
    refuse_run_folder,
    result_file,
    validated_file,
)
from traiNNer.data.cache.memory import mib
from traiNNer.data.cache.policy import NO_CACHE, CacheSettings
from traiNNer.data.degraded_dataset import DegradedImageDataset, Downsampling
from traiNNer.data.paired_dataset import PairedImageDataset
from traiNNer.data.pairs.pairing import Progress
from traiNNer.data.single_dataset import MeasuredDataset, SingleImageDataset
from traiNNer.data.synthetic import ensure_demo_data
from traiNNer.data.training_set import TrainingSet, report_small
from traiNNer.models.colour import IN_WORDS
from traiNNer.options import DatasetOptions, Options
from traiNNer.registry import ConfigError, normalise
from traiNNer.runtime.cpus import usable_cpus
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.runtime.memory import host_memory_limit
from traiNNer.wording import counted, shortened

_log = logging.getLogger(__name__)

PAIRED = ("pairedimagedataset", "paired", "realesrganpaireddataset")
"""Types of data sets that read LQ images, normalised."""
ONLINE = ("realesrgandataset", "realesrganpaireddataset")
"""Types that make them by the chain."""
DATASET_TYPES = (
    "PairedImageDataset",
    "RealESRGANDataset",
    "RealESRGANPairedDataset",
    "SingleGtDataset",
    "SingleImageDataset",
)
_LISTED = 20  # names of images in a line
_COMPARED, _COMPARED_IN_CHECK = 64, 1000
"""Training images that are decoded to find validation images among them."""


def open_sets(
    options: Options, processes: DistributedContext, *, may_write: bool = True
) -> tuple[TrainingSet, dict[str, MeasuredDataset]]:
    """The training set and the validation sets by name, checked.

    Args:
        options: Of the run.
        processes: Of the run.
        may_write: Whether decoded images may be written to the disk, as the options say.

    Raises:
        ConfigError: Missing folders, files without partner, sizes that do not fit, unreadable headers.
    """
    if demands := [*too_large(options), *refuse_other_runs(options), *refuse_run_folder(options)]:
        raise ConfigError(demands)
    keys = [key for key in options.datasets if key == "train" or options.val.val_enabled]
    opened = _open_all(options, keys, processes, may_write=may_write)
    train = opened.pop("train")
    assert not isinstance(train, SingleImageDataset), "refused as it was opened"
    report_small(train, int(options.datasets["train"].lq_size or 0))
    val_sets = _usable(options, opened, processes, read_all=True)
    for key, images in val_sets.items() if processes.is_main else ():
        if isinstance(images, SingleImageDataset):
            continue
        shared = shared_images(train, images, _COMPARED if may_write else _COMPARED_IN_CHECK)
        if shared:
            text = (
                "datasets.%s: %d of %d images are in datasets.train too, first %s: their scores are too good"
            )
            _log.warning(text, key, len(shared), len(images), shared[0])
    _say_color(options)
    return train, by_name(options, val_sets, validated_file(options))


def open_test_sets(options: Options, processes: DistributedContext) -> dict[str, MeasuredDataset]:
    """All sets but that of the training, by name, checked; each image is read once, so none is written decoded.

    Raises:
        ConfigError: As `open_sets`, and where there is no such set.
    """
    keys = [key for key in options.datasets if key != "train"]
    if not keys:
        raise ConfigError("datasets: needs a set to measure, under a key that begins with 'val' or 'test'")
    if problems := refuse_results_folder(options):
        raise ConfigError(problems)
    opened = _open_all(options, keys, processes, may_write=False)
    good = _usable(options, opened, processes, read_all=False)
    _say_color(options)
    return by_name(options, good, result_file(options))


def _say_color(options: Options) -> None:
    if options.color != "rgb":
        _log.info("datasets: color: %s: networks see one channel, %s", options.color, IN_WORDS[options.color])


def _open_all(
    options: Options, keys: Sequence[str], processes: DistributedContext, *, may_write: bool
) -> dict[str, MeasuredDataset]:
    """The sets by key, after the demonstration data is made if one of them is part of it."""
    data = {key: options.datasets[key] for key in keys}
    refuse_missing(data)
    if processes.is_main and any(is_demo(root) for part in data.values() for root in roots(part)):
        ensure_demo_data(DEMO, options.scale)
    processes.wait()
    opened, problems = open_each(options, data, len(data) * processes.world_size, may_write=may_write)
    if problems:
        raise ConfigError(problems)
    return opened


def _usable(
    options: Options,
    opened: Mapping[str, MeasuredDataset],
    processes: DistributedContext,
    *,
    read_all: bool,
) -> dict[str, MeasuredDataset]:
    """The sets without what cannot be measured, where the options allow to leave it out."""
    metrics = functools.cache(lambda: build_metrics(options))
    good: dict[str, MeasuredDataset] = {}
    problems: list[str] = []
    for key, images in opened.items():
        data = options.datasets[key]
        cache = _cache_settings(data, (len(opened) + 1) * processes.world_size, may_write=False)
        try:
            good[key] = usable(
                images,
                metrics,
                read=read_all or data.skip_bad_images,
                skip_bad_images=data.skip_bad_images,
                reopen=functools.partial(_open, options, key, data, cache),
            )
        except MetricError:
            raise  # it would come again for the next set
        except ConfigError as error:
            problems += [f"datasets.{key}: {line}" for line in error.problems]
    if problems:
        raise ConfigError(problems)
    return good


def open_each(
    options: Options, data: Mapping[str, DatasetOptions], shares: int, *, may_write: bool = False
) -> tuple[dict[str, MeasuredDataset], list[str]]:
    """The sets that can be opened, by key, and what is wrong with the others.

    Args:
        options: Of the run.
        data: What to open, by key.
        shares: How many sets and processes share the memory for decoded images.
        may_write: Whether decoded images may be written to the disk.
    """
    problems: list[str] = []
    opened: dict[str, MeasuredDataset] = {}
    for key, part in sorted(data.items(), key=lambda item: item[0] != "train"):
        if of_training(part, data) and "train" not in opened:
            continue  # the same files, and the same words about them
        try:
            opened[key] = _open(options, key, part, _cache_settings(part, shares, may_write=may_write))
        except ConfigError as error:
            problems += [f"datasets.{key}: {line}" for line in error.problems]
    return opened, problems


def _open(
    options: Options, key: str, data: DatasetOptions, cache: CacheSettings, left_out: Collection[str] = ()
) -> MeasuredDataset:
    began = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal began
        if time.monotonic() - began > 5:
            began = time.monotonic()
            _log.info("datasets.%s: checked %s of %s files", key, f"{done:,}", f"{total:,}")

    if key == "train" and normalise(data.type) == "singleimagedataset":
        raise ConfigError(
            "type: SingleImageDataset has no ground truth to train towards; it is for validation"
        )
    images = assemble_measured(options, data, cache, progress, left_out, lq_alone=key != "train")
    if isinstance(images, SingleImageDataset):
        _log.info("datasets.%s: %s without ground truth", key, counted(len(images), "image", form=","))
        return images
    pairs, files = counted(len(images), "pair", form=","), images.files
    kept = f"{mib(files.decoded_bytes)} decoded, {files.kept}" if files else "made as they are read"
    _log.info("datasets.%s: %s, %s", key, pairs, kept)
    if data.part == "held_out":
        _log.info("datasets.%s: set aside, not trained on: %s", key, listed(images.names))
    return images


def listed(names: Sequence[str]) -> str:
    """Names in a line; of many, the first."""
    return ", ".join(shortened(names, _LISTED))


def is_bare(data: DatasetOptions) -> bool:
    """Whether its images have no ground truth, if it is no set to train on."""
    kind = normalise(data.type)
    return kind == "singleimagedataset" or bool(
        kind in PAIRED[:2] and data.dataroot_lq and not data.dataroot_gt
    )


def assemble_measured(
    options: Options,
    data: DatasetOptions,
    cache: CacheSettings = NO_CACHE,
    progress: Progress | None = None,
    left_out: Collection[str] = (),
    *,
    lq_alone: bool = True,
) -> MeasuredDataset:
    """As `assemble`; where `lq_alone` allows it, LQ images without ground truth are a set too."""
    if not lq_alone or not is_bare(data):
        return assemble(options, data, cache, progress, left_out)
    if data.dataroot_gt:
        raise ConfigError("dataroot_gt: a SingleImageDataset has none; PairedImageDataset reads both")
    if data.meta_info_file:
        raise ConfigError("meta_info_file: lists images of ground truth, and this set has none")
    skip = data.skip_bad_images
    return SingleImageDataset(
        data.dataroot_lq, options.scale, skip_bad_images=skip, progress=progress, left_out=left_out
    )


def assemble(
    options: Options,
    data: DatasetOptions,
    cache: CacheSettings = NO_CACHE,
    progress: Progress | None = None,
    left_out: Collection[str] = (),
) -> TrainingSet:
    """The images, and what makes the LQ of each where they have none."""
    kind = normalise(data.type)
    paired = kind in PAIRED
    if paired:
        refuse_same_folders(data, options.scale)
    else:  # ground truth on both sides, of which one is read
        cache = replace(cache, share=2 * cache.share, memory=2 * cache.memory)
    images = PairedImageDataset(
        data.dataroot_gt,
        data.dataroot_lq if paired else data.dataroot_gt,
        options.scale if paired else 1,
        filename_tmpl=data.filename_tmpl if paired else "{}",
        use_hflip=data.use_hflip,
        use_rot=data.use_rot,
        skip_bad_images=data.skip_bad_images,
        cache=cache,
        progress=progress,
        part=data.part,
        left_out=left_out,
        meta_info_file=data.meta_info_file,
    )
    if kind == "singlegtdataset":
        return DegradedImageDataset(images, options.scale, Downsampling(data.lq_resize_mode))
    if kind in ONLINE:
        chain = chain_options(options, data)
        share = chain.dataroot_lq_prob if paired else 0.0
        return DegradedImageDataset(images, options.scale, build_chain(chain), paired_prob=share)
    return images


def _cache_settings(data: DatasetOptions, shares: int, *, may_write: bool) -> CacheSettings:
    """For decoded images of one set, where `shares` sets and processes want as much memory."""
    memory = host_memory_limit()
    folder = Path(data.cache_dir) if data.cache_dir else None
    return CacheSettings(data.cache, memory // 2 // shares, memory, folder, may_write, usable_cpus())
