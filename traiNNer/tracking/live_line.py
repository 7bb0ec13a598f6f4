"""The line at the bottom of a terminal that says how far a run has come."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import Progress, TaskID, TextColumn
from rich.table import Column


class LiveLine:
    """One line, drawn again at most ten times a second."""

    def __init__(self, console: Console, total: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=False, overflow="fold")),
            console=console,
        )
        self._task: TaskID = self._progress.add_task("starting", total=total)
        self._progress.start()
        self._drawn = 0.0

    def update(self, step: int, text: str) -> None:
        """Show a text."""
        if time.monotonic() - self._drawn > 0.1:
            self._drawn = time.monotonic()
            self._progress.update(self._task, completed=step, description=text)

    def close(self) -> None:
        """Leave the terminal as it is."""
        self._progress.stop()


def hours_minutes(seconds: float) -> str:
    """A length of time as h:mm:ss."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
