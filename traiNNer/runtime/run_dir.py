"""Where a run keeps its files, under the names that users of BasicSR and its heirs know."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from traiNNer.registry import ConfigError

try:
    import fcntl
except ImportError:  # Windows has none; two runs of one name are not noticed there
    fcntl = None


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

    def lock(self) -> TextIO:
        """Hold the folder for this process, as long as the file that is returned is open.

        Raises:
            ConfigError: If another process trains here.
        """
        self.root.parent.mkdir(parents=True, exist_ok=True)
        held = (self.root.parent / f".{self.name}.lock").open("w")
        if fcntl is not None:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.close()
                raise ConfigError(
                    f"name: another process is training {self.root}; give this run another name"
                ) from None
        return held

    def remove_partial_files(self) -> None:
        """Clear what killed processes left half written."""
        for folder in (self.root, self.models, self.training_states):
            for partial in folder.glob(".*.partial"):
                partial.unlink()


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
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)
