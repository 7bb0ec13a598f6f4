"""Whether making samples is what a training waits for, and how many workers it would take."""

from __future__ import annotations

import math
from dataclasses import dataclass

from traiNNer.control import Plain
from traiNNer.wording import counted

WAITING = 0.1
"""Share of the time that may go by waiting for data."""
_BUSY = 0.5  # of the workers' time; where they wait for a disk it is far less


@dataclass(frozen=True)
class DataCost(Plain):
    """What making a sample by a chain of degradations costs a process."""

    sample_ms: float
    """CPU time of one sample, reading included."""
    workers: int
    """Processes that make samples; 0: the training itself."""
    processors: int
    """That this training process may use."""

    @property
    def per_second(self) -> float:
        """Samples that the workers can make in a second at most."""
        return 1e3 * max(1, self.workers) / self.sample_ms

    def busy(self, samples_per_s: float) -> float:
        """Share of the workers' time that making so many samples takes, 0 to 1."""
        return min(1.0, samples_per_s / self.per_second)

    def holds_up(self, samples_per_s: float, data_wait_share: float) -> bool:
        """Whether the chain is why the training waits for data.

        Args:
            samples_per_s: That the training took.
            data_wait_share: Share of its time that it waited, 0 to 1.
        """
        # without workers all waiting is making samples, or reading them
        least = _BUSY if self.workers else _BUSY * data_wait_share
        return data_wait_share >= WAITING and self.busy(samples_per_s) >= least

    def sentence(self) -> str:
        """What the workers can do, for the log."""
        who = counted(self.workers, "worker") if self.workers else "the training itself"
        most = f"{who} can make {self.per_second:,.0f} samples a second at most"
        return f"{most} (num_worker_per_gpu: {self.workers})"

    def remedy(self, samples_per_s: float, data_wait_share: float) -> str:
        """What to change where it holds up a training; arguments as of `holds_up`."""
        wanted = samples_per_s / max(1e-3, 1 - data_wait_share)
        needed = max(self.workers + 1, math.ceil(wanted * self.sample_ms / 1e3))
        most = max(1, self.processors - 1)
        if needed <= most:
            what = f"num_worker_per_gpu: {needed}"
        else:
            more = f"num_worker_per_gpu: {most}, and " if most > self.workers else ""
            what = f"{more}a smaller patch or a cheaper chain ({counted(needed, 'worker')} would keep up)"
        return (
            f"degrading keeps it waiting, {self.sample_ms:.1f} ms of CPU time a sample of which it would take "
            f"{wanted:,.0f} a second: {what}"
        )
