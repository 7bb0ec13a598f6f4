"""The training loop.

Two clocks run: `step` counts optimizer updates (validation, saving, logging), `position` counts samples of the
stream (data). `time` is the position in steps of the configured batch; learning rates and the end of the run
follow it, so a larger batch finishes the same samples in fewer steps.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import fields
from typing import Any, NamedTuple

from traiNNer.automations import Proposal
from traiNNer.automations.learning_rate import wants_snapshot
from traiNNer.control import (
    Controls,
    Request,
    RollBack,
    RunTrial,
    SetBatch,
    SetLossFactors,
    Stop,
    from_plain,
    to_plain,
)
from traiNNer.data.loader import Batch
from traiNNer.events import (
    ChangeEvent,
    Event,
    OutOfMemoryEvent,
    RequestEvent,
    TrialEvent,
    ValidationEvent,
    WindowEvent,
)
from traiNNer.inference.network import EvalNetwork
from traiNNer.models.sr_model import BatchTooLarge
from traiNNer.optim.schedules import ReduceLROnPlateau
from traiNNer.registry import ConfigError
from traiNNer.runtime.memory import OutOfMemoryError
from traiNNer.runtime.signals import StopSignal
from traiNNer.tracking.recorder import Recorder
from traiNNer.tracking.validation_images import ValidationImages
from traiNNer.training.agreement import processes_agree
from traiNNer.training.checkpoint import Checkpointer
from traiNNer.training.learned_patterns import store_pattern
from traiNNer.training.parts import Parts
from traiNNer.training.state import Outcome, Progress, StepClock
from traiNNer.training.trial import Moment, TrialRunner
from traiNNer.training.validation import Validator

_log = logging.getLogger(__name__)

_PATTERN_EVERY = 1000  # steps between writings of what was learned of the gradients
_LOSS_JUMP = math.log(4)  # of a loss factor


class Outputs(NamedTuple):
    """Where a run writes; None: nothing of that kind, as on every process but the main one."""

    recorder: Recorder | None = None
    checkpointer: Checkpointer | None = None
    images: ValidationImages | None = None


NOWHERE = Outputs()


class Trainer:
    """Runs the steps and everything that happens between them.

    Args:
        parts: Everything that computes.
        outputs: Where it writes.
    """

    def __init__(self, parts: Parts, outputs: Outputs = NOWHERE) -> None:
        self.model, self.loader = parts.model, parts.loader
        self.controls, self.plan, self.outputs = parts.controls, parts.plan, outputs
        self._configured = deepcopy(parts.controls)
        self._schedule, self._plateau, self._facts = parts.schedule, parts.plateau, parts.facts
        self._supervisor, self._processes = parts.supervisor, parts.processes
        self._memory, self._validator = parts.memory, parts.validator
        self._recorder, self._checkpointer, self._images = outputs
        self.progress = Progress()
        self.last_validation: ValidationEvent | None = None
        self._batches: Iterator[Batch] = iter(())
        self._saved_at = -1
        self._clock = StepClock()
        self._trials = TrialRunner(
            parts.model, parts.loader, parts.processes, parts.facts.anchor_loss, parts.plan.window
        )
        self._trial: RunTrial | None = None  # asked for and not finished
        self._interrupted: Callable[[], bool] = lambda: False

    # --- the loop ------------------------------------------------------------------------------------------

    def fit(self, stop: StopSignal) -> Outcome:
        """Train to the end, or to the step at which `stop` was received; then everything is saved."""
        progress, plan = self.progress, self.plan
        self._interrupted = lambda: stop.received is not None
        self.begin()
        while progress.time < plan.total_iter and not self._ended():
            self.advance()
            self._validate_and_save_when_due()
            if self._processes.any(stop.received is not None):
                self.save()
                return Outcome("interrupted", f"{stop.received or 'a signal'} at step {progress.step}")
        self._end_window()
        if self._validator and progress.validated != progress.step:
            self._validate()
        self.save()
        if progress.stop_rule:
            return Outcome("stopped_early", progress.stop_reason)
        return Outcome("completed", f"{progress.step} iterations")

    def begin(self) -> None:
        """Ask for the data from where the run stands.

        Raises:
            ConfigError: If the processes do not begin with the same weights.
        """
        if not processes_agree(self.model.networks, self._processes):
            raise ConfigError("the processes begin with different weights; they need the same files and seed")
        self._restart_batches()
        if not self.model.networks.has_snapshot and wants_snapshot(self._supervisor):
            self.model.networks.take_snapshot()
        if self._trial:
            for event in self._run_trial(self._trial):
                self._react(event)

    def advance(self) -> None:
        """One step, and what the end of a window of steps brings."""
        self._step()
        if self.progress.step % self.plan.window == 0:
            self._end_window()

    def rehearse(self) -> None:
        """One step and one validation image, as a check; the trainer is of no use for training afterwards."""
        self._restart_batches()
        self._step()
        if self._validator:
            self._validator.rehearse(EvalNetwork(self.model.networks.eval_net, self.model.networks.facts))

    @property
    def headline_name(self) -> str | None:
        """The metric that decides which weights are best."""
        return self._validator.headline_name if self._validator and self._validator.metrics else None

    def status(self) -> dict[str, str]:
        """One word on each automation."""
        return self._supervisor.status()

    def _validate_and_save_when_due(self) -> None:
        step, plan = self.progress.step, self.plan
        if plan.validate_every and step % plan.validate_every == 0:
            self._validate()
        if step % plan.save_every == 0:
            self.save()

    def _ended(self) -> bool:
        cooldown = self.controls.cooldown
        return bool(self.progress.stop_rule) and (
            cooldown is None or cooldown.done(self.progress.position) >= 1
        )

    def _step(self) -> None:
        """One optimizer step, however many attempts the memory needs."""
        progress, controls = self.progress, self.controls
        shape = (controls.batch, controls.lq_size)
        self._clock.start()
        batch = next(self._batches)
        self._clock.data_arrived()
        self.model.networks.set_learning_rates(
            progress.time, controls.learning_rate_factor(progress.position)
        )
        while True:
            try:
                self.model.optimize_parameters(batch, progress.step, controls)
                break
            except BatchTooLarge:
                self._shrink_micro_batch()
        samples = shape[0] * self._processes.world_size
        progress.step += 1
        progress.position += samples
        progress.time += samples / self.plan.samples_per_step
        if shape != (controls.batch, controls.lq_size):  # an automation that failed fell back during the step
            self._restart_batches()
        if batch.replaced:
            progress.note_replaced(batch.replaced, self._processes.world_size)
        self._clock.stop()

    def _end_window(self) -> None:
        """Bring the numbers of the last steps to the host, once, and show them to everyone."""
        self._clock.start()
        numbers = self.model.read_metrics()
        self._clock.stop()
        if not numbers.total:
            return
        progress, controls = self.progress, self.controls
        seconds, wait = self._clock.read()
        progress.seconds += seconds
        seconds, wait, memory = self._processes.maximum([seconds, wait, self._memory.peak()])
        self._react(
            WindowEvent(
                step=progress.step,
                position=progress.position,
                progress=min(1.0, progress.time / self.plan.total_iter),
                batch=controls.batch,
                micro_batch=controls.micro_batch,
                lq_size=controls.lq_size,
                lr=self.model.networks.learning_rates,
                schedule=self._schedule(progress.time),
                warming_up=progress.time < self.plan.warmup_iter,
                memory_peak=memory,
                seconds=seconds,
                data_wait=wait / seconds if seconds else 0.0,
                **numbers._asdict(),
            )
        )
        self._notice_losses(progress.step - len(numbers.total))
        if self._recorder and progress.step % _PATTERN_EVERY == 0:
            store_pattern(self._supervisor, self._facts)

    def _notice_losses(self, since: int) -> None:
        """Tell the automations when the schedule of a loss has switched it on or off in a window of steps."""
        progress = self.progress
        before, now = (
            {label for label, loss in self.model.losses.items() if loss.weight_at(step)}
            for step in (since, progress.step)
        )
        if before != now:
            self._react(ChangeEvent(progress.step, progress.position, "losses", "schedule"))

    def _validate(self) -> None:
        if self._validator is None:
            return
        progress = self.progress
        began = time.monotonic()
        event = self._validator.run(
            EvalNetwork(self.model.networks.eval_net, self.model.networks.facts),
            step=progress.step,
            position=progress.position,
            lr_exhausted=self._schedule(progress.time) < 0.01,
            show=self._images.taker(progress.step) if self._images else None,
        )
        strips = self._images.collect() if self._images else []
        progress.validated = progress.step
        progress.seconds += time.monotonic() - began
        self._memory.restart()  # whole images may take more than a step, which is what is watched
        if self._recorder:
            self._recorder.strips(progress.step, strips)
        if self._validator.metrics:
            self._use_scores(self._validator, event)
        if wants_snapshot(self._supervisor):
            self.model.networks.take_snapshot()

    def _use_scores(self, validator: Validator, event: ValidationEvent) -> None:
        """Keep the best weights, and show the scores to everyone."""
        progress = self.progress
        self.last_validation = event
        score, higher = validator.headline(event)
        best = progress.take_score(score, higher_is_better=higher, of=validator.headline_identity(event))
        if best and self._checkpointer:
            self._checkpointer.save_best(self.model.networks, progress)
        if self._plateau:
            score, higher = validator.headline(event, self._plateau.monitor)
            self._plateau.observe(score, higher_is_better=higher)
        if self._recorder:
            said = "none" if progress.best is None else f"{progress.best:.3f} at {progress.best_step:,}"
            self._recorder.validation(event, said)
        self._react(event)

    # --- events and decisions ------------------------------------------------------------------------------

    def _react(self, event: Event) -> None:
        """Show an event to the automations, apply what they decide, and show them what that changed."""
        events = deque([event])
        while events:
            event = events.popleft()
            if self._recorder:
                self._recorder.event(event, self.controls, self.progress.step)
            for proposal in self._supervisor.react(event, self.controls):
                if self._recorder:
                    self._recorder.decision(self.progress.step, proposal, self.controls)
                if proposal.applied:
                    events += self._apply(proposal)

    def _apply(self, proposal: Proposal) -> list[Event]:
        """The one place where a decision takes effect. Returns what others should know of it.

        A decision changes the controls itself; what touches more than the controls is here.
        """
        progress, controls, decision = self.progress, self.controls, proposal.decision
        before = deepcopy(controls)
        decision.apply(controls)
        match decision:
            case RollBack():
                self._roll_back(decision.arm)
            case RunTrial():
                return self._run_trial(decision)
            case SetBatch():
                self._memory.restart()
                if (before.batch, before.lq_size) == (controls.batch, controls.lq_size):
                    return []  # the micro-batch changes no number
                self._restart_batches()
            case SetLossFactors():
                self._follow_jump(before.loss_factor, decision.factors)
            case Request(control=control, factor=factor, reason=reason):
                return [RequestEvent(progress.step, control, factor, proposal.automation, reason)]
            case Stop():
                self._stop(decision)
        change = ChangeEvent(progress.step, progress.position, decision.changes, proposal.automation)
        return [change] if decision.changes else []

    def _stop(self, decision: Stop) -> None:
        progress = self.progress
        progress.stop_rule, progress.stop_reason = decision.rule, decision.reason
        if not decision.restore_best:
            return
        kept = self._checkpointer.best(progress) if self._checkpointer else None
        best = self._processes.gather(kept)[0]  # of the main process, which has the files
        if best is None:
            _log.error("There are no best weights of this course of the run: it ends with the last ones")
            return
        self.model.networks.load_weights(best["weights"])
        _log.info("Stopped at iteration %s; the best weights are restored", f"{progress.step:,}")

    def _follow_jump(self, old: Mapping[str, float], new: Mapping[str, float]) -> None:
        """After a jump of a loss factor the optimizer's state belongs to other gradients."""
        if _jumped(old, new):
            self.model.generator.reset_optimizer()

    def _roll_back(self, arm: str) -> None:
        """To the last healthy weights, or to where an arm of the latest trial ended."""
        if arm:
            self._trials.adopt(arm)
        else:
            self.model.networks.roll_back()

    def _run_trial(self, trial: RunTrial) -> list[Event]:
        """Its result; nothing where a signal comes first: then it is run again where the run goes on."""
        progress = self.progress
        self._trial, began = trial, time.monotonic()
        moment = Moment(progress.step, progress.position, progress.time)
        scores = self._trials.run(trial.arms, trial.steps, self.controls, moment, self._interrupted)
        self._restart_batches()
        self._memory.restart()
        progress.seconds += time.monotonic() - began
        if scores is None:
            return []
        self._trial = None
        return [TrialEvent(progress.step, progress.position, trial.arms, scores)]

    def _shrink_micro_batch(self) -> None:
        """After a step that did not fit: let the owner of the batch size decide, or halve."""
        failed = min(self.controls.micro_batch, self.controls.batch)
        if failed == 1:
            raise OutOfMemoryError(
                "out of memory with one sample at a time; lower datasets.train.lq_size, the network's size "
                "(network_g) or use_amp: true with amp_bf16: true"
            )
        retry = -(-failed // 2)
        self._react(OutOfMemoryEvent(self.progress.step, failed, retry))
        if self.controls.micro_batch >= failed:
            self.controls.micro_batch = retry
            _log.warning(
                "out of memory at step %d with %d samples at a time: repeating the step with %d (the result "
                "is the same)",
                self.progress.step,
                failed,
                retry,
            )
        self._memory.restart()

    def _restart_batches(self) -> None:
        self._batches = self.loader.batches(
            self.progress.position, self.controls.batch, self.controls.lq_size
        )

    # --- saving --------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write weights and training state of this step, unless they are written already."""
        step = self.progress.step
        if self._saved_at == step:
            return
        self._saved_at = step
        if not processes_agree(self.model.networks, self._processes):
            _log.error(
                "Iteration %s: the weights of the processes differ; those of the first are saved", step
            )
        if self._checkpointer:
            self._checkpointer.save(self.model.networks, self.progress, self.state_dict())
            _log.info("Saved iteration %s", f"{step:,}", extra={"routine": True})

    def state_dict(self) -> dict[str, Any]:
        """Everything that a run needs to go on."""
        return {
            "model": self.model.state_dict(),
            "progress": to_plain(self.progress),
            "controls": to_plain(self.controls),
            "configured": to_plain(self._configured),
            "automations": self._supervisor.state_dict(),
            "plateau": to_plain(self._plateau.state) if self._plateau else None,
            "validator": self._validator.state_dict() if self._validator else {},
            "recorder": self._recorder.state_dict() if self._recorder else None,
            "trial": to_plain(self._trial) if self._trial else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state. Controls whose configured value has changed since take the new one."""
        self.model.load_state_dict(state["model"])
        self.progress = from_plain(Progress, state["progress"])
        saved, then = from_plain(Controls, state["controls"]), from_plain(Controls, state["configured"])
        for item in fields(Controls):
            if getattr(then, item.name) == getattr(self._configured, item.name):
                setattr(self.controls, item.name, getattr(saved, item.name))
        self._supervisor.load_state_dict(state["automations"])
        if self._plateau and state["plateau"]:
            self._plateau.state = from_plain(ReduceLROnPlateau.State, state["plateau"])
        if self._validator:
            self._validator.load_state_dict(state["validator"])
        if self._recorder and state["recorder"]:
            self._recorder.load_state_dict(state["recorder"])
        if self._checkpointer:
            self._checkpointer.restore_best(state.get("best"), self.progress)
        if state.get("trial"):
            self._trial = from_plain(RunTrial, state["trial"])
        self._saved_at = self.progress.step


def _jumped(before: Mapping[str, float], now: Mapping[str, float]) -> bool:
    """Whether the moments of the optimizer belong to other gradients than those of these loss factors."""
    return any(abs(math.log(factor / before.get(loss, 1.0))) > _LOSS_JUMP for loss, factor in now.items())
