"""What decisions do to more than the controls: other weights, trials, an end. `Trainer._apply` calls it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence

from traiNNer.automations.loss_trend import drift
from traiNNer.automations.rate.learning_rate import IntelligentLearningRateScheduler
from traiNNer.automations.rate.rate_search import LearningRateSearch
from traiNNer.automations.rate.written_rate import WrittenRateTrial
from traiNNer.control import Controls, RunTrial, Stop
from traiNNer.events import ChangeEvent, Event, StartEvent, TrialEvent
from traiNNer.models.sr_model import SRModel
from traiNNer.training.checkpoint import Checkpointer
from traiNNer.training.parts import Parts
from traiNNer.training.state import Progress
from traiNNer.training.trial import Moment, TrialRunner

_log = logging.getLogger(__name__)

_LOSS_JUMP = math.log(4)  # of a loss factor


class Effects:
    """Changes of weights, optimizer and progress that decisions ask for.

    Args:
        parts: What is changed.
        checkpointer: Has the best weights; None on every process but the main one.
    """

    def __init__(self, parts: Parts, checkpointer: Checkpointer | None) -> None:
        self._model, self._processes, self._supervisor = parts.model, parts.processes, parts.supervisor
        self._warmup_iter = parts.plan.warmup_iter
        self._checkpointer = checkpointer
        self._trials = TrialRunner(
            parts.model, parts.loader, parts.processes, parts.facts.anchor_loss, parts.plan.window
        )
        self.trial: RunTrial | None = None
        """Asked for and not finished."""
        self.changed: Sequence[ChangeEvent] = ()
        """What is another since the state that the run goes on from, and is to be said first."""

    def start(self, progress: Progress) -> list[Event]:
        """What is to be said before the first step: that trials of the rate may begin."""
        kinds = (LearningRateSearch, WrittenRateTrial)
        waiting = any(isinstance(a, kinds) and a.waiting for a in self._supervisor.automations.values())
        return [StartEvent(progress.step, progress.position)] if waiting else []

    def take_snapshot(self, *, first: bool = False) -> None:
        """Keep the weights of this moment to return to, if they are healthy and something may return.

        Args:
            first: Only where there is none.
        """
        scheduler = self._supervisor.automations.get(IntelligentLearningRateScheduler.name)
        wanted = isinstance(scheduler, IntelligentLearningRateScheduler) and scheduler.healthy
        if wanted and not (first and self._model.networks.has_snapshot):
            self._model.networks.take_snapshot()

    def roll_back(self, arm: str) -> None:
        """To the last healthy weights, or to where an arm of the latest trial ended."""
        if arm:
            self._trials.adopt(arm)
        else:
            self._model.networks.roll_back()

    def run_trial(
        self, trial: RunTrial, controls: Controls, progress: Progress, interrupted: Callable[[], bool]
    ) -> TrialEvent | None:
        """Its result; None where a signal comes first: then it is run again where the run goes on.

        The batches of the loader are not as before.
        """
        self.trial, began = trial, time.monotonic()
        time_of_rates = max(progress.time, self._warmup_iter)  # arms have a warm-up of their own
        moment = Moment(progress.step, progress.position, time_of_rates)
        scores = self._trials.run(trial, controls, moment, interrupted)
        progress.seconds += time.monotonic() - began
        if scores is None:
            return None
        self.trial = None
        return TrialEvent(progress.step, progress.position, trial.arms, scores, trial.steps)

    def forget_trial(self) -> None:
        """Free what the arms of the latest trial became, once it has been answered."""
        self._trials.forget()

    def stop(self, decision: Stop, progress: Progress) -> None:
        """Remember that and why the run ends; load the best weights where it shall end with them."""
        progress.stop_rule, progress.stop_reason = decision.rule, decision.reason
        if not decision.restore_best:
            return
        kept = self._checkpointer.best(progress) if self._checkpointer else None
        best = self._processes.gather(kept)[0]  # of the main process, which has the files
        if best is None:
            _log.error("There are no best weights of this course of the run: it ends with the last ones")
            return
        self._model.networks.load_weights(best["weights"])
        _log.info("Stopped at iteration %s; the best weights are restored", f"{progress.step:,}")


def follow_loss_factors(model: SRModel, before: Mapping[str, float], now: Mapping[str, float]) -> None:
    """Reset the generator's optimizer after a jump: its moments belong to gradients of other factors."""
    if drift(before, now) > _LOSS_JUMP:
        model.generator.reset_optimizer()
