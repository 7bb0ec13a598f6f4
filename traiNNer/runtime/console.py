"""Where log lines go: to the run's file, and to the terminal or the pipe."""

from __future__ import annotations

import io
import logging
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rich.console import Console
from rich.logging import RichHandler

from traiNNer.registry import ConfigError
from traiNNer.runtime.os_errors import with_remedy

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

CONFIGURATION_ERROR = 2

_FORMAT = "%(asctime)s %(levelname)s: %(message)s"


class _Early(logging.Handler):
    """Keeps what is said before there is a file to write it to."""

    def __init__(self) -> None:
        super().__init__()
        self.records: deque[logging.LogRecord] = deque(maxlen=10_000)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class _Lasting(io.RawIOBase):
    """The bytes of a stream, as long as it takes any: what is written later is lost, which ends no run.

    Args:
        stream: A console, which may be closed, or a file on a disk, which may be full.
        name: Of a file: closed with this, and what becomes of it is said.
    """

    def __init__(self, stream: io.RawIOBase, name: Path | None = None) -> None:
        self._stream, self._name, self._lost = stream, name, False

    def write(self, data: Buffer) -> int | None:
        try:
            return self._stream.write(data)
        except OSError as error:  # the terminal was closed, or whoever read the pipe has ended
            if self._name and not self._lost:
                named = OSError(error.errno, error.strerror, str(self._name))
                sys.stderr.write(f"{with_remedy(named)}; lines are missing in this file\n")
            self._lost = True
            return memoryview(data).nbytes

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def close(self) -> None:
        if self._name:
            self._stream.close()
        super().close()


def accept_any_output() -> None:
    """Let standard output and errors take any text at any time.

    What their encoding lacks (cp1252 in a console of Windows, ASCII under LC_ALL=C) is written as an escape; what
    is written to a closed terminal or a broken pipe is lost.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is not io.TextIOWrapper:
            continue  # what a test or a notebook has put there
        stream.flush()
        buffer = stream.buffer
        raw = buffer.raw if isinstance(buffer, io.BufferedWriter) else buffer  # PYTHONUNBUFFERED
        lasting = io.TextIOWrapper(
            io.BufferedWriter(_Lasting(cast("io.RawIOBase", raw))),
            encoding=stream.encoding,
            errors="backslashreplace",
            line_buffering=True,
            write_through=stream.write_through,
        )
        setattr(sys, name, lasting)


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
    root.addHandler(_Early())


def log_to_file(path: Path) -> None:
    """Append log lines to a file as well, those since `start_logging` included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # names of files may hold what is no text
    handler = logging.FileHandler(path, delay=True)
    stream = io.BufferedWriter(_Lasting(io.FileIO(path, "a"), path))
    handler.setStream(io.TextIOWrapper(stream, encoding="utf-8", errors="backslashreplace"))
    handler.setFormatter(logging.Formatter(_FORMAT))
    root = logging.getLogger("traiNNer")
    for early in [found for found in root.handlers if isinstance(found, _Early)]:
        root.removeHandler(early)
        for record in early.records:
            handler.handle(record)
    root.addHandler(handler)


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
