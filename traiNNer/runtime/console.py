"""Where log lines go: to the run's file, and to the terminal or the pipe."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler

from traiNNer.registry import ConfigError

CONFIGURATION_ERROR = 2

_FORMAT = "%(asctime)s %(levelname)s: %(message)s"


def start_logging(console: Console | None, *, quiet: bool) -> None:
    """Show log lines: above the live line on a terminal, else plainly.

    Args:
        console: The terminal, or None for a pipe.
        quiet: Warnings only, for processes that do not write files.
    """
    root = logging.getLogger("traiNNer")
    root.setLevel(logging.INFO)
    root.propagate = False
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    if console:
        handler: logging.Handler = RichHandler(console=console, show_path=False, log_time_format="%X")
        handler.addFilter(lambda record: not getattr(record, "routine", False))  # the live line says it
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter(_FORMAT))
    handler.setLevel(logging.WARNING if quiet else logging.INFO)
    root.addHandler(handler)


def log_to_file(path: Path) -> None:
    """Append log lines to a file as well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter(_FORMAT))
    logging.getLogger("traiNNer").addHandler(handler)


def end_logging() -> None:
    """Close the files, and leave logging as it was found."""
    root = logging.getLogger("traiNNer")
    root.setLevel(logging.NOTSET)
    root.propagate = True
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()


def report_config_errors(error: ConfigError) -> int:
    """Print every problem on a line of its own; returns the exit status of such mistakes."""
    for line in error.problems:
        print(line, file=sys.stderr)  # noqa: T201 - logging is not set up before the options are read
    return CONFIGURATION_ERROR
