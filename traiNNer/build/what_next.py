"""The commands that come next when a run has ended, ready to be copied: paths with spaces are quoted."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from traiNNer.runtime.run_dir import RunFolder


def command(*words: str | Path) -> str:
    """A command line in the quoting of this system's shell."""
    texts = [str(word) for word in words]
    return subprocess.list2cmdline(texts) if os.name == "nt" else shlex.join(texts)


def what_next(folder: RunFolder, file: Path, overrides: Sequence[str], processes: int) -> list[str]:
    """Lines to show below a run that has ended.

    Args:
        folder: Of the run, with its `summary.json`; without one there is nothing to say.
        file: The configuration.
        overrides: As they were given, those of flags among them.
        processes: That trained.
    """
    try:
        status = json.loads(folder.file("summary.json").read_text(encoding="utf-8"))["status"]
    except (OSError, ValueError, KeyError):
        return []
    if status in ("completed", "stopped_early"):
        return _of_finished(folder)
    if not any(folder.training_states.glob("*.state")):
        return []
    program = ["python"] if processes == 1 else ["torchrun", f"--nproc_per_node={processes}"]
    launcher = ["--launcher", "pytorch"] if "launcher=pytorch" in overrides else []
    options = [text for text in overrides if text not in ("auto_resume=true", "launcher=pytorch")]
    again = command(*program, "train.py", "-opt", file, "--auto_resume", *launcher, *options)
    return [f"To go on: {again}"]


def _of_finished(folder: RunFolder) -> list[str]:
    found = sorted(folder.models.glob("net_g_*"), key=lambda path: path.stat().st_mtime)
    weights = next((path for path in found if path.stem == "net_g_best"), found[-1] if found else None)
    lines = []
    if weights:
        lines += [
            f"To upscale images: {command('python', 'scripts/upscale.py', weights, 'INPUT', 'OUTPUT')}",
            f"To publish it: {command('python', 'scripts/export.py', weights, '--onnx')}",
        ]
    if folder.tensorboard.is_dir():
        lines.append(f"To see its curves: {command('tensorboard', '--logdir', folder.tensorboard.parent)}")
    return lines
