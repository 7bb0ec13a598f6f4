"""Which files an upscaling makes of which, and what of it is refused before a network is loaded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from traiNNer.data.images.image_io import IMAGE_SUFFIXES, WRITTEN_SUFFIXES
from traiNNer.data.pairs.pairing import find_images
from traiNNer.inference.video import VIDEO_SUFFIXES
from traiNNer.options.file_names import name_fault
from traiNNer.registry import ConfigError
from traiNNer.runtime.paths import caseless_stem


class Job(NamedTuple):
    """One file to make."""

    source: Path
    target: Path


def find_jobs(source: Path, out: Path, *, suffix: str, form: str) -> list[Job]:
    """Every file to make. A name that two sources share keeps the suffix of each: `a.jpg.png`, `a.webp.png`.

    Raises:
        ConfigError: Where nothing is to be upscaled, or a result would replace or become a source.
    """
    if fault := name_fault(f"a{suffix}.png"):
        raise ConfigError(f"--suffix {suffix}: should be a part of a name {fault}")
    if source.is_dir():
        return _of_folder(source, out, suffix, form)
    if not source.exists():
        raise ConfigError(f"{source}: no such file or folder")
    return [_of_file(source, out, suffix, form)]


def _of_folder(source: Path, out: Path, suffix: str, form: str) -> list[Job]:
    _refuse_as_folder(out)
    if source.resolve() in (out.resolve(), *out.resolve().parents):
        raise ConfigError(f"{out}: should not be inside {source}: results would be upscaled next time")
    names = [Path(name) for name in find_images(source)]
    shared = Counter(map(caseless_stem, names))
    stems = [name if shared[caseless_stem(name)] > 1 else name.with_suffix("") for name in names]
    return [
        Job(source / name, out / stem.with_name(f"{stem.name}{suffix}.{form}"))
        for name, stem in zip(names, stems, strict=True)
    ]


def _of_file(source: Path, out: Path, suffix: str, form: str) -> Job:
    kinds = next(
        (kinds for kinds in (IMAGE_SUFFIXES, VIDEO_SUFFIXES) if source.suffix.lower() in kinds), None
    )
    if kinds is None:
        raise ConfigError(
            f"{source}: should be an image ({', '.join(sorted(IMAGE_SUFFIXES))}), "
            f"a video ({', '.join(sorted(VIDEO_SUFFIXES))}) or a folder"
        )
    ending = form if kinds is IMAGE_SUFFIXES else "mp4"
    given = out.suffix.lower() in kinds and not out.is_dir()
    if given and kinds is IMAGE_SUFFIXES and out.suffix.lower() not in WRITTEN_SUFFIXES:
        raise ConfigError(f"{out}: should be one of {', '.join(sorted(WRITTEN_SUFFIXES))}")
    if not given:
        _refuse_as_folder(out)
    target = out if given else out / f"{source.stem}{suffix}.{ending}"
    if target.resolve() == source.resolve():
        raise ConfigError(f"{target}: is the input; choose another output")
    return Job(source, target)


def _refuse_as_folder(out: Path) -> None:
    """Raise ConfigError for an output that is a file, or is named as one that these results cannot be."""
    if out.is_dir() or not (out.exists() or out.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES):
        return
    raise ConfigError(f"{out}: should be a folder; a file is for one input of its kind, image or video")
