"""Ending in good order when asked to, by Ctrl-C, a closed terminal or a queue that takes its machine back.

Before the first step a signal ends the program at once: there is nothing to save. While modules are imported not
even an exception is safe. In a run the first one finishes the step and saves, or gives up at once what a
resumed run repeats; a second ends at once.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
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

NOTHING_TO_SAVE = "{}: stopped before the first step; there is nothing to save"


def ignore_signals() -> None:
    """For the last moments of a program, when everything is written and only Python itself has to end."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


class Interrupted(KeyboardInterrupt):
    """A signal that arrived where nothing has to be finished; its argument is the signal's name."""


class GivenUp(Exception):
    """Work that was left at a signal, whose name is the argument; a resumed run repeats it."""


class StopSignal:
    """Remembers that the run was asked to end. Use as a context: handlers are put back at its end."""

    def __init__(self) -> None:
        self.received: str | None = None
        """Name of the signal, once there was one."""
        self._before: dict[int, Any] = {}
        self._loaded = self._deferred = self._may_raise = False
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

    def loaded(self) -> None:
        """Everything is imported: from now on a signal raises Interrupted, and what was begun is cleaned up."""
        self._loaded = True

    def defer(self) -> None:
        """In a run: the first signal is only remembered, in `received`; a second is a KeyboardInterrupt."""
        self._loaded = self._deferred = True

    def came(self) -> bool:
        """Whether there was a signal."""
        return self.received is not None

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Inside, a signal raises GivenUp wherever the program is; so does one that has come before."""
        self.check()
        self._may_raise = True
        try:
            yield
        finally:
            self._may_raise = False

    def check(self, *_: object) -> None:
        """Raise GivenUp if there was a signal. What a handler raises gets lost where Python is called by C."""
        if self.received:
            raise GivenUp(self.received)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a worker that has just been forked; its parent decides
        if self.received:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name
        if not self._loaded:  # what is raised while a library of C or Rust is imported ends in its panic
            os.write(2, f"{NOTHING_TO_SAVE.format(self.received)}\n".encode())
            os._exit(0)
        if not self._deferred:
            raise Interrupted(self.received)
        now = "giving up the validation" if self._may_raise else "finishing this step"
        _log.warning("%s: %s and saving; once more to end at once", self.received, now)
        if self._may_raise:
            raise GivenUp(self.received)
