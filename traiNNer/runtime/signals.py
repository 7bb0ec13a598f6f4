"""Ending in good order when asked to, by Ctrl-C, a closed terminal or a queue that takes its machine back.

Before the first step a signal ends the program at once: there is nothing to save. In a run the first one finishes
the step and saves; a second ends at once.
"""

from __future__ import annotations

import logging
import os
import signal
from types import FrameType
from typing import Any

_log = logging.getLogger(__name__)

STOPPING = tuple(
    signal.Signals[name]
    for name in (
        "SIGINT",
        "SIGTERM",
        "SIGHUP",
        "SIGUSR1",
        "SIGBREAK",
    )  # Windows has the last, not the two before
    if name in signal.Signals.__members__
)
"""Ctrl-C, `kill`, a closed terminal, Slurm's warning (--signal=USR1@60), Ctrl-Break."""


def ignore_signals() -> None:
    """For the last moments of a program, when everything is written and only Python itself has to end."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


class Interrupted(KeyboardInterrupt):
    """A signal that arrived where nothing has to be finished; its argument is the signal's name."""


class StopSignal:
    """Remembers that the run was asked to end. Use as a context: handlers are put back at its end."""

    def __init__(self) -> None:
        self.received: str | None = None
        """Name of the signal, once there was one."""
        self._before: dict[int, Any] = {}
        self._deferred = False
        self._process = os.getpid()

    def __enter__(self) -> StopSignal:
        for number in STOPPING:
            ignored = signal.getsignal(number) == signal.SIG_IGN
            if ignored and number.name == "SIGHUP":  # nohup
                continue
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def defer(self) -> None:
        """From now on the first signal is only remembered, in `received`; a second is a KeyboardInterrupt."""
        self._deferred = True

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a worker that has just been forked; its parent decides
        if self.received:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name
        if not self._deferred:
            raise Interrupted(self.received)
        _log.warning("%s: finishing this step and saving; once more to end at once", self.received)
