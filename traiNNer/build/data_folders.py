"""The folders that data sets name: which are missing, which are the same, which the program makes itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from traiNNer.options import DatasetOptions
from traiNNer.registry import ConfigError
from traiNNer.wording import command, no_folder

_log = logging.getLogger(__name__)

DEMO = Path("datasets/demo")


def refuse_missing(data: Mapping[str, DatasetOptions]) -> None:
    """Raise ConfigError for folders that are not there, before the demonstration data is drawn for others."""
    missing = [
        f"datasets.{key}: {root}: {no_folder(root)}"
        for key, part in data.items()
        for root in roots(part)
        if not is_demo(root) and not Path(root).is_dir() and not of_training(part, data)
    ]
    if missing:
        raise ConfigError(missing)


def refuse_same_folders(data: DatasetOptions, scale: int) -> None:
    """Raise ConfigError where a folder is ground truth and LQ at once; at scale 1 it is only warned of."""
    pairs = zip(data.dataroot_gt, data.dataroot_lq, strict=False)
    same = [gt for gt, lq in pairs if Path(gt).resolve() == Path(lq).resolve()]
    if not same:
        return
    text = f"{', '.join(same)}: is given as dataroot_gt and as dataroot_lq"
    if scale > 1:
        raise ConfigError(f"{text}; LQ images must be {scale} times smaller ({command('lr')})")
    _log.warning("%s: the network would learn to change nothing", text)


def of_training(data: DatasetOptions, sets: Mapping[str, DatasetOptions]) -> bool:
    """Whether a set is the held-out part of the training set among `sets`."""
    return data.part == "held_out" and "train" in sets and roots(data) == roots(sets["train"])


def roots(data: DatasetOptions) -> list[str]:
    """All folders of a set."""
    return [*data.dataroot_gt, *data.dataroot_lq]


def is_demo(root: str) -> bool:
    """Whether a folder belongs to the demonstration data, which is made when it is missing."""
    return DEMO in Path(root).parents
