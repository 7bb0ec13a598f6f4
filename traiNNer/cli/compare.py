"""Lay runs, or trained models, beside each other on one page: scores with their intervals, curves, pictures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from traiNNer.build.compare import compared_runs
from traiNNer.build.compare_models import METRICS_SHOWN, compared_models
from traiNNer.cli.arguments import not_negative
from traiNNer.cli.ending import ends_in_words
from traiNNer.cli.overrides import network_overrides
from traiNNer.data.images.image_io import ImageError
from traiNNer.registry import ConfigError
from traiNNer.runtime.run_dir import atomic_write
from traiNNer.tracking.report.compare import comparison
from traiNNer.tracking.report.models import models_page


def command_line() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "compared",
        nargs="+",
        metavar="RUN|MODEL",
        help="folders of runs (experiments/NAME), or weights (.safetensors, .pth), which are measured, each with "
        "options of its network (key=value) behind it; the others are compared with the first",
    )
    parser.add_argument("--gt", type=Path, metavar="FOLDER", help="originals that models are measured on")
    parser.add_argument(
        "--lq", type=Path, metavar="FOLDER", help="what they upscale; made of --gt by default"
    )
    parser.add_argument(
        "--pictures",
        type=not_negative,
        default=6,
        metavar="N",
        help="images of --gt that are shown, 6 by default",
    )
    page = Path("results/comparison.html")
    parser.add_argument("--out", type=Path, default=page, metavar="FILE", help=f"{page} by default")
    return parser


@ends_in_words
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; returns the exit status, 2 where a folder holds no run or a file no model."""
    args = command_line().parse_args(arguments)
    models = any(Path(word).suffix.lower() in (".safetensors", ".pth") for word in args.compared)
    if args.out.is_dir():
        raise ConfigError(f"--out {args.out}: is a folder; it should be the file of the page")
    # what cannot be made is said before anything is measured
    args.out.parent.mkdir(parents=True, exist_ok=True)
    page = _of_models(args) if models else _of_runs(args)
    with atomic_write(args.out) as partial:
        partial.write_text(page, encoding="utf-8")
    print(f"written: {args.out}")
    return 0


def _of_runs(args: argparse.Namespace) -> str:
    if len(args.compared) < 2:
        raise ConfigError("one run alone has nothing to be compared with: name two, or see `trainner report`")
    if args.gt or args.lq:
        raise ConfigError(
            "--gt, --lq: are for models (.safetensors); runs have been measured on their own images"
        )
    return comparison(*compared_runs([Path(word) for word in args.compared]))


def _of_models(args: argparse.Namespace) -> str:
    if args.gt is None:
        raise ConfigError("--gt: is required: a folder of originals that the models are measured on")
    try:
        models, images = compared_models(_with_options(args.compared), args.gt, args.lq, args.pictures)
    except ImageError as error:
        raise ConfigError(str(error)) from None
    title = " | ".join(model.name for model in models[1:])
    return models_page(f"{title} on {'/'.join(args.gt.resolve().parts[-2:])}", models, images, METRICS_SHOWN)


def _with_options(words: Sequence[str]) -> dict[Path, dict[str, Any]]:
    """Each model with the options that follow it."""
    starts = [k for k, word in enumerate(words) if "=" not in word or Path(word).exists()]
    if starts[:1] != [0]:
        raise ConfigError(f"{words[0]}: a model should come first, then options of its network")
    ends = [*starts[1:], len(words)]
    models = {
        Path(words[k]): network_overrides(words[k + 1 : end]) for k, end in zip(starts, ends, strict=True)
    }
    if len(models) < len(starts):
        raise ConfigError("a model is named twice")
    return models
