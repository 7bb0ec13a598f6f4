"""`scripts/export.py`: make a trained network ready to be published."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from traiNNer.cli.ending import ends_in_words
from traiNNer.cli.overrides import network_overrides
from traiNNer.data.image_io import ImageError
from traiNNer.registry import ConfigError
from traiNNer.release.bundle import make_bundle


@ends_in_words
def main(arguments: Sequence[str] | None = None) -> int:
    """Export the model of the command line; returns the exit status.

    0: done. 1: a file is not as the network is, and was left out, or nothing could be written. 2: a mistake on the
    command line, in words.
    """
    args = command_line().parse_intermixed_args(arguments)
    try:
        args.network_options = network_overrides(args.overrides)
        bundle = make_bundle(args)
    except ImageError as error:
        raise ConfigError(str(error)) from None
    out = sys.stdout.write
    out(f"{bundle.folder}:\n")
    for file in bundle.files:
        out(f"  {file.name}  {file.bytes:,} bytes  sha256 {file.sha256[:16]}...\n")
        for comparison in file.comparisons:
            out(f"    {comparison.shape}: differs from the network by {comparison.difference:.1g}\n")
    out(f"chaiNNer: {bundle.chainner}\n")
    out(f"for OpenModelDB, still to be said in its entry: {', '.join(bundle.missing)}\n")
    for problem in bundle.problems:
        sys.stderr.write(f"failed: {problem}\n")
    return 1 if bundle.problems else 0


def command_line() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(description="Make a trained network ready to be published.")
    parser.add_argument("model", type=Path, help=".safetensors or .pth; which network it is, is found out")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="options of the network")
    parser.add_argument("--key", metavar="NAME", help="where the weights are in a file that holds several")
    parser.add_argument("--onnx", action="store_true", help="ONNX too, compared with the network")
    parser.add_argument("--ncnn", action="store_true", help="ncnn too, compared with the network")
    parser.add_argument("--fp16", action="store_true", help="each file in half precision too")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="release/<id> by default")
    parser.add_argument("--name", help="of the model; what the file says, or its name")
    parser.add_argument("--author", action="append", metavar="NAME", help="may be repeated")
    parser.add_argument("--license", metavar="SPDX", help="such as CC-BY-4.0")
    parser.add_argument("--dataset", metavar="TEXT", help="what it was trained on")
    parser.add_argument("--description", default="", metavar="TEXT")
    parser.add_argument("--iterations", type=int, help="of the training; what the file says by default")
    parser.add_argument("--tags", default="", metavar="A,B", help="of OpenModelDB, such as photo,restoration")
    parser.add_argument("--pretrained", default="", metavar="ID", help="the model that training began with")
    parser.add_argument("--url", default="", metavar="FOLDER", help="where the files will be downloaded from")
    parser.add_argument("--metrics", type=Path, metavar="FILE", help="metrics.json of test.py, for the card")
    parser.add_argument(
        "--image", type=Path, action="append", default=[], metavar="FILE", help="LQ, for the card"
    )
    return parser
