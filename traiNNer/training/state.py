"""How far a run has come, how far it shall go, how it ended, and the time that its steps take."""

from __future__ import annotations

import logging
import math
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from traiNNer.control import Plain
from traiNNer.registry import ConfigError
from traiNNer.training.skipped import Skipped
from traiNNer.wording import counted

_log = logging.getLogger(__name__)

_UNREADABLE = 0.01  # share of the images that ends a run, if it is more than one


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
    unreadable: dict[str, int] = field(default_factory=dict)
    """Position at which each such file was met, by a checksum of what was said, for one pass over the images."""
    best: float | None = None
    best_step: int = 0
    best_of: str = ""
    """The metric, its settings and the set that `best` was measured with."""
    validated: int = -1
    """Step of the last validation."""
    stop_rule: str = ""
    stop_reason: str = ""
    skipped: Skipped = field(default_factory=Skipped)
    rates: list[dict[str, float]] = field(default_factory=list)
    """Learning rates of the steps of the open window, per network."""

    def advance(self, samples: int, plan: Plan, rates: dict[str, float]) -> None:
        """Count a step of so many samples over all processes, at these learning rates."""
        self.step += 1
        self.position += samples
        self.time += samples / plan.samples_per_step
        self.rates.append(rates)

    def take_rates(self, steps: int) -> dict[str, list[float]]:
        """Those of the window that ends, per network; nothing where not all of its `steps` are known."""
        rates, self.rates = self.rates[-steps:], []
        if len(rates) < steps or any(step.keys() != rates[-1].keys() for step in rates):
            return {}  # a state of before 2026-11-27, or of other networks
        return {net: [step[net] for step in rates] for net in rates[-1]}

    def take_score(self, score: float, *, higher_is_better: bool, of: str) -> bool:
        """Remember a validation if it is the best so far; whether it is.

        Args:
            score: A mean; one that is not finite is never the best.
            higher_is_better: Direction of the metric.
            of: What exactly was measured; the best of anything else is forgotten.
        """
        if not math.isfinite(score):
            return False
        if self.best_of != of:  # another metric, set, border or image than before
            self.best, self.best_of = None, of
        if self.best is not None and not math.isfinite(self.best):  # of states of before 2026-11-27
            self.best = None
        if self.best is not None and not (score > self.best if higher_is_better else score < self.best):
            return False
        self.best, self.best_step = score, self.step
        return True

    def note_replaced(self, replaced: Sequence[str], images: int, world_size: int) -> None:
        """Count samples of this process that others stand in for, each with the reason.

        One file that cannot be read ends no run, however small its set.

        Raises:
            DataError: If they are of two files or more, and of more than 1 % of the images that this process reads
                in as many samples as there are images.
        """
        self.replaced += len(replaced)
        for line in replaced:
            _log.warning("%s; the next sample stands in for it (%d so far)", line, self.replaced)
        before = {file: at for file, at in self.unreadable.items() if at > self.position - images}
        now = {f"{zlib.crc32(line.encode(errors='surrogateescape')):08x}": self.position for line in replaced}
        self.unreadable = before | now
        share = len(self.unreadable) * world_size / images
        if len(self.unreadable) > 1 and share > _UNREADABLE:
            raise DataError(
                f"{len(self.unreadable)} files could not be read in one pass over the {images:,} images, more "
                f"than {_UNREADABLE:.0%}; the last: {replaced[-1]}"
            )


class DataError(ConfigError):
    """The training data cannot be used."""


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

    @property
    def measures_on_the_way(self) -> bool:
        """Whether there is a validation before the last step."""
        return 0 < self.validate_every < self.total_iter


class Outcome(NamedTuple):
    """How a run ended."""

    status: Literal["completed", "stopped_early", "interrupted", "failed"]
    reason: str


def outcome(progress: Progress, *, measured: bool) -> Outcome:
    """How a run ended that was neither interrupted nor failed in its loop.

    Args:
        progress: Of the run.
        measured: Whether a validation of this process succeeded, or none was asked for.
    """
    if fault := progress.skipped.fault():
        return Outcome("failed", fault)
    if progress.stop_rule:
        return Outcome("stopped_early", progress.stop_reason)
    missing = (
        "" if measured or progress.best is not None else "; no validation succeeded: nothing was measured"
    )
    return Outcome("completed", counted(progress.step, "iteration") + missing)


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
