"""Make a data set ready: a folder of photographs of any size and quality in, training and validation folders out.

    trainner prepare SOURCE OUT [--val_share 0.05] [--tile 512] [--min_sharpness 8] ...

Drops what hurts: unreadable, too small, flat, out of focus, visibly compressed, nearly the same as another. What
is kept is copied to OUT/train and OUT/val (or cut into tiles), split by source image. OUT/manifest.json has every
measure, reason and hash; OUT/report.html shows pictures of what was kept and dropped beside the thresholds. Called
again, it goes on where it was stopped, and looks only at files that are new or have changed.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, fields
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.progress import track

from traiNNer.cli.arguments import add_processes, not_negative, worker_pool
from traiNNer.cli.ending import ends_in_words
from traiNNer.data.images.image_io import ImageError
from traiNNer.data.pairs.pairing import find_images
from traiNNer.data.preparing.measures import Measures
from traiNNer.data.preparing.places import MANIFEST, MEMORY, Places, made_before, refuse_what_others_made
from traiNNer.data.preparing.selection import Limits, Verdict, select
from traiNNer.data.preparing.writing import (
    measured_line,
    remembered,
    write_manifest,
    write_one,
    write_page,
)
from traiNNer.registry import ConfigError
from traiNNer.runtime.os_errors import naming
from traiNNer.runtime.paths import caseless_stem

_MEANT = {
    "min_side": "shorter side in pixels",
    "min_contrast": "standard deviation of luma, levels of 255",
    "min_sharpness": "deviation of the Laplacian in the sharpest blocks",
    "max_blockiness": "steps across JPEG's grid of 8 pixels over those beside it",
    "min_jpeg_quality": "quality in the tables of a JPEG file",
    "max_hash_distance": "bits of 64 in which duplicates differ at most, -1 keeps them",
}
"""What the limits are limits of, for `--help`."""


def command_line() -> argparse.ArgumentParser:
    """What the command takes."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument(
        "source", type=Path, help="folder of photographs, nested or not; nothing in it is changed"
    )
    parser.add_argument("out", type=Path, help="gets train, val, manifest.json and report.html")
    parser.add_argument(
        "--val_share", type=float, default=0.05, help="share of images for validation, 0.05 by default"
    )
    parser.add_argument(
        "--val_most", type=not_negative, default=100, help="images for validation at most, 100 by default"
    )
    parser.add_argument(
        "--tile",
        type=not_negative,
        default=0,
        metavar="N",
        help="cut images into squares of this side, as PNG; whole by default",
    )
    add_processes(parser)
    for field in fields(Limits):
        kind = int if isinstance(field.default, int) else float
        text = f"{_MEANT[field.name]}, {field.default} by default"
        parser.add_argument(f"--{field.name}", type=kind, default=field.default, metavar="N", help=text)
    return parser


@ends_in_words
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and make the data set. Returns the exit status."""
    args = command_line().parse_args(arguments)
    limits = Limits(**{field.name: getattr(args, field.name) for field in fields(Limits)})
    _check(args)
    try:
        return _prepare(args, limits)
    except ImageError as error:
        raise ConfigError(str(error)) from error


def _check(args: argparse.Namespace) -> None:
    if find_spec("imagehash") is None:
        raise ConfigError("near-duplicates are found by ImageHash: pip install imagehash")
    if args.source.resolve() in (args.out.resolve(), *args.out.resolve().parents):
        raise ConfigError(
            f"{args.out}: should not be inside {args.source}, or its images would be found again"
        )
    refuse_what_others_made(args.out)
    if not 0 <= args.val_share < 1:
        raise ConfigError(f"--val_share: should be from 0 to below 1 (got {args.val_share})")
    if args.tile and args.tile > args.min_side:
        raise ConfigError(f"--tile: should be at most --min_side, which is {args.min_side} (got {args.tile})")


def _prepare(args: argparse.Namespace, limits: Limits) -> int:
    names = find_images(args.source)
    shared = Counter(map(caseless_stem, names))
    places = Places(args.out, {name: _place(name, shared) for name in names})
    args.out.mkdir(parents=True, exist_ok=True)
    with worker_pool(args.processes) as pool:
        found = _measured(args, names, places, pool)
        verdicts = select(found, limits, args.val_share, args.val_most)
        written = _written(args, verdicts, places, pool)
    settings = {"val_share": args.val_share, "val_most": args.val_most, "tile": args.tile, **asdict(limits)}
    write_manifest(args.out, settings, found, verdicts, written)
    write_page(args.out, args.source, limits, found, verdicts)
    for kind, count in sorted(Counter(v.kind or v.fate for v in verdicts.values()).items()):
        print(f"{kind}: {count}")
    print(f"written: {args.out / MANIFEST}, {args.out / 'report.html'}")
    if not any(verdict.fate == "train" for verdict in verdicts.values()):
        raise ConfigError(
            f"no image is left to train on; {args.out / 'report.html'} shows the measures and limits"
        )
    return 0


def _measured(
    args: argparse.Namespace, names: list[str], places: Places, pool: ProcessPoolExecutor
) -> dict[str, Measures]:
    memory = args.out / MEMORY
    known = remembered(memory, args.source)
    new = [name for name in names if name not in known]
    for path, name in list(places.made()):
        if name not in known:
            path.unlink()  # of a photograph that has been replaced, or half written
    console = Console(stderr=True)
    with naming(memory), memory.open("a", encoding="utf-8") as file:
        done = pool.map(partial(measured_line, args.source), new, chunksize=4)
        for name, found, line in track(done, "measuring", len(new), console=console):
            known[name] = found
            file.write(line + "\n")
            file.flush()
    return {name: known[name] for name in names}


def _written(
    args: argparse.Namespace, verdicts: dict[str, Verdict], places: Places, pool: ProcessPoolExecutor
) -> dict[str, list[str]]:
    """The files of every image that is kept, relative to the folder; what earlier calls made besides goes."""
    kept = {name: verdict.fate for name, verdict in verdicts.items() if verdict.fate != "dropped"}
    targets = [places.target(name, fate) for name, fate in kept.items()]
    sources = [args.source / name for name in kept]
    made = pool.map(partial(write_one, tile=args.tile), sources, targets, chunksize=4)
    console = Console(stderr=True)
    written: dict[str, list[str]] = {}
    for name, target, files in zip(
        kept, targets, track(made, "writing", len(kept), console=console), strict=True
    ):
        written[name] = [(target.parent / file).relative_to(args.out).as_posix() for file in files]
    wanted = {args.out / file for files in written.values() for file in files}
    for path in {*made_before(args.out), *(path for path, _ in places.made())} - wanted:
        path.unlink(missing_ok=True)
    return written


def _place(name: str, shared: Counter[str]) -> str:
    """The name of the target; with the suffix in it where another file differs by that alone, or by case."""
    path = Path(name)
    return (
        name
        if shared[caseless_stem(name)] == 1
        else path.with_name(f"{path.stem}_{path.suffix[1:]}{path.suffix}").as_posix()
    )
