"""Numbers on command lines: what is out of their range is a mistake, said with the range; and worker processes."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from traiNNer.data.workers import end_with_parent
from traiNNer.runtime.cpus import usable_cpus

_MOST = 61 if sys.platform == "win32" else 1024
"""Worker processes: Windows waits for no more at once."""


def not_negative(word: str) -> int:
    """A whole number from 0 on."""
    return _at_least(0, word)


def positive(word: str) -> int:
    """A whole number from 1 on."""
    return _at_least(1, word)


def _at_least(least: int, word: str) -> int:
    if not word.isascii() or not word.isdigit() or int(word) < least:
        raise argparse.ArgumentTypeError(f"should be a whole number from {least} on (got {word})")
    return int(word)


def add_processes(parser: argparse.ArgumentParser) -> None:
    """The option `--processes`."""
    parser.add_argument(
        "--processes",
        type=positive,
        default=usable_cpus(),
        metavar="N",
        help="as many as processors by default",
    )


def worker_pool(processes: int) -> ProcessPoolExecutor:
    """As many processes as were asked for, as far as the system has them, started anew."""
    spawn = get_context("spawn")
    return ProcessPoolExecutor(min(processes, _MOST), mp_context=spawn, initializer=end_with_parent)
