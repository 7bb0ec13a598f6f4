"""The user's command that a run ends with, such as a message to a phone."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import tempfile

from traiNNer.build.run_end import End
from traiNNer.runtime.run_dir import RunFolder
from traiNNer.training.trainer import Trainer

_log = logging.getLogger(__name__)

_PATIENCE = 60.0  # seconds


def tell(command: str | None, trainer: Trainer, folder: RunFolder, end: End) -> None:
    """Run `logger.on_end` by the shell, with how the run ended in its environment; its failure is a warning.

    Nothing without a command, and on the processes that keep no records.
    """
    if not command or trainer.outputs.recorder is None:
        return
    progress = trainer.progress
    best = progress.best if progress.best is not None and math.isfinite(progress.best) else None
    about = {
        "TRAINNER_STATUS": end.status,
        "TRAINNER_REASON": end.reason,
        "TRAINNER_NAME": folder.root.name,
        "TRAINNER_FOLDER": str(folder.root.resolve()),
        "TRAINNER_ITERATIONS": str(progress.step),
        "TRAINNER_METRIC": trainer.parts.headline_name or "",
        "TRAINNER_BEST": "" if best is None else f"{best:.4f}",
    }
    # a file, not a pipe: what the command leaves in the background, as the next run, would keep a pipe open
    with tempfile.TemporaryFile() as printed:
        try:
            done = subprocess.run(
                command,
                shell=True,
                env={**os.environ, **{key: value.replace("\0", "") for key, value in about.items()}},
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                timeout=_PATIENCE,
            )
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            _log.warning("logger.on_end: %s", error)
            return
        if done.returncode:
            printed.seek(0)
            last = printed.read().decode(errors="replace").strip().splitlines()[-1:]
            _log.warning("logger.on_end: exit status %d: %s", done.returncode, *last or ["it said nothing"])
