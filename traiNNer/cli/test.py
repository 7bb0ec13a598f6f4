"""`python test.py`: measure a network on every test set."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from traiNNer.build.testing import read_and_run_test, without_score
from traiNNer.cli.ending import FAILED, ends_in_words
from traiNNer.cli.opt import with_file
from traiNNer.runtime.console import end_logging


def command_line() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(description="Measure a super-resolution network.")
    parser.add_argument("-opt", metavar="FILE", help="the YAML file that describes the test")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key.sub=value", help="options that win over the file"
    )
    return parser


@ends_in_words
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a network from command-line arguments; returns the exit status.

    0: done. 1: an image has a score that is not a number, or results could not be written. 2: a mistake in the
    configuration or the data, said in words.
    """
    args = with_file(command_line(), arguments)
    try:
        event = read_and_run_test(args.opt, args.overrides)
    finally:
        end_logging()
    failed = without_score(event)
    for line in failed:
        sys.stderr.write(f"failed: {line}\n")
    return FAILED if failed else 0
