"""A configuration copied under a new name, whose folders are still those of the run it was copied from."""

from __future__ import annotations

from pathlib import Path

from traiNNer.options import Options
from traiNNer.options.file_names import run_of

_HELD = {"models": "net_*", "training_states": "*.state"}


def refuse_other_runs(options: Options) -> list[str]:
    """A line for each folder of weights or states that belongs to another run, and holds some of it."""
    problems: list[str] = []
    for key, files in _HELD.items():
        folder = getattr(options.path, key)
        other = run_of(folder, options.path.experiments_root) if folder else ""
        if other and other != options.name and any(Path(folder).glob(files)):
            problems.append(
                f"path.{key}: {folder}: holds files of the run {other!r}, which {options.name!r} would go on "
                f"from or overwrite; remove path.{key}, and the folder follows the name"
            )
    return problems
