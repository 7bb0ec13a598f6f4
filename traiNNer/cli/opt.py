"""`-opt FILE`, which users of such trainers know, where it is forgotten, and where no command asks for it."""

from __future__ import annotations

import argparse
import sys
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


def file_first(arguments: Sequence[str] | None) -> list[str]:
    """The words of a command whose first is a configuration; `-opt FILE`, as `train` has it, is read as FILE."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "-opt" in words[:-1]:
        place = words.index("-opt")
        file = words[place + 1]
        words[place : place + 2] = []
        words.insert(0, file)
    return words
