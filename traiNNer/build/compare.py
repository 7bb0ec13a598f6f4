"""Runs for a page that compares them: their options, and images as the best weights of each make them."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from traiNNer.archs.loading import load_network
from traiNNer.build.data import assemble_measured
from traiNNer.build.report import best_weights, iteration_of
from traiNNer.data.images.image_io import ImageError
from traiNNer.options import Options, load_options
from traiNNer.registry import ConfigError
from traiNNer.tracking.report.compare import Pair, Run, per_image, read_run
from traiNNer.tracking.report.pictures import Picture, picture

_log = logging.getLogger(__name__)


def compared_runs(folders: Sequence[Path]) -> tuple[list[Run], list[Pair]]:
    """Everything that the page shows; without pictures where data or weights have gone, which is said.

    Raises:
        ConfigError: For a folder that holds no run, or one that is named twice.
    """
    missing = [f"{f}: holds no run (no resolved.yml)" for f in folders if not (f / "resolved.yml").is_file()]
    if missing:
        raise ConfigError(missing)
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError("a run is named twice")
    options = [load_options(folder / "resolved.yml") for folder in folders]
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    runs = [
        read_run(folder, name, one.model_dump(mode="json"), iteration_of(best_weights(folder, one)))
        for folder, name, one in zip(folders, names, options, strict=True)
    ]
    try:
        return runs, _pairs(runs, folders, options)
    except (ConfigError, ImageError, OSError) as error:
        _log.warning("There will be no pictures: %s", error)
        return runs, []


def _pairs(runs: Sequence[Run], folders: Sequence[Path], options: Sequence[Options]) -> list[Pair]:
    """For each other run the images of the first set that gain most and least over the first run."""
    sets = runs[0].scores.get(runs[0].best_step or 0)
    others = [k for k in range(1, len(runs)) if options[k].scale == options[0].scale]
    if not sets or not others:
        return []
    data_name = next(iter(sets))
    metric = next(iter(sets[data_name]["metrics"]))
    data = next((d for d in options[0].datasets.values() if d.name == data_name), None)
    if data is None:  # renamed since
        return []
    images = assemble_measured(options[0], data.model_copy(update={"skip_bad_images": True}))
    index = {image: k for k, image in enumerate(images.names)}
    first, first_net = per_image(runs[0], data_name, metric), _network(folders[0], options[0])
    found = []
    for run, folder, own in ((runs[k], folders[k], options[k]) for k in others):
        gains = {i: v - first.get(i, math.nan) for i, v in per_image(run, data_name, metric).items()}
        chosen = sorted((i for i in gains if i in index and math.isfinite(gains[i])), key=lambda i: gains[i])
        nets = ((first_net, options[0]), (_network(folder, own), own))
        for image in dict.fromkeys((*chosen[-1:], *chosen[:1])):
            title = f"{data_name}/{image}: {gains[image]:+.3f} {metric}"
            lq = images.pair(index[image]).lq
            left, right = (picture(title, lq, net, of.color).after for net, of in nets)
            found.append(Pair((runs[0].name, run.name), Picture(title, left, right)))
    return found


def _network(folder: Path, options: Options) -> nn.Module:
    weights = best_weights(folder, options)
    if weights is None:
        raise ConfigError(f"{options.path.models or folder / 'models'}: has no net_g_best")
    return load_network(weights)
