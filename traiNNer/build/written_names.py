"""Files that a run would write, where the system at hand cannot, or would take two of them for one.

What is wrong with a name wherever it is written is refused before (`options.file_names`). Here is what depends on
the place: folders that are there already, the length of paths, and the names of the user's images.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from socket import gethostname
from typing import TypeAlias

from traiNNer.build.outputs import image_suffix, run_folder
from traiNNer.data.single_dataset import MeasuredDataset
from traiNNer.options import Options
from traiNNer.options.file_names import name_fault
from traiNNer.registry import ConfigError
from traiNNer.runtime.paths import folds_case, path_limit
from traiNNer.tracking.validation_images import image_file
from traiNNer.wording import counted, shortened

_log = logging.getLogger(__name__)

_LONGEST_NAME = 255  # bytes that Linux and macOS take, characters that Windows takes
_LISTED = 5


ImageFile: TypeAlias = Callable[[str, str], Path]
"""The file that an image is written to, from the name of its set and its own, with `/` and without suffix."""


def validated_file(options: Options) -> ImageFile:
    """Where the last validation of a run writes its images."""
    folder, last = run_folder(options).visualization, options.train.total_iter if options.train else 0
    suffix = image_suffix(options)
    return lambda name, image: image_file(folder, name, image, last, suffix)


def result_file(options: Options) -> ImageFile:
    """Where a test writes its images."""
    folder = Path(options.path.results_root) / options.name / "visualization"
    suffix = image_suffix(options)
    return lambda name, image: folder / name / f"{image}{suffix}.png"


def refuse_run_folder(options: Options) -> list[str]:
    """What is wrong with the place of a run, one line each."""
    folder, last = run_folder(options), options.train.total_iter if options.train else 0
    files = [
        folder.models / f"net_g_ema_{last}.safetensors",
        folder.training_states / f"{last}.state",
        folder.log_file,
    ]
    if options.logger.use_tb_logger:
        files.append(folder.tensorboard / f"events.out.tfevents.{10**9}.{gethostname()}.{10**5}.0")
    return [*_twin(folder.root), *_too_long(files, "path.experiments_root")]


def refuse_results_folder(options: Options) -> list[str]:
    """What is wrong with the place of a test's results, one line each."""
    folder = Path(options.path.results_root) / options.name
    return [*_twin(folder), *_too_long([folder / "metrics.json"], "path.results_root")]


def by_name(
    options: Options, opened: Mapping[str, MeasuredDataset], file: ImageFile
) -> dict[str, MeasuredDataset]:
    """The sets, given by their keys, by their names.

    Raises:
        ConfigError: For names that are one, and for images whose files cannot be written, where they are wanted.
    """
    named: dict[str, MeasuredDataset] = {}
    for key, images in opened.items():
        name = options.datasets[key].name
        if other := next((n for n in named if n.casefold() == name.casefold()), None):
            text = f"another set is named {other!r} already; upper and lower case are one on many systems"
            raise ConfigError(f"datasets.{key}.name: {text} (got {name!r})")
        named[name] = images
    if options.val.save_img:
        _check_images({name: images.names for name, images in named.items()}, file)
    return named


def _check_images(sets: Mapping[str, Collection[str]], file: ImageFile) -> None:
    """Look at the files that the images of all sets, given by their names, would be written to.

    Raises:
        ConfigError: With the names that cannot be written here; those that other systems refuse are said.
    """
    refused: list[str] = []
    for name, images in sets.items():
        files = {image: file(name, image) for image in images}
        windows = {image: why for image in images if (why := _fault_on_windows(image))}
        cases = dict(_alike(images))
        long = {image: "is too long" for image, path in files.items() if _bytes(path) > _LONGEST_NAME}
        refused += _lines(name, long)
        refused += _lines(name, windows) if sys.platform == "win32" else _said(name, windows)
        refused += _lines(name, cases) if folds_case() else _said(name, cases)
        refused += _too_long(files.values(), "the path or the image")
    if refused:
        raise ConfigError([*refused, "rename these images, or set val.save_img: false"])


def _twin(folder: Path) -> list[str]:
    """Another folder whose name differs by upper and lower case alone: the same one, on some file systems."""
    names = {path.name for path in folder.parent.iterdir()} if folder.parent.is_dir() else set()
    twin = next((n for n in sorted(names) if n.casefold() == folder.name.casefold()), "")
    if folder.name in names or not twin:
        return []
    if folder.exists():
        text = f"{folder.parent} holds {twin!r}, which is the same to its file system"
        return [f"name: {text}; write it like that, or choose another name (got {folder.name!r})"]
    text = "name: %s also holds %r, which Windows and macOS take for the same as %r"
    _log.info(text, folder.parent, twin, folder.name)
    return []


_LONG_PATHS = (
    "or let Windows take long paths: in a PowerShell of the administrator Set-ItemProperty "
    "HKLM:\\SYSTEM\\CurrentControlSet\\Control\\FileSystem LongPathsEnabled 1, then start it anew"
)


def _too_long(files: Iterable[Path], shorter: str) -> list[str]:
    """The longest path, where this system does not take it."""
    limit, longest = path_limit(), max((str(file.absolute()) for file in files), key=len, default="")
    if limit is None or len(longest) <= limit:
        return []
    text = f"{longest}: has {len(longest)} characters, and this Windows takes {limit}; shorten {shorter}, "
    return [text + _LONG_PATHS]


def _bytes(path: Path) -> int:
    return len(os.fsencode(path.name))


def _fault_on_windows(image: str) -> str:
    fault = next((fault for part in image.split("/") if (fault := name_fault(part))), "")
    return f"should be a name {fault}" if fault else ""


def _alike(images: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Images of which an earlier one differs by case alone, and what to say."""
    first: dict[str, str] = {}
    for image in images:
        if (other := first.setdefault(image.casefold(), image)) != image:
            yield image, f"differs from {other} by upper and lower case alone"


def _lines(name: str, faults: Mapping[str, str]) -> list[str]:
    return [
        f"{name}/{line}" for line in shortened([f"{image}: {why}" for image, why in faults.items()], _LISTED)
    ]


def _said(name: str, faults: Mapping[str, str]) -> list[str]:
    """Nothing is refused, but told once."""
    for image, why in list(faults.items())[:1]:
        images = counted(len(faults), f"image of {name} gets a name", f"images of {name} get names")
        _log.info("val.save_img: %s that other systems do not take, first %s, %s", images, image, why)
    return []
