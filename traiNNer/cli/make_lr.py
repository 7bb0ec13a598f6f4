"""Make the LR images of a folder of ground truth by MATLAB's bicubic, as the field's benchmarks are made.

python scripts/make_lr.py HR_FOLDER OUT [--scale 2 3 4] [--overwrite] [--processes N]

OUT/LRx2 (LRx3, ...) gets one PNG for each image, in the same subfolders. Where height or width is no
multiple of the scale, the LR image is of the top-left part that is; the data sets cut the ground truth alike.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import track

from traiNNer.cli.arguments import add_processes, worker_pool
from traiNNer.cli.ending import ends_in_words
from traiNNer.data.images.image_io import ImageError, read_image, write_image
from traiNNer.data.images.resize import shrink
from traiNNer.data.pairs.pairing import find_images
from traiNNer.registry import ConfigError
from traiNNer.runtime.console import end_logging, start_logging
from traiNNer.runtime.os_errors import with_remedy
from traiNNer.runtime.paths import folds_case
from traiNNer.wording import counted, shortened


class _Result(NamedTuple):
    """What became of one ground-truth image."""

    made: int = 0
    kept: int = 0
    cut: bool = False
    problem: str = ""


def make_lr(source: Path, targets: dict[int, Path], *, overwrite: bool) -> _Result:
    """Write the LR image of one file for each scale, leaving those that exist."""
    wanted = {scale: target for scale, target in targets.items() if overwrite or not target.exists()}
    kept = len(targets) - len(wanted)
    if not wanted:
        return _Result(kept=kept)
    try:
        image = read_image(source)
        if min(image.shape[:2]) < max(wanted):
            return _Result(problem=f"{source}: is smaller than {max(wanted)} pixels")
        for scale, target in wanted.items():
            write_image(target, shrink(image, scale))
    except ImageError as error:
        return _Result(problem=str(error))
    except OSError as error:
        return _Result(problem=with_remedy(error))
    cut = any(size % scale for size in image.shape[:2] for scale in wanted)
    return _Result(made=len(wanted), kept=kept, cut=cut)


def _targets(name: str, out: Path, scales: Sequence[int]) -> dict[int, Path]:
    return {scale: (out / f"LRx{scale}" / name).with_suffix(".png") for scale in scales}


def _work(name: str, *, hr: Path, out: Path, scales: Sequence[int], overwrite: bool) -> _Result:
    return make_lr(hr / name, _targets(name, out, scales), overwrite=overwrite)


def _names(hr: Path, out: Path) -> list[str]:
    """The images to work on. Raises ConfigError where a result would become a source or replace another."""
    if hr.resolve() in (out.resolve(), *out.resolve().parents):
        raise ConfigError(f"{out}: should not be inside {hr}, or the LR images would count as ground truth")
    names = find_images(hr)
    first: dict[str, str] = {}
    stems = [str(Path(name).with_suffix("")) for name in names]
    if folds_case():
        stems = list(map(str.casefold, stems))
    doubled = [name for name, stem in zip(names, stems, strict=True) if first.setdefault(stem, name) != name]
    if doubled:
        listed = ", ".join(shortened(doubled, 20))
        raise ConfigError(f"{hr}: differ from another image only by their suffix, or by case: {listed}")
    return names


def _report(results: Sequence[_Result], out: Path) -> int:
    made, kept = sum(result.made for result in results), sum(result.kept for result in results)
    cut = sum(result.cut for result in results)
    problems = [result.problem for result in results if result.problem]
    print(f"{out}: {made} LR images made, {kept} were there already (--overwrite makes them anew)")
    if cut:
        images = counted(cut, "image is", "images are")
        print(f"{images} no multiple of every scale: the LR is of the top-left part that is")
    for problem in problems:
        sys.stderr.write(f"failed: {problem}\n")
    if problems:
        sys.stderr.write(f"{len(problems)} of {len(results)} images failed\n")
    return 1 if problems else 0


def command_line() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(description="make LR images by MATLAB's bicubic")
    parser.add_argument("hr", type=Path, help="folder of ground truth, nested or not")
    parser.add_argument("out", type=Path, help="gets the folders LRx2, LRx3, ...")
    text = "one or several; 2 by default"
    parser.add_argument(
        "--scale", nargs="+", type=int, default=[2], choices=range(2, 17), metavar="N", help=text
    )
    parser.add_argument("--overwrite", action="store_true", help="make images anew that exist")
    add_processes(parser)
    return parser


@ends_in_words
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and make the images. Returns the exit status: 1 if any failed, 2 for a mistake."""
    options = command_line().parse_args(arguments)
    scales = sorted(set(options.scale))
    work = partial(_work, hr=options.hr, out=options.out, scales=scales, overwrite=options.overwrite)
    with ExitStack() as stack:
        start_logging(None, quiet=False)
        stack.callback(end_logging)
        names = _names(options.hr, options.out)
        if options.processes == 1:
            done = map(work, names)
        else:
            pool = stack.enter_context(worker_pool(options.processes))
            done = pool.map(work, names, chunksize=4)
        results = list(track(done, "resizing", len(names), console=Console(stderr=True)))
        return _report(results, options.out)
