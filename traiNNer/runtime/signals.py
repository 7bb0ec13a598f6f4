"""Ending in good order when asked to: the first SIGINT or SIGTERM finishes the step, a second ends at once."""

from __future__ import annotations

import logging
import signal
from types import FrameType
from typing import Any

_log = logging.getLogger(__name__)


class StopSignal:
    """Remembers that the run was asked to end. Use as a context: handlers are put back at its end."""

    def __init__(self) -> None:
        self.received: str | None = None
        """Name of the signal, once there was one."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name
        _log.warning("%s: finishing this step and saving; once more to end at once", self.received)
