"""The training loop.

Two clocks run: `step` counts optimizer updates (validation, saving, logging), `position` counts samples of the
stream (data). `time` is the position in steps of the configured batch; learning rates and the end of the run
follow it, so a larger batch finishes the same samples in fewer steps.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from traiNNer.automations import Proposal
from traiNNer.control import Request, RollBack, RunTrial, SetBatch, SetLossFactors, Stop
from traiNNer.data.loader import Batch
from traiNNer.events import ChangeEvent, Event, RequestEvent, ValidationEvent
from traiNNer.inference.network import EvalNetwork
from traiNNer.models.sr_model import BatchTooLarge
from traiNNer.registry import ConfigError
from traiNNer.runtime.signals import StopSignal
from traiNNer.training.agreement import processes_agree
from traiNNer.training.effects import Effects, follow_loss_factors
from traiNNer.training.guarded_validation import measured
from traiNNer.training.learned_patterns import store_pattern
from traiNNer.training.outputs import NOWHERE, Outputs
from traiNNer.training.parts import Parts
from traiNNer.training.saved_state import Counted, restore, state_of
from traiNNer.training.scores import use_scores
from traiNNer.training.skipped import not_finite
from traiNNer.training.state import Outcome, Progress, StepClock, outcome
from traiNNer.training.step_too_large import out_of_memory, repeat_smaller
from traiNNer.training.window import losses_switched, window_event

_log = logging.getLogger(__name__)

_PATTERN_EVERY = 1000  # steps between writings of what was learned of the gradients


class Trainer:
    """Runs the steps and everything that happens between them.

    Args:
        parts: Everything that computes.
        outputs: Where it writes.
    """

    def __init__(self, parts: Parts, outputs: Outputs = NOWHERE) -> None:
        self.parts, self.outputs = parts, outputs
        self.model, self.loader, self.controls = parts.model, parts.loader, parts.controls
        self._recorder, self._checkpointer, self._images = outputs
        self._configured = deepcopy(parts.controls)
        self._effects = Effects(parts, outputs.checkpointer)
        self._clock = StepClock()
        self.progress = Progress()
        self.last_validation: ValidationEvent | None = None
        self._batches: Iterator[Batch] = iter(())
        self._saved_at = (-1, -1)  # step, and the step of the last validation
        self._stop = StopSignal()

    # --- the loop ------------------------------------------------------------------------------------------

    def fit(self, stop: StopSignal) -> Outcome:
        """Train to the end, or to the step at which `stop` was received; then everything is saved."""
        progress, self._stop = self.progress, stop
        self.begin()
        while not self._ended():
            if not self._effects.trial:  # else a signal came in it: it is the first thing to do on resuming
                self.advance()
                self._validate_and_save_when_due()
            if self.parts.processes.any(stop.came()):
                self.save()
                return Outcome("interrupted", f"{stop.received or 'a signal'} at step {progress.step}")
        self._end_window()
        self.save()
        if self.parts.validator and progress.validated != progress.step:
            self._validate()
            if progress.validated != progress.step:
                return Outcome("interrupted", f"{stop.received or 'a signal'} in the last validation")
        self.save()  # again if there was a validation, which belongs into the last state
        asked = self.parts.validator is not None and bool(self.parts.validator.metrics)
        return outcome(progress, measured=not asked or self.last_validation is not None)

    def begin(self) -> None:
        """Ask for the data from where the run stands.

        Raises:
            ConfigError: If the processes do not begin with the same weights.
        """
        if not processes_agree(self.model.networks, self.parts.processes):
            raise ConfigError("the processes begin with different weights; they need the same files and seed")
        self._restart_batches()
        self._effects.take_snapshot(first=True)
        for event in self._effects.changed:
            self._react(event)
        for event in self._run_trial(t) if (t := self._effects.trial) else self._effects.start(self.progress):
            self._react(event)
        if self.progress.step and self._validation_due() and self.progress.validated != self.progress.step:
            self._validate()  # it was saved before its validation

    def next_rates(self) -> dict[str, float]:
        """Write the learning rates of the next step; returns them per network."""
        factor = self.controls.learning_rate_factor(self.progress.position)
        self.model.networks.set_learning_rates(self.progress.time, factor)
        return self.model.networks.learning_rates

    def advance(self) -> None:
        """One step, and what the end of a window of steps brings."""
        self._step()
        if self.progress.step % self.parts.plan.window == 0 or self._ended():
            self._end_window()

    def rehearse(self) -> list[str]:
        """One step and one validation image, as a check; the trainer is of no use for training afterwards.

        Returns what was not finite.
        """
        self._restart_batches()
        self._step()
        found = not_finite(self.model.read_metrics(), fp16=self.model.precision.name == "fp16")
        if validator := self.parts.validator:
            found += validator.rehearse(EvalNetwork(self.model.networks.eval_net, self.model.networks.facts))
        return found

    def _validate_and_save_when_due(self) -> None:
        if self.progress.step % self.parts.plan.save_every == 0:
            if not self.parts.plan.measures_on_the_way:
                self._effects.take_snapshot()
            self.save()  # first: whatever a validation does to the process costs no step
        if self._validation_due():
            self._validate()

    def _validation_due(self) -> bool:
        every = self.parts.plan.validate_every
        return bool(every) and self.progress.step % every == 0 and not self._effects.trial  # which goes first

    def _ended(self) -> bool:
        progress, cooldown = self.progress, self.controls.cooldown
        stopped = progress.stop_rule and (cooldown is None or cooldown.done(progress.position) >= 1)
        return bool(stopped) or progress.time >= self.parts.plan.total_iter

    def _step(self) -> None:
        """One optimizer step, however many attempts the memory needs."""
        progress, controls = self.progress, self.controls
        shape = (controls.batch, controls.lq_size)
        self._clock.start()
        batch = next(self._batches)
        self._clock.data_arrived()
        rates = self.next_rates()
        while True:
            try:
                self.model.optimize_parameters(batch, progress.step, controls)
                break
            except BatchTooLarge:
                self._shrink_micro_batch()
        progress.advance(shape[0] * self.parts.processes.world_size, self.parts.plan, rates)
        if shape != (controls.batch, controls.lq_size):  # an automation that failed fell back during the step
            self._restart_batches()
        if batch.replaced:
            progress.note_replaced(batch.replaced, self.parts.facts.images, self.parts.processes.world_size)
        self._clock.stop()

    def _end_window(self) -> None:
        """Bring the numbers of the last steps to the host, once, and show them to everyone."""
        self._clock.start()
        numbers = self.model.read_metrics()
        self._clock.stop()
        if not numbers.total:
            return
        progress = self.progress
        seconds, wait = self._clock.read()
        progress.seconds += seconds
        event = window_event(self.parts, progress, numbers, seconds=seconds, wait=wait)
        progress.skipped.add(event)
        self._react(event)
        if losses_switched(self.model.losses, progress.step - len(numbers.total), progress.step):
            self._react(ChangeEvent(progress.step, progress.position, "losses", "schedule"))
        if self._recorder and progress.step % _PATTERN_EVERY == 0:
            store_pattern(self.parts.supervisor, self.parts.facts)

    def _validate(self) -> None:
        parts, progress, validator = self.parts, self.progress, self.parts.validator
        if validator is None:
            return
        began = time.monotonic()
        event = measured(parts, validator, self.outputs, progress, self._stop)
        if not parts.processes.any(event is None and self._stop.came()):  # else it is given up
            progress.validated = progress.step
        progress.seconds += time.monotonic() - began
        parts.memory.restart()  # whole images may take more than a step, which is what is watched
        if event is None:
            return
        if validator.metrics:
            self.last_validation = event
            use_scores(event, parts, self.outputs, progress)
            self._react(event)
        self._effects.take_snapshot()

    # --- events and decisions ------------------------------------------------------------------------------

    def _react(self, event: Event) -> None:
        """Show an event to the automations, apply what they decide, and show them what that changed."""
        events = deque([event])
        while events:
            event = events.popleft()
            if self._recorder:
                self._recorder.event(event, self.controls, self.progress.step)
            for proposal in self.parts.supervisor.react(event, self.controls):
                if self._recorder:
                    self._recorder.decision(self.progress.step, proposal, self.controls)
                if proposal.applied:
                    events += self._apply(proposal)
        self._effects.forget_trial()

    def _apply(self, proposal: Proposal) -> list[Event]:
        """The one place where a decision takes effect. Returns what others should know of it.

        A decision changes the controls itself; what touches more than the controls is here.
        """
        progress, controls, decision = self.progress, self.controls, proposal.decision
        before = deepcopy(controls)
        decision.apply(controls)
        match decision:
            case RollBack():
                self._effects.roll_back(decision.arm)
            case RunTrial():
                return self._run_trial(decision)
            case SetBatch():
                self.parts.memory.restart()
                if (before.batch, before.lq_size) == (controls.batch, controls.lq_size):
                    return []  # the micro-batch changes no number
                self._restart_batches()
            case SetLossFactors():
                follow_loss_factors(self.model, before.loss_factor, controls.loss_factor)
            case Request(control=control, factor=factor, reason=why, network=network):
                return [RequestEvent(progress.step, control, factor, proposal.automation, why, network)]
            case Stop():
                self._effects.stop(decision, progress)
        change = ChangeEvent(progress.step, progress.position, decision.changes, proposal.automation)
        return [change] if decision.changes else []

    def _run_trial(self, trial: RunTrial) -> list[Event]:
        result = self._effects.run_trial(trial, self.controls, self.progress, self._stop.came)
        self._restart_batches()
        self.parts.memory.restart()
        return [result] if result else []

    def _shrink_micro_batch(self) -> None:
        """After a step that did not fit: let the owner of the batch size decide, or halve."""
        event = out_of_memory(self.controls, self.progress.step)
        self._react(event)
        if self.controls.micro_batch >= event.micro_batch:
            repeat_smaller(self.controls, event)
        self.parts.memory.restart()

    def _restart_batches(self) -> None:
        position, controls = self.progress.position, self.controls
        self._batches = self.loader.batches(position, controls.batch, controls.lq_size)

    # --- saving --------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write weights and training state of this step and its validation, unless they are written already."""
        step = self.progress.step
        if self._saved_at == (step, self.progress.validated):
            return
        if not processes_agree(self.model.networks, self.parts.processes):
            _log.error("Iteration %s: the processes' weights differ; those of the first are saved", step)
        self._write_state()

    def save_after_failure(self) -> None:
        """Write the last whole step of a run that failed, where its weights are sound; asks no other process."""
        networks, step = self.model.networks, self.progress.step
        if self.model.updating or not step or self._saved_at[0] == step or not networks.finite():
            return
        networks.discard_step()
        self._write_state()

    def _write_state(self) -> None:
        progress = self.progress
        if self._checkpointer:
            self._checkpointer.save(self.model.networks, progress, self.state_dict())
            _log.info("Saved iteration %s", f"{progress.step:,}", extra={"routine": True})
        self._saved_at = (progress.step, progress.validated)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a run needs to go on."""
        counted = Counted(self.progress, self._configured, self._effects.trial)
        return state_of(self.parts, self._recorder, counted)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state. Controls whose configured value has changed since take the new one."""
        counted = restore(state, self.parts, self._recorder, self._configured)
        self.progress, _, self._effects.trial, self._effects.changed = counted
        if self._checkpointer:
            self._checkpointer.restore_best(state.get("best"), self.progress)
        self._saved_at = (self.progress.step, self.progress.validated)
