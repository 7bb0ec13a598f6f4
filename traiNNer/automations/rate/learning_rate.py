"""IntelligentLearningRateScheduler: a factor on the scheduled learning rate that follows loss and validation.

The factor falls on a plateau and on a slow divergence; a network that has diverged returns to its last healthy
weights. The factor rises only where that is allowed and everything has improved for long.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from traiNNer.automations import AUTOMATIONS, Automation, Count, NotNegative, Positive
from traiNNer.automations.loss_trend import MOST_SPANS
from traiNNer.automations.rate.damage import MAX_TRIALS, RETURN, about_damage, trial, verdict
from traiNNer.automations.rate.learning_rate_state import CHANGES, LearningRateState
from traiNNer.automations.rate.lr_decisions import ScheduleFallback, give_up, in_words, roll_back, set_factor
from traiNNer.automations.statistics import share
from traiNNer.automations.time_scales import scaled
from traiNNer.automations.validation_record import read_scores
from traiNNer.control import Controls, Decision, Ramp
from traiNNer.events import (
    ChangeEvent,
    Event,
    RequestEvent,
    RunFacts,
    TrialEvent,
    ValidationEvent,
    WindowEvent,
)
from traiNNer.wording import counted

_log = logging.getLogger(__name__)

PLATEAU_CUT, DIVERGENCE_CUT, BLOW_UP_CUT, GROWTH = 0.8, 0.5, 0.25, 1.1
MAX_ROLLBACKS = 3
GOOD_SPANS = 4  # in a row, before the rate may grow
REWARM = 100  # steps of the new warm-up after a return to earlier weights
ANNEALING = 0.3  # share of the base schedule's peak below which a plateau is expected
EARLY = 0.3  # share of the run in which a healthy run must not be cut on a plateau
FEWEST_LEVELS = 5  # in a span
_TRIAL_PAUSE = 0.2  # share of the run between two trials


@AUTOMATIONS.register("IntelligentLearningRateScheduler")
class IntelligentLearningRateScheduler(Automation[LearningRateState]):
    """Multiplies the scheduled learning rate by a factor between two bounds.

    Args:
        monitor_loss: Act on plateaus and divergence of the training loss.
        monitor_validation: Act on plateaus of the first metric on the first validation set.
        adaptation_threshold: Share by which the loss improves over `plateau_patience` if it is not flat.
        plateau_patience: Steps; None: 1000, or a tenth of a shorter run than 10,000.
        improvement_threshold: Gain of the metric, in its unit, below which it counts as none.
        min_lr_factor: Lowest factor.
        max_lr_factor: Highest factor.
        fallback: The base schedule where the configuration has none; the engine builds it.
        facts: Of the run.
    """

    name = "IntelligentLearningRateScheduler"
    watches = "trend of the loss, validation scores"

    def __init__(
        self,
        *,
        monitor_loss: bool = True,
        monitor_validation: bool = True,
        adaptation_threshold: Positive = 0.02,
        plateau_patience: Count | None = None,
        improvement_threshold: NotNegative = 0.001,
        min_lr_factor: Positive = 0.1,
        max_lr_factor: Positive = 2.0,
        fallback: ScheduleFallback | None = None,
        facts: RunFacts,
    ) -> None:
        if not 0 < min_lr_factor <= 1 <= max_lr_factor:
            bounds = f"{min_lr_factor:g}..{max_lr_factor:g}"
            raise ValueError(f"min_lr_factor..max_lr_factor must contain 1 ({bounds})")
        self._monitor_loss, self._monitor_validation = monitor_loss, monitor_validation
        self._threshold = adaptation_threshold
        self._patience = scaled(1000, facts) if plateau_patience is None else plateau_patience
        self._warm_from = max(scaled(1000, facts), facts.warmup_iter)
        self._improvement = improvement_threshold
        self.min_factor, self._max = min_lr_factor, max_lr_factor
        self.base_schedule = fallback or ScheduleFallback()
        self._facts = facts
        judged = facts.judged_losses  # these rise where the discriminator learns, and nothing is wrong then
        self._followed = {label: w for label, w in facts.loss_weights.items() if label not in judged}
        self._settling = math.ceil(3 / (1 - facts.ema_decay)) if facts.ema_decay > 0 else 0
        self.state = LearningRateState()

    @property
    def healthy(self) -> bool:
        """Whether the last validation and the loss since allow a snapshot to return to later.

        Not before bicubic upscaling is reached: such weights may be damaged, and the start is near.
        """
        s = self.state
        steady = s.trend.high == 0 and s.rising == 0 and not any(s.trend.bad[-s.window :])
        return steady and not (s.trouble or s.below_baseline)

    # --- events --------------------------------------------------------------------------------------------

    def observe(self, event: Event) -> None:
        """Take note of what happened; reset after changes elsewhere."""
        s = self.state
        match event:
            case WindowEvent():
                self._see_window(event)
            case ValidationEvent():
                self._see_validation(event)
            case RequestEvent(control="lr_factor"):
                s.requested = event
            case TrialEvent() if about_damage(event):
                self._see_trial(event)
            case ChangeEvent():
                self._see_change(event)
            case _:
                pass

    def _see_change(self, event: ChangeEvent) -> None:
        s = self.state
        if event.by == self.name:
            s.awaited = False
            return
        if event.control in CHANGES:
            s.restart(event.step, self._settling)
        if event.control in ("validation", "losses"):  # what losses ask for may cost what the metric measures
            s.forget_scores()

    def _see_window(self, event: WindowEvent) -> None:
        s = self.state
        s.step, s.position, s.batch, s.window = event.step, event.position, event.batch, len(event.total)
        s.early, s.annealing = event.progress < EARLY, event.schedule < ANNEALING
        if event.step <= s.quiet_until:
            return
        s.trend.add_steps(event, fp16=self._facts.precision == "fp16")
        if s.losses.outdated(event, s.factors):
            s.restart(event.step, self._settling)
        if s.trend.count == 0:
            s.losses.choose(event, self._followed, s.factors)
        level = s.losses.level(event)
        s.fresh = "steps" if level is None else "window"
        if level is not None:
            s.trend.add(level, keep=MOST_SPANS * self._span())
        if event.warming_up:
            s.trend.levels, s.trend.count = s.trend.levels[-10:], 0

    def _see_validation(self, event: ValidationEvent) -> None:
        s = self.state
        s.step, s.position = event.step, event.position
        metric = next(iter(next(iter(event.sets.values())).metrics))
        higher, total = self._facts.higher_is_better.get(metric, True), self._facts.total_iter
        scores = read_scores(event, metric, higher_is_better=higher)
        psnr, warm = "psnr" in metric.lower(), event.step > self._warm_from and not s.annealing
        s.trouble = s.record.look_for_trouble(event, scores, psnr=psnr, learning=s.trend.at_lowest)
        if not (scores.known or s.trouble):
            return  # a metric without a value decides nothing
        watched = warm and self._monitor_validation
        s.standstill = s.record.look_for_standstill(event, scores, warm=watched, total_iter=total)
        if not event.weights_finite:
            s.record.troubles = max(2, s.record.troubles)
        s.fresh, s.below_baseline = "validation", scores.below_baseline
        if s.trouble or s.below_baseline:
            s.record.restart(event.step)
        elif event.step >= s.validate_from:
            s.record.add(scores, event.step, self._improvement)

    def _see_trial(self, event: TrialEvent) -> None:
        s = self.state
        found = verdict(event)
        s.record.suspects = 0
        if found is None:
            _log.info("%s: the trial could not be run; the run goes on as it is", self.name)
            return
        _log.info("%s: trial at iteration %d: %s", self.name, event.step, found.text)
        s.damage = found.text if found.damaged else ""
        if found.gain < -found.limit:  # it learns, if slowly: no other trial will say anything else
            s.trials = MAX_TRIALS
        s.fresh = "trial"

    # --- decisions -----------------------------------------------------------------------------------------

    def decide(self, controls: Controls) -> Sequence[Decision]:
        """At most one change of the factor."""
        s = self.state
        s.factors = dict(controls.loss_factor)
        request, s.requested = s.requested, None
        fresh, s.fresh = s.fresh, ""
        if s.stopped or not (fresh or request):
            return ()
        damage, s.damage = s.damage, ""
        why = damage or s.trend.divergence() or (s.trouble if s.record.troubles >= 2 else "")
        if why:
            return [self._return_to_health(controls, why, arm=RETURN if damage else "")]
        if self._trial_due(fresh, controls):
            s.trials, s.trial_from = s.trials + 1, s.step + round(_TRIAL_PAUSE * self._facts.total_iter)
            lower = max(self.min_factor, controls.lr_factor * BLOW_UP_CUT)
            return [trial(controls.lr_factor, lower, s.standstill, self._facts)]
        if not self.min_factor <= controls.lr_factor <= self._max:
            return self._set(controls, controls.lr_factor, "the bounds of the configuration")
        if controls.cooldown is not None:
            return ()
        if request is not None:
            text = f"request of {request.by} ({request.reason})"
            return self._set(controls, controls.lr_factor * request.factor, text)
        if fresh == "window" and self._monitor_loss:
            return self._divergence(controls) or self._loss_plateau(controls) or self._growth(controls)
        return self._validation_plateau(controls) if fresh == "validation" else ()

    def fallback(self, controls: Controls) -> Sequence[Decision]:
        """The factor as it is, but never a rate above the schedule's."""
        return self._set(controls, 1.0, "fallback") if controls.lr_factor > 1.0 else ()

    def _trial_due(self, fresh: str, controls: Controls) -> bool:
        s = self.state
        suspected = fresh == "validation" and s.standstill != "" and self._facts.scores_trials
        return suspected and s.trials < MAX_TRIALS and s.step >= s.trial_from and controls.cooldown is None

    def _return_to_health(self, controls: Controls, why: str, *, arm: str) -> Decision:
        s = self.state
        s.refused += s.awaited
        if s.rollbacks >= MAX_ROLLBACKS:
            s.stopped = True
            return give_up(why, asked=s.rollbacks, refused=s.refused)
        s.rollbacks, s.awaited = s.rollbacks + 1, True
        factor = max(self.min_factor, controls.lr_factor * BLOW_UP_CUT)
        samples = REWARM * s.batch * self._facts.world_size
        s.move(controls.lr_factor, factor, self._settling)
        s.quiet_until, s.trouble, s.record.troubles = s.step + REWARM, "", 0
        text = f"{why}; return {s.rollbacks} of {MAX_ROLLBACKS} to the last healthy weights"
        rewarm = None if arm else Ramp(s.position, samples)  # an arm has its warm-up behind it
        return roll_back(factor, text, rewarm, arm)

    def _divergence(self, controls: Controls) -> Sequence[Decision]:
        s = self.state
        if not self._review_due():
            return ()
        found = s.trend.diverging(self._span())
        s.rising = s.rising + 1 if found else 0
        if found is None or s.rising < 2:
            return ()
        rise, limit = (-share(-logarithm) for logarithm in found)
        why = f"loss rose by {rise:.1%} in {counted(self._patience, 'step')}, limit {limit:.1%}"
        target = s.lower(controls.lr_factor, DIVERGENCE_CUT)
        return self._set(controls, target, f"divergence ({why})", *found)

    def _loss_plateau(self, controls: Controls) -> Sequence[Decision]:
        s = self.state
        improving = self._monitor_validation and s.record.improving
        expected = s.early or s.annealing or improving or s.below_baseline
        if expected or s.rising or not self._review_due():  # what rises is flat too, and waits for its cut
            return ()
        found = s.trend.plateau(self._span(), self._threshold)
        if found is None:
            return ()
        gain, bound = found
        text = f"plateau detection ({in_words(gain, bound, self._patience)})"
        return self._set(controls, controls.lr_factor * PLATEAU_CUT, text, bound, self._threshold)

    def _validation_plateau(self, controls: Controls) -> Sequence[Decision]:
        s = self.state
        waited = s.step - max(s.record.best_step, s.validate_from)
        expected = not self._monitor_validation or s.early or s.annealing or s.trouble
        if expected or s.record.since < 2 or waited < self._patience:
            return ()
        text = f"validation plateau (no gain above {self._improvement:g} in {counted(waited, 'step')})"
        factor = controls.lr_factor * PLATEAU_CUT
        return self._set(controls, factor, text, float(waited), float(self._patience))

    def _growth(self, controls: Controls) -> Sequence[Decision]:
        s = self.state
        if s.trend.count == 0 or s.trend.count % self._span():
            return ()
        s.good = s.good + 1 if s.trend.improved(self._span(), self._threshold) else 0
        limit = self._max if s.ceiling is None else min(self._max, s.ceiling)
        old = controls.lr_factor
        if s.good < GOOD_SPANS or s.annealing or old >= limit:
            return ()
        text = f"sustained improvement ({counted(s.good, 'span')} in a row)"
        return self._set(controls, min(limit, old * GROWTH), text)

    # --- parts ---------------------------------------------------------------------------------------------

    def _span(self) -> int:
        return max(FEWEST_LEVELS, round(self._patience / self.state.window))

    def _review_due(self) -> bool:
        return self.state.trend.count > 0 and self.state.trend.count % max(1, self._span() // 4) == 0

    def _set(self, controls: Controls, factor: float, why: str, *evidence: float) -> Sequence[Decision]:
        """Set the factor, as far as its bounds allow, and reset the curves."""
        s, old = self.state, controls.lr_factor
        factor = min(self._max, max(self.min_factor, factor))
        if factor == old:
            return ()
        s.move(old, factor, self._settling)
        return [set_factor(factor, why, *evidence)]
