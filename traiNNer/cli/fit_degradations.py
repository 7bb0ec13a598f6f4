"""Propose a `degradation` section that makes images like your own low-quality ones.

    trainner fit MY_LQ_FOLDER --gt GOOD_PHOTOGRAPHS [--scale 4]

Degrades the good photographs with known blur, noise and JPEG, learns from statistics of the results to tell the
settings, and reads off those of your images. JPEG quality is read from a file's tables where it is a JPEG. Prints
the section to paste, how well each setting can be told, and the statistics before and after.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from traiNNer.build.fit_degradations import Fit, fit
from traiNNer.cli.arguments import positive
from traiNNer.cli.ending import ends_in_words
from traiNNer.data.degradations.statistics import POSSIBLE, STATISTICS
from traiNNer.data.pairs.pairing import find_images
from traiNNer.registry import ConfigError
from traiNNer.wording import counted


def command_line() -> argparse.ArgumentParser:
    """What the command takes."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("lq", type=Path, help="folder of low-quality images")
    parser.add_argument(
        "--gt", type=Path, required=True, help="folder of good photographs, others than those"
    )
    parser.add_argument("--scale", type=positive, default=4, help="of the training, 4 by default")
    parser.add_argument(
        "--simulations",
        type=positive,
        default=800,
        help="samples to learn from, 800 by default, at least 200",
    )
    parser.add_argument(
        "--images", type=positive, default=200, help="of either folder at most, 200 by default"
    )
    return parser


@ends_in_words
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, fit, print. Returns the exit status."""
    parser = command_line()
    args = parser.parse_args(arguments)
    if args.simulations < 200:
        parser.error("--simulations: should be at least 200")
    targets, photos = (_spread(folder, args.images) for folder in (args.lq, args.gt))
    try:
        found = fit(targets, photos, args.scale, args.simulations)
    except ValueError as error:  # ImageError too
        raise ConfigError(str(error)) from error
    print("\n".join(_report(found, len(targets))))
    return 0


def _spread(folder: Path, most: int) -> list[Path]:
    """Up to `most` images, evenly over the sorted names."""
    names = find_images(folder)
    return [folder / name for name in names[:: -(-len(names) // most)]]


def _report(found: Fit, images: int) -> Iterator[str]:
    yield f"# fitted to {counted(images, 'image')}, {found.from_tables} with JPEG tables"
    yield "degradation:"
    yield from (f"  {option}: {_yaml(value)}" for option, value in found.options.items())
    yield ""
    for label, (error, correlation) in found.accuracy.items():
        told = "" if correlation >= POSSIBLE else ": cannot be told from these images, set it yourself"
        yield f"{label}: median error {error:.2g} on samples not learned from, correlation {correlation:.2f}{told}"
    yield ""
    yield f"{'statistic (median)':<26}{'clean':>8}{'fitted':>8}{'target':>8}"
    for row in zip(STATISTICS, found.before, found.after, found.target, strict=True):
        yield f"{row[0]:<26}" + "".join(f"{value:>8.2f}" for value in row[1:])


def _yaml(value: object) -> str:
    return str(value).replace("'", "")
