"""Where a run keeps its files, under the names that users of BasicSR and its heirs know."""

from __future__ import annotations

import logging
import os
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from traiNNer.registry import ConfigError
from traiNNer.runtime.os_errors import naming
from traiNNer.wording import amount

_log = logging.getLogger(__name__)

_PATIENCE = 10.0  # seconds: a run that was asked to end saves within them


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run. Nothing is created before it is written to."""

    root: Path
    """experiments/<name>"""
    models: Path
    training_states: Path
    visualization: Path
    log: Path
    """Folder of the text log."""
    tensorboard: Path
    name: str

    @property
    def log_file(self) -> Path:
        """The text log."""
        return self.log / f"train_{self.name}.log"

    def file(self, name: str) -> Path:
        """A file directly in the run folder, such as `metrics.jsonl`."""
        return self.root / name

    def has_run(self) -> bool:
        """Whether a run has left anything here."""
        return self.root.exists() and any(self.root.iterdir())

    def archive(self) -> Path:
        """Rename the folder of an earlier run out of the way; returns its new place."""
        stamp = time.strftime("%Y%m%d_%H%M%S")
        for folder in (self.root, self.tensorboard):
            if folder.exists():
                folder.rename(folder.with_name(f"{folder.name}_archived_{stamp}"))
        return self.root.with_name(f"{self.root.name}_archived_{stamp}")

    def lock(self) -> BaseFileLock:
        """Hold the folder for this process, until what is returned is released or the process is gone.

        Processes that it forks do not hold it. One that ends is waited for.

        Raises:
            ConfigError: If another process trains here; names it.
        """
        self.root.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root.parent / f".{self.name}.lock", thread_local=False)
        owner = self.root.parent / f".{self.name}.owner"  # Windows lets nobody read a locked file
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _log.warning("%s is training %s; waiting %d s for it to end", _named(owner), self.root, _PATIENCE)
            try:
                lock.acquire(timeout=_PATIENCE)
            except Timeout:
                raise ConfigError(
                    f"name: {_named(owner)} is training {self.root}; end it, or give this run another name"
                ) from None
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        with naming(owner):
            owner.write_text(f"{os.getpid()} on {socket.gethostname()}, since {since}\n", encoding="utf-8")
        return lock

    def remove_partial_files(self) -> None:
        """Clear what killed processes left half written."""
        for folder in (self.root, self.models, self.training_states):
            for partial in folder.glob(".*.partial"):
                partial.unlink()


def _named(owner: Path) -> str:
    """The process that wrote this file when it took the lock, as far as it can be read."""
    try:
        return f"another process ({owner.read_text(encoding='utf-8').strip()})"
    except OSError:
        return "another process"


def _sync_folder(folder: Path) -> None:
    """Make a renaming survive a power loss; Windows has no way to ask for it."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A path to write to, which is moved to `path` once it is written and safe on the disk.

    Whatever happens on the way, `path` holds the old content or the new, never a part of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    short = f"{zlib.crc32(os.fsencode(path.name)):08x}"  # the name itself may leave no room for more
    partial = path.with_name(f".{short}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.filename is None or str(error.filename) == str(partial):  # a full disk names no file
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """The same of a content that is known: a full disk is told its size."""
    try:
        with atomic_write(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        error.add_note(f"{amount(memoryview(content).nbytes)} to be written")
        raise
