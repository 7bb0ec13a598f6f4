"""`scripts/export.py`: make a trained network ready to be published."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from traiNNer.cli.arguments import not_negative
from traiNNer.cli.ending import ends_in_words
from traiNNer.cli.overrides import COLOR_HELP, network_overrides
from traiNNer.data.images.image_io import ImageError
from traiNNer.options import load_options
from traiNNer.options.degradation_forms import ONLINE_TYPES
from traiNNer.registry import ConfigError, normalise
from traiNNer.release.bundle import make_bundle
from traiNNer.release.entry_form import entry_problems, still_to_say


@ends_in_words
def main(arguments: Sequence[str] | None = None) -> int:
    """Export the model of the command line; returns the exit status.

    0: done. 1: a file is not as the network is, and was left out, or nothing could be written. 2: a mistake on the
    command line or in an entry, in words.
    """
    args = command_line().parse_intermixed_args(arguments)
    if args.model.suffix == ".json":
        return check_entry(args.model)
    try:
        args.network_options = network_overrides(args.overrides)
        args.training = training_facts(args.model)
        bundle = make_bundle(args, lambda text: print(text, flush=True))
    except ImageError as error:
        raise ConfigError(str(error)) from None
    out = sys.stdout.write
    out(f"{bundle.folder}:\n")
    for file in bundle.files:
        out(f"  {file.name}  {file.bytes:,} bytes  sha256 {file.sha256[:16]}...\n")
        if file.takes:
            out(f"    takes {file.takes}\n")
        for comparison in file.comparisons:
            out(f"    {comparison.shape}: differs from the network by {comparison.difference:.1g}\n")
    out(f"chaiNNer: {bundle.chainner}\n")
    out(_said_of(bundle.missing))
    for problem in bundle.problems:
        sys.stderr.write(f"failed: {problem}\n")
    return 1 if bundle.problems else 0


def training_facts(model: Path) -> dict[str, Any]:
    """What OpenModelDB asks of a training and the files of the run tell whose folder a model is in."""
    run = model.resolve().parent.parent
    if model.resolve().parent.name != "models" or not (run / "resolved.yml").is_file():
        return {}
    try:
        options = load_options(run / "resolved.yml")
        facts = json.loads((run / "facts.json").read_text(encoding="utf-8"))
        batch = int(facts["batch"]) * int(facts["world_size"])
    except (ConfigError, OSError, ValueError, KeyError):  # of a run that another version has made
        return {}
    data = options.datasets.get("train")
    if data is None:
        return {}
    return {
        "trainingBatchSize": batch,
        "trainingHRSize": (data.lq_size or 0) * options.scale,
        "trainingOTF": normalise(data.type) in ONLINE_TYPES,
    }


def check_entry(path: Path) -> int:
    """Say whether OpenModelDB would take an entry that somebody has filled in.

    Raises:
        ConfigError: With what it would refuse.
    """
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: is not JSON: {error}") from None
    found = entry_problems(entry, path.stem)
    if found:
        raise ConfigError([f"{path.name}: {problem}" for problem in found])
    sys.stdout.write(f"{path}: is as OpenModelDB wants it\n{_said_of(still_to_say(entry))}")
    return 0


def _said_of(missing: Sequence[str]) -> str:
    return f"for OpenModelDB, still to be said in its entry: {', '.join(missing)}\n" if missing else ""


def _size(text: str) -> tuple[int, int]:
    """Height and width out of `256x320`."""
    height, times, width = text.lower().partition("x")
    if not (times and height.isdecimal() and width.isdecimal() and int(height) * int(width) > 0):
        raise argparse.ArgumentTypeError(f"should be height x width, such as 256x256 (got {text!r})")
    return int(height), int(width)


def command_line() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(description="Make a trained network ready to be published.")
    parser.add_argument("model", type=Path, help=".safetensors or .pth; or an entry (.json) to check")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="options of the network"
    )
    parser.add_argument("--key", metavar="NAME", help="where the weights are in a file that holds several")
    parser.add_argument("--color", choices=("y", "grey"), help=COLOR_HELP)
    parser.add_argument("--onnx", action="store_true", help="ONNX too, compared with the network")
    parser.add_argument(
        "--onnx-size",
        type=_size,
        metavar="HxW",
        help="ONNX for images of one size, such as 256x256, as TensorRT likes",
    )
    parser.add_argument("--ncnn", action="store_true", help="ncnn too, compared with the network")
    parser.add_argument("--fp16", action="store_true", help="each file in half precision too")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="release/<id> by default")
    parser.add_argument("--name", help="of the model; what the file says, or its name")
    parser.add_argument("--author", action="append", metavar="NAME", help="may be repeated")
    parser.add_argument("--license", metavar="SPDX", help="such as CC-BY-4.0")
    parser.add_argument("--dataset", metavar="TEXT", help="what it was trained on")
    parser.add_argument("--description", default="", metavar="TEXT", help="a sentence about the model")
    parser.add_argument(
        "--iterations", type=not_negative, help="of the training; what the file says by default"
    )
    parser.add_argument("--tags", default="", metavar="A,B", help="of OpenModelDB, such as photo,restoration")
    parser.add_argument("--pretrained", default="", metavar="ID", help="the model that training began with")
    parser.add_argument("--url", default="", metavar="FOLDER", help="where the files will be downloaded from")
    parser.add_argument("--metrics", type=Path, metavar="FILE", help="metrics.json of test.py, for the card")
    parser.add_argument(
        "--image",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="LQ, for the card; may be repeated",
    )
    return parser
