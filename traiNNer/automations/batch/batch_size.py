"""DynamicBatchSizeOptimizer: fits the work into memory, and grows the batch where that is worth it.

Two numbers: the batch (samples per process and step) and the micro-batch (samples per forward). Splitting a
batch changes memory and not what is computed, so memory is answered by the micro-batch alone; the batch only
grows, where the user allows it, and only if samples per second rise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from traiNNer.automations import AUTOMATIONS, Automation, Count, Share
from traiNNer.automations.batch.memory_plan import divisors, grown
from traiNNer.control import Controls, Decision, Plain, SetBatch
from traiNNer.events import Event, OutOfMemoryEvent, RunFacts, WindowEvent

TARGET_USAGE = 0.85  # share of the usable memory to aim for
SAFETY_MARGIN = 0.05
FASTER = 1.05  # samples per second that a larger batch must bring
PATCH_STEP = 8  # pixels
SMALLEST_PATCH = 16  # pixels


@dataclass(frozen=True)
class BatchFallback(Plain):
    """What remains if the automation is switched off."""

    batch_size: int | None = None
    """None: the sizes as they are."""


@dataclass
class _State(Plain):
    measured_on: str = ""
    """Devices and settings that all of this was measured with, see `RunFacts`."""
    peaks: list[float] = field(default_factory=list)
    """Memory peaks of the latest windows since the last change, shares of what may be used."""
    speeds: list[float] = field(default_factory=list)
    """Samples per second of the same windows."""
    steps: int = 0
    """Since the last review."""
    roomy: int = 0
    """Reviews in a row that left memory unused."""
    failed: dict[str, int] = field(default_factory=dict)
    """Smallest micro-batch that did not fit, per patch size."""
    throughput: dict[str, float] = field(default_factory=dict)
    """Samples per second of every batch that was tried."""
    grown_from: tuple[int, int] | None = None
    """Batch and micro-batch before a growth that is still on trial."""
    trial: int = 0
    """The batch on trial."""
    settled: bool = False
    """A growth brought no speed, or ran out of memory: no other is tried."""
    largest_patch: int = 0
    """The largest patch seen, in pixels: the configured one, where the facts of the run do not say it."""
    retry: tuple[int, int] | None = None
    """A micro-batch that failed and the one to go on with."""
    proposed: tuple[int, int, int] | None = None
    """Batch, micro-batch and patch decided and not in force yet: one that only monitors says them once."""
    fresh: bool = False


@AUTOMATIONS.register("DynamicBatchSizeOptimizer")
class DynamicBatchSizeOptimizer(Automation[_State]):
    """Keeps the memory peak near a target by the micro-batch, and grows the batch where allowed.

    Args:
        target_vram_usage: Share of the usable memory to aim for.
        safety_margin: Buffer below the target, a share of the memory: above the target the micro-batch becomes
            smaller, and nothing grows that would pass `target_vram_usage - safety_margin`.
        adjustment_frequency: Steps between reviews.
        min_batch_size: No review makes the micro-batch smaller; only memory that runs out does.
        max_batch_size: The batch may grow up to here; None: not beyond the configured one.
        vram_history_size: Windows whose peaks count.
        tune: What may change: `micro_batch`, `batch`, `lq_size` (down from the configured patch and back).
        fallback: What remains if the automation fails.
        facts: Of the run.
    """

    name = "DynamicBatchSizeOptimizer"
    watches = "peak of the memory, samples per second"

    def __init__(
        self,
        *,
        target_vram_usage: Share = TARGET_USAGE,
        safety_margin: Share = SAFETY_MARGIN,
        adjustment_frequency: Count = 100,
        min_batch_size: Count = 1,
        max_batch_size: Count | None = None,
        vram_history_size: Count = 50,
        tune: Sequence[Literal["batch", "micro_batch", "lq_size"]] = ("batch", "micro_batch"),
        fallback: BatchFallback = BatchFallback(),
        facts: RunFacts,
    ) -> None:
        if max_batch_size is not None and max_batch_size < min_batch_size:
            raise ValueError(f"max_batch_size {max_batch_size} lies below min_batch_size {min_batch_size}")
        self._low, self._high = target_vram_usage - safety_margin, target_vram_usage
        self._every, self._history = adjustment_frequency, max(1, vram_history_size)
        self._min, self._max = min_batch_size, max_batch_size or facts.batch
        self._tune = frozenset(tune)
        self._fallback = fallback
        self._facts = facts
        self.state = _State()

    def observe(self, event: Event) -> None:
        """Collect memory peaks and speed; note sizes that do not fit."""
        if self.state.measured_on != self._facts.measured_on:  # resumed on another card, in another precision
            patch = self.state.largest_patch
            self.state = _State(measured_on=self._facts.measured_on, largest_patch=patch)
        s = self.state
        match event:
            case WindowEvent():
                s.fresh = True
                if s.proposed == (event.batch, event.micro_batch, event.lq_size):
                    s.proposed = None
                s.largest_patch = max(s.largest_patch, event.lq_size)
                s.peaks = [*s.peaks, event.memory_peak][-self._history :]
                s.speeds = [*s.speeds, event.samples_per_second][-self._history :]
                s.steps += len(event.total)
            case OutOfMemoryEvent():
                s.retry = (event.micro_batch, event.retry)
            case _:
                pass

    def decide(self, controls: Controls) -> Sequence[Decision]:
        """At most one change of the sizes."""
        decided = self._decided(controls)
        for sizes in [(d.batch, d.micro_batch, d.lq_size) for d in decided]:
            if sizes == self.state.proposed:
                return ()
            self.state.proposed = sizes
        return decided

    def _decided(self, controls: Controls) -> Sequence[SetBatch]:
        s = self.state
        retry, s.retry = s.retry, None
        fresh, s.fresh = s.fresh, False
        if retry is not None:
            return self._survive(controls, *retry)
        if not fresh:
            return ()
        outside = self._into_bounds(controls)
        if outside or s.steps < self._every:
            return outside
        peak, speed = max(s.peaks), median(s.speeds)
        s.steps = 0
        if speed > 0:
            s.throughput[str(controls.batch)] = speed
        if peak > self._high:
            s.roomy = 0
            return self._shrink(controls, peak)
        returned = self._judge_growth(controls)
        if returned:
            return returned
        s.roomy = s.roomy + 1 if peak < self._low else 0
        return self._grow(controls, peak) if s.roomy >= 2 else ()

    def fallback(self, controls: Controls) -> Sequence[Decision]:
        """The batch that the configuration names, or the present one, in pieces that fit."""
        batch = self._fallback.batch_size or controls.batch
        micro = max(d for d in divisors(batch) if d <= max(1, controls.micro_batch))
        if (batch, micro) == (controls.batch, controls.micro_batch):
            return ()
        return [self._to(controls, batch, micro, "fallback", counts=False)]

    # --- rules ---------------------------------------------------------------------------------------------

    def _survive(self, controls: Controls, failed: int, retry: int) -> Sequence[SetBatch]:
        s, patch = self.state, str(controls.lq_size)
        s.failed[patch] = min(failed, s.failed.get(patch, failed))
        why = f"out of memory (micro-batch {failed} did not fit at patch {patch})"
        if s.trial == controls.batch and s.grown_from is not None:
            s.settled = True  # and the next review tells whether it is still faster in smaller pieces
        return [self._to(controls, controls.batch, retry, why, counts=False, level="WARNING")]

    def _into_bounds(self, controls: Controls) -> Sequence[SetBatch]:
        """A batch outside the configured bounds, after a resume with others, moves inside."""
        batch = min(max(controls.batch, min(self._min, self._facts.batch)), max(self._max, self._facts.batch))
        if batch == controls.batch:
            return ()
        micro = max(d for d in divisors(batch) if d <= controls.micro_batch)
        return [self._to(controls, batch, micro, "the bounds of the configuration")]

    def _shrink(self, controls: Controls, peak: float) -> Sequence[SetBatch]:
        why = f"high VRAM usage ({peak:.1%}, limit {self._high:.0%})"
        lowest = min(self._min, controls.micro_batch)
        smaller = [d for d in divisors(controls.batch) if lowest <= d < controls.micro_batch]
        if smaller and "micro_batch" in self._tune:
            return [self._to(controls, controls.batch, smaller[-1], why, peak, self._high)]
        patch = controls.lq_size - PATCH_STEP
        if "lq_size" in self._tune and patch >= max(SMALLEST_PATCH, self._facts.smallest_patch):
            size = controls.micro_batch
            return [self._to(controls, controls.batch, size, why, peak, self._high, lq_size=patch)]
        return ()

    def _judge_growth(self, controls: Controls) -> Sequence[SetBatch]:
        """End the trial of a larger batch: it stays if it is faster."""
        s = self.state
        if s.grown_from is None or controls.batch != s.trial:
            s.grown_from = None
            return ()
        (batch, micro), s.grown_from = s.grown_from, None
        before, now = s.throughput.get(str(batch), 0.0), s.throughput.get(str(controls.batch), 0.0)
        if now >= FASTER * before:
            return ()
        s.settled = True
        why = f"no gain in speed ({now:.1f} samples/s against {before:.1f})"
        return [self._to(controls, batch, micro, why, now, FASTER * before)]

    def _grow(self, controls: Controls, peak: float) -> Sequence[SetBatch]:
        """First the patch back to what was configured, then larger pieces, then a larger batch."""
        s = self.state
        s.roomy = 0
        why = f"low VRAM usage ({peak:.1%}, limit {self._low:.0%})"
        batch, micro, patch = controls.batch, controls.micro_batch, controls.lq_size
        larger = patch + PATCH_STEP
        if "lq_size" in self._tune and larger <= (self._facts.lq_size or s.largest_patch):
            fits = peak * (larger / patch) ** 2 <= self._low and micro < self._failed(larger)
            if fits:
                return [self._to(controls, batch, micro, why, peak, self._low, lq_size=larger)]
        pieces = [
            d for d in divisors(batch) if micro < d < self._failed(patch) and peak * d / micro <= self._low
        ]
        if pieces and "micro_batch" in self._tune:
            return [self._to(controls, batch, pieces[0], why, peak, self._low)]
        if s.settled or "batch" not in self._tune:
            return ()
        sizes = grown(batch, micro, peak=peak, limit=self._low, most=self._max, failed=self._failed(patch))
        if sizes is None:
            return ()
        s.grown_from, s.trial = (batch, micro), sizes[0]
        return [self._to(controls, *sizes, why, peak, self._low)]

    def _failed(self, patch: int) -> int:
        """Smallest micro-batch known not to fit, at this patch or a smaller one."""
        return min((size for side, size in self.state.failed.items() if int(side) <= patch), default=1 << 30)

    def _to(
        self,
        controls: Controls,
        batch: int,
        micro: int,
        why: str,
        statistic: float | None = None,
        limit: float | None = None,
        *,
        lq_size: int | None = None,
        counts: bool = True,
        level: Literal["INFO", "WARNING"] = "INFO",
    ) -> SetBatch:
        s, lq_size = self.state, lq_size or controls.lq_size
        s.peaks, s.speeds, s.steps, s.roomy = [], [], 0, 0
        return SetBatch(
            batch=batch,
            micro_batch=micro,
            lq_size=lq_size,
            lr_batch_factor=self._lr_factor(batch),
            reason=why,
            statistic=statistic,
            limit=limit,
            counts=counts,
            level=level,
        )

    def _lr_factor(self, batch: int) -> float:
        """What the learning rate is multiplied by for another batch than the configured one."""
        ratio = batch / self._facts.batch
        return ratio if self._facts.optimizer.lower() == "sgd" else math.sqrt(ratio)
