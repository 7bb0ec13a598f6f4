"""The commands that come next when a run has ended, ready to be copied: paths with spaces are quoted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from traiNNer.runtime.run_dir import RunFolder
from traiNNer.wording import command, program, shell_line


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
    begin = program("train")
    if processes > 1:
        source = ["train.py"] if begin[0] == "python" else ["--no-python", *begin]
        begin = ["torchrun", f"--nproc_per_node={processes}", *source]
    launcher = ["--launcher", "pytorch"] if "launcher=pytorch" in overrides else []
    options = [text for text in overrides if text not in ("auto_resume=true", "launcher=pytorch")]
    again = shell_line(*begin, "-opt", file, "--auto_resume", *launcher, *options)
    return [f"To go on: {again}"]


def weights_to_use(folder: RunFolder) -> Path | None:
    """The best weights of a run, or its newest; None where it has none."""
    found = sorted(folder.models.glob("net_g_*"), key=lambda path: path.stat().st_mtime)
    return next((path for path in found if path.stem == "net_g_best"), found[-1] if found else None)


def _of_finished(folder: RunFolder) -> list[str]:
    weights = weights_to_use(folder)
    lines = []
    if weights:
        lines += [
            f"To upscale images: {command('upscale', weights, 'INPUT', 'OUTPUT')}",
            f"To publish it: {command('export', weights, '--onnx')}",
        ]
    if folder.tensorboard.is_dir():
        lines.append(f"To see its curves: {shell_line('tensorboard', '--logdir', folder.tensorboard.parent)}")
    return lines
