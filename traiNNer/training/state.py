"""How far a run has come, how far it shall go, how it ended, and the time that its steps take."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal, NamedTuple

from traiNNer.control import Plain


@dataclass
class Progress(Plain):
    """How far a run has come."""

    step: int = 0
    position: int = 0
    """Samples taken from the stream by all processes."""
    time: float = 0.0
    """The samples so far, in steps of the batch that was configured when they were taken."""
    seconds: float = 0.0
    """Spent in all sessions of the run."""
    replaced: int = 0
    """Samples of this process whose file could not be read."""
    best: float | None = None
    best_step: int = 0
    best_of: str = ""
    """The metric, its settings and the set that `best` was measured with."""
    validated: int = -1
    """Step of the last validation."""
    stop_rule: str = ""
    stop_reason: str = ""


@dataclass(frozen=True)
class Plan:
    """What the configuration fixes about the course of a run, in steps."""

    total_iter: int
    validate_every: int
    """0 never."""
    save_every: int
    window: int
    samples_per_step: int
    """The configured batch over all processes."""
    warmup_iter: int


class Outcome(NamedTuple):
    """How a run ended."""

    status: Literal["completed", "stopped_early", "interrupted"]
    reason: str


class StepClock:
    """Seconds spent in steps, and of those the ones spent waiting for data."""

    def __init__(self) -> None:
        self._total = self._wait = self._began = 0.0

    def start(self) -> None:
        """A step, or a part of one, begins."""
        self._began = time.perf_counter()

    def data_arrived(self) -> None:
        """Since the start it was waiting for data."""
        self._wait += time.perf_counter() - self._began

    def stop(self) -> None:
        """It ends."""
        self._total += time.perf_counter() - self._began

    def read(self) -> tuple[float, float]:
        """Seconds in all, and of those waiting, since the last reading."""
        total, wait = self._total, self._wait
        self._total = self._wait = 0.0
        return total, wait
