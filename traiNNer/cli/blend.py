"""`scripts/blend.py`: a network between two."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from traiNNer.cli.ending import ends_in_words
from traiNNer.cli.overrides import network_overrides
from traiNNer.registry import ConfigError
from traiNNer.release.blend import blend


def command_line() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(description="Mix the weights of two networks of one architecture.")
    parser.add_argument("one", type=Path, help="weights, .safetensors or .pth")
    parser.add_argument("other", type=Path, help="weights of the same architecture")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="options of the networks"
    )
    parser.add_argument("--alpha", type=float, default=0.5, help="share of the second, 0 to 1 (0.5)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="beside the first by default")
    return parser


@ends_in_words
def main(arguments: Sequence[str] | None = None) -> int:
    """Blend the files of the command line; returns the exit status, 2 for a mistake in words."""
    args = command_line().parse_intermixed_args(arguments)
    name = f"{args.one.stem}_{args.other.stem}_{args.alpha:g}.safetensors"
    output = args.output or args.one.with_name(name)
    if output.suffix not in (".safetensors", ".pth"):
        raise ConfigError(f"--output {output}: should end with .safetensors or .pth")
    if output.resolve() in (args.one.resolve(), args.other.resolve()):
        raise ConfigError(f"--output {output}: is one of the two; choose another name")
    blend(args.one, args.other, output, alpha=args.alpha, options=network_overrides(args.overrides))
    sys.stdout.write(
        f"{output}: {1 - args.alpha:g} of {args.one.name}, {args.alpha:g} of {args.other.name}\n"
    )
    return 0
