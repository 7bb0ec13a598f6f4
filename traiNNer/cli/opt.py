"""`-opt FILE`, which users of such trainers know, and what is said where it is forgotten."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from traiNNer.wording import shell_line


def with_file(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line of a parser that has `-opt` and `overrides`; ends with status 2 where `-opt` is missing."""
    args = parser.parse_intermixed_args(arguments)
    if args.opt is None:
        file = next((word for word in args.overrides if "=" not in word and Path(word).is_file()), None)
        parser.error(f"-opt is missing: {shell_line('-opt', file)}" if file else "-opt FILE is missing")
    return args
