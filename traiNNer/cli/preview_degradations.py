"""Show what a configuration's chain of degradations makes of its training images.

    trainner preview options/mine.yml [--count 8] [--position N] [--stages] [--out FOLDER]

Writes a contact sheet (GT, bicubic, LQ, the stages in words) and a JSON line for each sample, and prints what the
samples cost and how far they are from clean ones. `--position` begins at that place of the training stream: the
very samples that a run meets there. `--stages` shows the first of them after every stage.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from traiNNer.build.check import check_parts
from traiNNer.build.data import assemble
from traiNNer.build.degraded_samples import Sample, draw_samples, summary
from traiNNer.cli.arguments import not_negative, positive
from traiNNer.cli.ending import ends_in_words
from traiNNer.cli.opt import file_first
from traiNNer.data.degradations.contact_sheet import sample_row, sheet, stage_rows
from traiNNer.data.degraded_dataset import DegradedImageDataset
from traiNNer.data.images.image_io import ImageError, Pixels, write_bytes, write_image
from traiNNer.inference.images import to_pixels
from traiNNer.models.colour import IN_WORDS, Color, as_rgb, in_color
from traiNNer.options import Options, load_options
from traiNNer.registry import ConfigError


def command_line() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configuration", type=Path, help="a YAML file with a training set that degrades")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="options to change")
    parser.add_argument("--count", type=positive, default=8, help="samples, 8 by default")
    parser.add_argument(
        "--position", type=not_negative, default=0, help="place in the training stream of the first"
    )
    parser.add_argument("--stages", action="store_true", help="the first sample after every stage")
    parser.add_argument("--out", type=Path, help="folder; results/<name>/degradations by default")
    return parser


@ends_in_words
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, draw the samples, write. Returns the exit status."""
    args = command_line().parse_intermixed_args(file_first(arguments))
    options = load_options(args.configuration, args.overrides, check=check_parts)
    try:
        samples = _samples(options, range(args.position, args.position + args.count))
    except ImageError as error:
        raise ConfigError(str(error)) from error
    out = args.out or Path(options.path.results_root) / options.name / "degradations"
    _write(samples, out, options.color, stages=args.stages)
    print("\n".join(summary(samples)))
    return 0


def _samples(options: Options, positions: range) -> list[Sample]:
    data = options.datasets["train"]
    images = assemble(options, data)
    if not isinstance(images, DegradedImageDataset):
        raise ConfigError(f"datasets.train.type: {data.type} makes no LQ images; RealESRGANDataset does")
    seed = 0 if options.manual_seed == "auto" else int(options.manual_seed)
    return draw_samples(images, seed, int(data.lq_size or 0), positions)


def _write(samples: list[Sample], out: Path, color: Color, *, stages: bool) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rows = [sample_row(f"{s.position} {s.name}", s.gt, s.clean, s.lq, s.trace) for s in samples]
    side = len(samples[0].gt)
    write_image(out / "samples.png", _seen(sheet(rows, side), color))
    lines = [json.dumps(sample.record()) for sample in samples]
    write_bytes(out / "samples.jsonl", ("\n".join(lines) + "\n").encode())
    print(f"written: {out / 'samples.png'}, {out / 'samples.jsonl'}")
    if color != "rgb":
        print(f"shown as networks see it: {IN_WORDS[color]}")
    if stages:
        first = samples[0]
        stages_of_first = sheet(stage_rows(first.gt, first.lq, first.trace), side)
        write_image(out / "stages.png", _seen(stages_of_first, color))
        print(f"written: {out / 'stages.png'}")


def _seen(picture: Pixels, color: Color) -> Pixels:
    """As a network of that kind sees it; black and white text stays so."""
    if color == "rgb":
        return picture
    rgb = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    return to_pixels(as_rgb(in_color(rgb, color), color)[0], picture.dtype)
