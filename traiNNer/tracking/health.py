"""What a run says about its health: a JSON object every logging interval and validation, a diagnosis at its end.

All of it is made from the events that the automations see, so it costs the device nothing.
"""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median, pstdev
from typing import Any, NamedTuple

from traiNNer.automations import Supervisor
from traiNNer.automations.data_cost import DataCost
from traiNNer.automations.diagnosis import RunNumbers
from traiNNer.automations.gradients.flow_report import FlowReport
from traiNNer.automations.gradients.stabilizer import flow_reports
from traiNNer.automations.losses.loss_course import LossCourse
from traiNNer.automations.losses.loss_scheduling import gradient_shares
from traiNNer.automations.statistics import finite_mean, fit_line
from traiNNer.automations.stopping.early_stopping_state import stop_nearness
from traiNNer.control import Controls, Plain, from_plain, to_plain
from traiNNer.events import RunFacts, SetScores, ValidationEvent, WindowEvent
from traiNNer.models.sr_model import WeightedLoss
from traiNNer.tracking.interval import Interval, is_clipped, with_pending
from traiNNer.tracking.tables import first_step_table

_log = logging.getLogger(__name__)

_LATELY = 1000  # steps whose clipping the diagnosis counts
_TREND_STEPS = 500
_SPREADS = 100  # windows
_MOST_RATIOS = 1000
_EARLY = 1000  # steps in which a network need not be better than bicubic upscaling


class Line(NamedTuple):
    """An interval that has ended, and its line of health.jsonl."""

    record: dict[str, Any]
    interval: Interval


@dataclass
class _State(Plain):
    interval: Interval = field(default_factory=Interval)
    step: int = 0
    progress: float = 0.0
    clipped: list[bool] = field(default_factory=list)
    """Whether the gradient of the generator was clipped or skipped, for the latest steps."""
    levels: list[float] = field(default_factory=list)
    """Mean log-norm of each window since the last look at the trend."""
    level_steps: int = 0
    steps: int = 0
    skipped: int = 0
    """Number of these steps in which the generator was not updated."""
    spreads: list[float] = field(default_factory=list)
    """Deviation of the log-norm within each of the latest windows."""
    course: LossCourse = field(default_factory=LossCourse)
    doubling: float | None = None
    """Largest growth of the norm over 500 steps."""
    shares: dict[str, float] = field(default_factory=dict)
    update_ratios: list[float] = field(default_factory=list)
    """Ratios |dw| / |w| of the whole run so far; earlier ones are thinned where there are many."""
    seconds: float = 0.0
    samples: int = 0
    """Number of samples of one process in these seconds."""
    data_wait: float = 0.0
    best: dict[str, float] = field(default_factory=dict)
    """Per `set/metric`."""
    measured: dict[str, int] = field(default_factory=dict)
    """Checksum of names and sizes of each set's images, which its best belongs to."""
    metric: str = ""
    score: float | None = None
    bicubic: float | None = None
    ratios: dict[str, float] = field(default_factory=dict)
    """Ratios of the first set at the last validation, by name."""


