"""Draw the demo data: synthetic photographs and their LR images, for a first training run without a download.

python scripts/make_demo_data.py [FOLDER] [--scale 2 3 4] [--images 40] [--size 512] [--seed 0]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from traiNNer.cli.arguments import not_negative, positive
from traiNNer.cli.ending import ends_in_words
from traiNNer.data.synthetic import make_demo_data


@ends_in_words
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and draw. Returns the exit status."""
    parser = argparse.ArgumentParser(description="draw synthetic photographs to train on")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("datasets/demo"))
    parser.add_argument("--scale", nargs="+", type=int, default=[2], choices=range(1, 9), metavar="N")
    parser.add_argument(
        "--images", type=positive, default=40, help="training photographs (6 more are for validation)"
    )
    parser.add_argument("--size", type=positive, default=512, help="their side in pixels")
    parser.add_argument("--seed", type=not_negative, default=0)
    options = parser.parse_args(arguments)
    sets = {"train": (options.images, options.size), "val": (6, 256)}
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("drawing", total=options.images + 6)
        try:
            make_demo_data(
                options.folder,
                scales=options.scale,
                sets=sets,
                seed=options.seed,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        except FileExistsError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    print(f"{options.folder}: train/HR, val/HR and LRx{', LRx'.join(map(str, options.scale))} beside each")
    return 0
