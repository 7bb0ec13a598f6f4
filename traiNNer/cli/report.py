"""Write the report of a run (again): one page with curves, decisions, pictures and diagnosis.

python scripts/report.py experiments/NAME
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from traiNNer.build.report import run_pictures
from traiNNer.cli.ending import ends_in_words
from traiNNer.data.images.image_io import ImageError
from traiNNer.registry import ConfigError
from traiNNer.tracking.report.html import write_report


def command_line() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(description="Write report.html into the folder of a run.")
    parser.add_argument("run", type=Path, metavar="RUN", help="its folder, such as experiments/NAME")
    return parser


@ends_in_words
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; returns the exit status: 0, or 2 where the folder holds no run."""
    args = command_line().parse_args(arguments)
    if not (args.run / "resolved.yml").is_file():
        print(f"{args.run}: holds no run (no resolved.yml)", file=sys.stderr)
        return 2
    try:
        pictures = run_pictures(args.run)
    except (ConfigError, ImageError) as error:
        print(f"no pictures: {error}", file=sys.stderr)
        pictures = []
    print(f"written: {write_report(args.run, pictures)}")
    return 0
