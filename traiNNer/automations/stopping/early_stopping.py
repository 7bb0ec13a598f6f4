"""IntelligentEarlyStopping: ends a run that has nothing more to gain, or that is broken.

A run at a high learning rate has not yet collected the gain of annealing, so stopping starts a last decay of
the rate to zero, and the run ends with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean

from traiNNer.automations import AUTOMATIONS, Automation, Count, NotNegative, Size
from traiNNer.automations.loss_trend import LossTrend, drift
from traiNNer.automations.statistics import RunningLine
from traiNNer.automations.stopping.earliest import WARMUP, earliest_stop
from traiNNer.automations.stopping.early_stopping_state import StoppingFallback, StoppingState
from traiNNer.automations.stopping.monitored import monitored
from traiNNer.automations.stopping.stopping_rules import (
    FEWEST_VALIDATIONS,
    IN_A_ROW,
    Watched,
    margin_of,
    nothing_to_gain,
)
from traiNNer.automations.time_scales import scaled
from traiNNer.automations.validation_record import read_scores
from traiNNer.control import Controls, Decision, Ramp, Stop
from traiNNer.events import ChangeEvent, Event, RunFacts, ValidationEvent, WindowEvent
from traiNNer.wording import counted

RESCUE = 2  # further validations that a returning learning-rate scheduler gets to repair a broken run
COOLDOWN = 0.1  # of the samples so far
DEAD_STEPS = 20  # in a row without a finite loss
CHANGES = {"lr_factor", "batch", "lq_size", "losses"}
_FACTOR_DRIFT = math.log(2)  # of a loss factor since the curve began, beyond which it is another curve
_LEVELS = 50  # windows
ON_FAULT = StoppingFallback()


@AUTOMATIONS.register("IntelligentEarlyStopping")
class IntelligentEarlyStopping(Automation[StoppingState]):
    """Stops when no metric of a validation set has anything more to gain, judged image by image.

    The rules are those of `monitor_metric`; the other metrics of its set object where they still gain.

    Where they are not given, `patience` and `min_iterations` are 2000 and 5000, in a run of less than 10,000
    iterations its fifth and half.

    Args:
        patience: Iterations without a significant gain.
        min_improvement: Smallest gain that counts, in the unit of the metric.
        min_epochs: Never stop before; None: no such limit.
        min_iterations: Never stop before.
        monitor_metric: `psnr`, `val/psnr` (the first set) or `<set>/psnr`; None: `val/psnr`, or the first metric.
        warmup_iterations: Never stop before.
        cooldown: Anneal the learning rate before the end.
        fallback: What remains if the automation fails.
        min_lr_factor: Of the learning-rate scheduler; None where none acts; from the program.
        rate_stays: Whether nothing will lower the rate any more; from the program.
        rescue: Whether the learning-rate scheduler returns a broken run to health; from the program.
        settled_from: Step from which no loss is still to be switched on or ramped up; from the program.
        facts: Of the run.
    """

    name = "IntelligentEarlyStopping"
    watches = "validation scores, image by image"

    def __init__(
        self,
        *,
        patience: Count | None = None,
        min_improvement: NotNegative = 0.001,
        min_epochs: Count | None = None,
        min_iterations: Count | None = None,
        monitor_metric: str | None = None,
        warmup_iterations: Size = WARMUP,
        cooldown: bool = True,
        fallback: StoppingFallback = ON_FAULT,
        min_lr_factor: float | None = None,
        rate_stays: Callable[[], bool] = lambda: False,
        rescue: bool = False,
        settled_from: int = 0,
        facts: RunFacts,
    ) -> None:
        found = monitored(self.name, monitor_metric, facts.higher_is_better)
        self._label, self._set, self._metric, self._higher = found
        self._patience = scaled(2000, facts) if patience is None else patience
        self._margin, self._cooldown = min_improvement, cooldown
        self._rescue, self._min_lr_factor, self._rate_stays = rescue, min_lr_factor, rate_stays
        self._facts = facts
        self._earliest = earliest_stop(
            self.name,
            facts,
            min_epochs=min_epochs,
            min_iterations=min_iterations,
            warmup_iterations=warmup_iterations,
            settled_from=settled_from,
        )
        self._samples = facts.total_iter * facts.batch * facts.world_size
        self._on_fault = fallback
        self.state = StoppingState()

    # --- events --------------------------------------------------------------------------------------------

    def observe(self, event: Event) -> None:
        """Take note of losses and scores; reset after changes elsewhere."""
        s = self.state
        match event:
            case WindowEvent():
                s.step, s.position, s.warming_up = event.step, event.position, event.warming_up
                self._follow_loss(event)
            case ValidationEvent():
                self._see_validation(event)
            case ChangeEvent(control="validation"):
                s.forget_scores()
            case ChangeEvent(control=control) if control in CHANGES:
                self._reset()
                if control in ("lr_factor", "losses"):
                    s.record.troubles = s.dead = 0
                if control == "losses":  # what they ask for may cost what the metric measures
                    s.forget_scores()
                    s.record.restart(event.step)
            case _:
                pass

    def _reset(self) -> None:
        """After a change that bends the curve: what came before promises nothing."""
        s = self.state
        s.forget_curves()
        s.losses, s.trend, s.record.below_since = RunningLine(), LossTrend(), None

    def _follow_loss(self, event: WindowEvent) -> None:
        s = self.state
        for value in event.total:
            s.dead = 0 if math.isfinite(value) else s.dead + 1
        followed = event.losses.get(self._facts.anchor_loss, event.total)
        logs = [math.log(value) for value in followed if math.isfinite(value) and value > 0]
        if not logs:
            return
        s.trend.add(fmean(logs), keep=_LEVELS)
        if s.record.below_since is not None:
            s.losses.add(event.step - s.record.below_since, fmean(logs))

    def _see_validation(self, event: ValidationEvent) -> None:
        s = self.state
        s.measures(f"{self._set or next(iter(event.sets))}/{self._metric}")
        if event.lr_exhausted and not s.exhausted:  # what the rate brought says nothing any more
            s.forget_curves()
        s.step, s.position, s.exhausted, s.fresh = event.step, event.position, event.lr_exhausted, True
        scores = read_scores(event, self._metric, higher_is_better=self._higher, set_name=self._set)
        psnr, learning = "psnr" in self._metric, s.trend.at_lowest
        s.trouble = s.record.look_for_trouble(event, scores, psnr=psnr, learning=learning)
        if s.trouble:
            s.record.restart(event.step)
            s.losses = RunningLine()
            s.forget_curves()
            return
        if not scores.known:  # a metric without a value decides nothing
            s.fresh = False
            return
        s.record.add(scores, event.step, self._margin)
        s.first = scores.mean if s.first is None else s.first
        s.below_baseline = scores.below_baseline
        if s.record.below_since is None:
            s.losses = RunningLine()
        s.curve = [point for point in s.curve if math.isfinite(point[1])]  # of states of before 2026-11-27
        s.curve.append((math.log(max(1, event.position)), scores.mean))
        flat = nothing_to_gain(s.curve, s.record.highest, self._samples, self._margin, ended=s.exhausted)
        s.flat = s.flat + 1 if flat else 0
        self._see_others(event)
        s.nearness = s.how_near(self._patience, self._earliest)

    def _see_others(self, event: ValidationEvent) -> None:
        """Take in the other metrics of the set; those without a value, or not measured any more, say nothing."""
        s = self.state
        for other in s.others.values():
            other.silent = True
        for metric in event.sets[self._set or next(iter(event.sets))].metrics:
            higher = self._facts.higher_is_better.get(metric)
            if metric == self._metric or higher is None:
                continue
            scores = read_scores(event, metric, higher_is_better=higher, set_name=self._set)
            if scores.known:
                other = s.others.setdefault(metric, Watched())
                margin = margin_of(other, s.record, s.first, self._margin)
                other.add(scores, event, end=self._samples, margin=margin)

    # --- decisions -----------------------------------------------------------------------------------------

    def decide(self, controls: Controls) -> Sequence[Decision]:
        """At most one end of the run."""
        s = self.state
        fresh, s.fresh = s.fresh, False
        lowest = self._min_lr_factor
        at_bound = lowest is not None and controls.lr_factor <= lowest * (1 + 1e-9)
        s.lowest = at_bound or self._rate_stays()
        if s.broken:
            return ()
        why = self._broken(fresh)
        if why:
            s.broken = s.stopped = True
            return [self._stop("broken", why, broken=True)]
        self._follow_factors(controls)
        if not fresh or s.stopped or self._too_early() or s.trouble or s.at_new_best:
            return ()
        converged = (
            ("patience", self._out_of_patience()),
            ("diminishing_returns", self._diminished()),
        )
        # a score that stands below bicubic is slow or damaged, which patience does not tell apart
        for rule, text in (*(() if s.below_baseline else converged), ("overfitting", self._overfits())):
            if text and not any(o.gains(s.step, self._patience, rule) for o in s.heard):
                s.stopped, s.nearness = True, 1.0
                return [self._stop(rule, text)]
        return ()

    def _follow_factors(self, controls: Controls) -> None:
        """Begin a new curve where factors on the losses have gone so far that the aim is another one."""
        s = self.state
        if not s.curve:
            s.factors = dict(controls.loss_factor)
        if drift(s.factors, controls.loss_factor) > _FACTOR_DRIFT:
            self._reset()
            s.factors = dict(controls.loss_factor)

    def fallback(self, controls: Controls) -> Sequence[Decision]:
        """Training goes on to its planned end."""
        assert not self._on_fault.early_stopping
        return ()

    def _too_early(self) -> bool:
        return self.state.step < self._earliest or self.state.warming_up

    def _broken(self, fresh: bool) -> str:
        s = self.state
        grace = RESCUE if self._rescue else 0
        if s.dead >= DEAD_STEPS * (1 + 2 * grace):
            return f"the loss was not finite in {counted(s.dead, 'step')} in a row"
        if not fresh or not s.trouble:
            return ""
        needed = grace + (1 if "not finite" in s.trouble else IN_A_ROW)
        return (
            f"{self._label} of {counted(s.record.troubles, 'validation')}: {s.trouble}"
            if s.record.troubles >= needed
            else ""
        )

    def _out_of_patience(self) -> str:
        s = self.state
        waited = s.step - s.record.best_step
        if waited < self._patience or s.record.since < FEWEST_VALIDATIONS or not (s.exhausted or s.lowest):
            return ""
        return f"no improvement in {self._label} for {counted(waited, 'iteration')}"

    def _diminished(self) -> str:
        if self.state.flat < IN_A_ROW or self.state.record.below_since is not None:  # that is no convergence
            return ""
        gain = f"less than {self._margin:g} in {self._label}"
        return f"diminishing returns: the rest of the run would gain {gain}"

    def _overfits(self) -> str:
        s = self.state
        since = s.record.below_since
        if since is None or s.step - since < self._patience or s.record.since < FEWEST_VALIDATIONS:
            return ""
        waited = counted(s.step - since, "iteration")
        text = f"overfitting: {self._label} below its best for {waited}, the loss still falls"
        return text if s.losses.falls(3.0) else ""

    def _best(self) -> str:
        record = self.state.record
        if record.highest is None:
            return "no best yet"
        return f"best {abs(record.highest):.4f} at {record.highest_step}"

    def _stop(self, rule: str, text: str, *, broken: bool = False) -> Stop:
        s = self.state
        ramp = None
        if self._cooldown and not broken and not s.exhausted and s.position < self._samples:
            ramp = Ramp(s.position, max(1, min(round(COOLDOWN * s.position), self._samples - s.position)))
        left = max(0, self._samples - s.position - (ramp.length if ramp else 0))
        saved = left // (self._facts.batch * self._facts.world_size)
        details = f"{text} (rule {rule}; {counted(saved, 'iteration')} saved; {self._best()})"
        return Stop(
            rule=rule,
            cooldown=ramp,
            restore_best=broken,
            reason=details,
            counts=not broken,
            level="ERROR" if broken else "INFO",
        )
