"""Lay runs beside each other on one page: settings, scores with their intervals, curves, pictures, decisions."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from traiNNer.build.compare import compared_runs
from traiNNer.cli.ending import ends_in_words
from traiNNer.runtime.run_dir import atomic_write
from traiNNer.tracking.report.compare import comparison


def command_line() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=Path, metavar="RUN", help="the run that the others are compared with")
    parser.add_argument("others", type=Path, nargs="+", metavar="RUN", help="such as experiments/NAME")
    parser.add_argument("--out", type=Path, default=Path("results/comparison.html"), metavar="FILE")
    return parser


@ends_in_words
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; returns the exit status, 2 where a folder holds no run."""
    args = command_line().parse_args(arguments)
    runs, pairs = compared_runs([args.first, *args.others])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(args.out) as partial:
        partial.write_text(comparison(runs, pairs), encoding="utf-8")
    print(f"written: {args.out}")
    return 0