class Health:
    """Follows the events of a run.

    Args:
        facts: Of the run.
        losses: By label, for their weights.
        supervisor: The automations, for the report of the stabilizer.
        print_freq: Steps between lines.
        data_cost: Of a chain of degradations, or None.
    """

    def __init__(
        self,
        facts: RunFacts,
        losses: Mapping[str, WeightedLoss],
        supervisor: Supervisor,
        *,
        print_freq: int,
        data_cost: DataCost | None = None,
    ) -> None:
        self.facts, self.data_cost, self._losses = facts, data_cost, losses
        self._supervisor, self._print_freq = supervisor, print_freq
        self.state = _State()

    def numbers(self) -> RunNumbers:
        """What the diagnosis at the end is made of."""
        s, loss, flow = self.state, self.state.course.lately(), self.flow().get("g")
        return RunNumbers(
            progress=s.progress,
            loss_change=loss.share if loss else None,
            loss_noise=loss.noise if loss else 0.0,
            stability=flow.stability_score if flow and flow.steps else None,
            norm_spread=median(s.spreads) if s.spreads else None,
            grad_clip_ratio=fmean(s.clipped) if s.clipped else None,
            skipped_share=s.skipped / s.steps if s.steps else None,
            norm_doubling=s.doubling,
            update_ratio=median(s.update_ratios) if s.update_ratios else None,
            main_loss=self.facts.anchor_loss,
            loss_shares=dict(s.shares),
            residual_ratio=s.ratios.get("residual_ratio"),
            edge_ratio=s.ratios.get("edge_ratio"),
            colour_shift=s.ratios.get("colour_shift"),
            metric=s.metric,
            score=s.score,
            bicubic=s.bicubic,
            higher_is_better=self.facts.higher_is_better.get(s.metric.rpartition("/")[2], True),
            data_wait_share=s.data_wait / s.seconds if s.seconds else None,
            samples_per_s=s.samples / s.seconds if s.seconds else None,
            data_cost=self.data_cost,
            adversarial=bool(self.facts.judged_losses),
            warm=s.step > max(_EARLY, self.facts.warmup_iter),
        )

    def flow(self) -> dict[str, FlowReport]:
        """What the stabilizer has to say of each network."""
        return flow_reports(self._supervisor)

    def state_dict(self) -> dict[str, Any]:
        """What was gathered since the last line, and for the diagnosis."""
        return to_plain(self.state)

    def load_state_dict(self, state: Mapping[str, Any], pending: Mapping[str, Any] | None = None) -> None:
        """Restore it; `pending` is what states of before 2026-11-27 hold beside it."""
        interval = with_pending(state["interval"], pending) if pending else state["interval"]
        self.state = from_plain(_State, {**state, "interval": interval})

    # --- windows -------------------------------------------------------------------------------------------

    def window(self, event: WindowEvent, controls: Controls) -> list[Line]:
        """The intervals that a window completes; `controls` as they were when it was computed."""
        s, count = self.state, len(event.total)
        s.step, s.progress = event.step, event.progress
        s.steps += count
        s.skipped += count - sum(event.applied["g"])
        s.seconds += event.seconds
        s.samples += event.batch * count
        s.data_wait += event.seconds * event.data_wait
        if event.update_ratio is not None:
            s.interval.update_ratio = event.update_ratio
            s.update_ratios.append(event.update_ratio)
            if len(s.update_ratios) > _MOST_RATIOS:
                del s.update_ratios[::2]
        s.course.add(event, self.facts, controls)
        self._take_shares(event, controls)
        self._follow_trend(event)
        lines: list[Line] = []
        for row in range(count):
            s.interval.add(event, row, controls)
            if "g" in controls.clip:
                s.clipped = [*s.clipped, is_clipped(event, "g", row, controls)][-_LATELY:]
            if (event.step - count + row + 1) % self._print_freq == 0:
                lines.append(Line(self._record(event, count - row - 1, controls), s.interval))
                s.interval = Interval()
        return lines

    def _take_shares(self, event: WindowEvent, controls: Controls) -> None:
        """Shares of the losses in the gradient at the output, where the window measured them."""
        if not event.gradient_at_output:
            return
        first = event.step == len(event.total)
        at = 0 if first else event.step - 1
        weights = {label: self._losses[label].weight_at(at) for label in event.gradient_at_output}
        norms = {label: norm for label, norm in event.gradient_at_output.items() if weights[label]}
        shares = gradient_shares(norms, weights, controls.loss_factor)
        self.state.shares = self.state.interval.shares = shares
        if first:
            for line in first_step_table(event, weights, controls.loss_factor, shares):
                _log.info("%s", line)

    def _follow_trend(self, event: WindowEvent) -> None:
        s = self.state
        logs = [math.log(norm) for norm in event.grad_norm["g"] if math.isfinite(norm) and norm > 0]
        if logs:
            s.levels.append(fmean(logs))
            s.spreads = [*s.spreads, pstdev(logs, s.levels[-1])][-_SPREADS:]
        s.level_steps += len(event.total)
        if s.level_steps < _TREND_STEPS or len(s.levels) < 3:
            return
        line = fit_line(s.levels)
        growth = math.exp(line.slope * len(s.levels) * _TREND_STEPS / s.level_steps)
        growth = growth if line.slope > 3 * line.se else 1.0  # otherwise noise
        s.doubling = max(growth, s.doubling or 1.0)
        s.levels, s.level_steps = [], 0

    def _record(self, event: WindowEvent, behind: int, controls: Controls) -> dict[str, Any]:
        """One logging interval that ended `behind` steps before the end of the window."""
        interval = self.state.interval
        samples = event.position - behind * event.batch * self.facts.world_size
        line: dict[str, Any] = {
            "iter": event.step - behind,
            "kind": "train",
            "epoch": samples // self.facts.images,
            "samples": samples,
            "loss": finite_mean(interval.totals),
            "loss_components": {label: finite_mean(values) for label, values in interval.losses.items()},
            "loss_factor": {label: controls.loss_factor.get(label, 1.0) for label in interval.losses},
            "lr": event.lr_at(len(event.total) - behind - 1),
            "lr_factor": controls.lr_factor,
            "grad_norm": {net: _spread(norms) for net, norms in interval.norms.items()},
            "grad_clip_ratio": {net: count / interval.steps for net, count in interval.clipped.items()},
            "clip_threshold": {net: clip.threshold for net, clip in controls.clip.items()},
            "skipped_steps": interval.skipped,
            "amp_scale": event.amp_scale,
            "batch": event.batch,
            "micro_batch": event.micro_batch,
            "lq_size": event.lq_size,
            "memory_peak": event.memory_peak,
            "memory_free": max(0.0, 1.0 - event.memory_peak),
            **interval.speed._asdict(),
        }
        if interval.shares:
            line["loss_gradient_share"] = interval.shares
        if interval.update_ratio is not None:
            line["update_ratio"] = interval.update_ratio
        if (near := stop_nearness(self._supervisor)) is not None:
            line["stop_nearness"] = near
        report = self.flow().get("g")
        if report:
            line |= {
                "explosions": report.explosions,
                "stability_score": report.stability_score,
                "status": report.status,
            }
        return line

    # --- validations ---------------------------------------------------------------------------------------

    def validation(self, event: ValidationEvent) -> dict[str, Any]:
        """The line of a validation."""
        s = self.state
        sets: dict[str, Any] = {}
        for name, scores in event.sets.items():
            rows: dict[str, Any] = {}
            baseline = scores.baseline_means
            self._begin_afresh_with_other_images(name, scores)
            for metric, value in scores.means.items():
                bicubic = baseline[metric]
                best = self._best(name, metric, value)
                rows[metric] = {"value": value, "best": best, "bicubic": bicubic}
            sets[name] = rows | {ratio: finite_mean(values) for ratio, values in scores.ratios.items()}
        first = next(iter(event.sets))
        metric = next(iter(event.sets[first].metrics))
        row = sets[first][metric]
        s.metric, s.score, s.bicubic = f"{first}/{metric}", row["value"], row["bicubic"]
        s.ratios = {ratio: sets[first][ratio] for ratio in event.sets[first].ratios}
        epoch = event.position // self.facts.images
        return {"iter": event.step, "kind": "val", "epoch": epoch, "samples": event.position, "sets": sets}

    def _begin_afresh_with_other_images(self, name: str, scores: SetScores) -> None:
        s, images = self.state, zlib.crc32(repr((scores.images, scores.sizes)).encode())
        if s.measured.get(name, images) != images:
            s.best = {key: best for key, best in s.best.items() if key.rpartition("/")[0] != name}
        s.measured[name] = images

    def _best(self, name: str, metric: str, value: float) -> float:
        best, key = self.state.best, f"{name}/{metric}"
        better = max if self.facts.higher_is_better.get(metric, True) else min
        if math.isfinite(value):
            known = best.get(key, value)
            best[key] = better(known, value) if math.isfinite(known) else value
        return best.get(key, value)


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _spread(norms: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile and largest of the finite norms; NaN where there is none."""
    ordered = sorted(_finite(norms)) or [math.nan]
    at = min(len(ordered) - 1, int(0.95 * len(ordered)))
    return {"median": median(ordered), "p95": ordered[at], "max": ordered[-1]}
