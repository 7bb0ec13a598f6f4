"""What a training state holds: everything that a run has learned or counted, and no setting."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields
from typing import Any, NamedTuple

from traiNNer.automations import Supervisor
from traiNNer.automations.batch.batch_size import DynamicBatchSizeOptimizer
from traiNNer.automations.gradients.gradient_clipping import AdaptiveGradientClipping
from traiNNer.automations.gradients.stabilizer import GradientFlowStabilizer
from traiNNer.automations.losses.loss_scheduling import DynamicLossScheduling
from traiNNer.automations.rate.learning_rate import IntelligentLearningRateScheduler
from traiNNer.automations.stopping.early_stopping import IntelligentEarlyStopping
from traiNNer.control import Controls, RunTrial, from_plain, to_plain
from traiNNer.events import ChangeEvent
from traiNNer.optim.schedules import ReduceLROnPlateau
from traiNNer.tracking.recorder import Recorder
from traiNNer.training.effects import follow_loss_factors
from traiNNer.training.parts import Parts
from traiNNer.training.state import Progress

_OWNED = {
    IntelligentLearningRateScheduler.name: ("lr_factor", "rewarm"),
    DynamicBatchSizeOptimizer.name: ("batch", "micro_batch", "lq_size", "lr_batch_factor"),
    AdaptiveGradientClipping.name: ("clip",),
    GradientFlowStabilizer.name: ("loss_scale",),
    DynamicLossScheduling.name: ("loss_factor",),
    IntelligentEarlyStopping.name: ("cooldown",),
}
"""The controls of each automation."""
_TOLD = ("lr_factor", "batch", "lq_size", "loss_factor")
"""The controls whose change is told the other automations, by whichever decision."""
_log = logging.getLogger(__name__)


class Counted(NamedTuple):
    """What the trainer itself keeps between steps."""

    progress: Progress
    configured: Controls
    """The controls as the options want them."""
    trial: RunTrial | None = None
    """Asked for and not finished."""
    changed: Sequence[ChangeEvent] = ()
    """Controls that are not those of the state, for the automations."""


def state_of(parts: Parts, recorder: Recorder | None, counted: Counted) -> dict[str, Any]:
    """Everything that a run needs to go on."""
    return {
        "model": parts.model.state_dict(),
        "progress": to_plain(counted.progress),
        "controls": to_plain(parts.controls),
        "configured": to_plain(counted.configured),
        "automations": parts.supervisor.state_dict(),
        "plateau": to_plain(parts.plateau.state) if parts.plateau else None,
        "validator": parts.validator.state_dict() if parts.validator else {},
        "recorder": recorder.state_dict() if recorder else None,
        "trial": to_plain(counted.trial) if counted.trial else None,
        "learned": parts.facts.learned,
        "losses": dict(parts.facts.loss_weights),
    }


def restore(
    state: Mapping[str, Any], parts: Parts, recorder: Recorder | None, configured: Controls
) -> Counted:
    """Put a saved state into the parts; returns what the trainer keeps.

    Controls whose configured value has changed since take the new one, as do those of an automation that no longer
    acts, with what a decision for such a change does besides.
    """
    parts.model.load_state_dict(state["model"])
    gone = _gone(state["automations"], parts.supervisor)
    saved, then = from_plain(Controls, state["controls"]), from_plain(Controls, state["configured"])
    free = {control: name for name in sorted(gone) for control in _OWNED.get(name, ())}
    for control in (item.name for item in fields(Controls)):
        was, now = getattr(saved, control), getattr(configured, control)
        if control in free and was != now:
            _log.info("%s no longer acts: %s is %s again, after %s", free[control], control, now, was)
        elif getattr(then, control) == now:
            setattr(parts.controls, control, was)
    if then.batch != configured.batch:  # the factor is that of the saved batch beside the one of then
        parts.controls.lr_batch_factor = configured.lr_batch_factor
    follow_loss_factors(parts.model, saved.loss_factor, parts.controls.loss_factor)
    parts.supervisor.load_state_dict(state["automations"])
    _keep_learned_limits(parts, saved)
    if parts.plateau and state["plateau"]:
        parts.plateau.state = from_plain(ReduceLROnPlateau.State, state["plateau"])
    if parts.validator:
        parts.validator.load_state_dict(state["validator"])
    if recorder and state["recorder"]:
        recorder.load_state_dict(state["recorder"])
    trial = from_plain(RunTrial, state["trial"]) if state.get("trial") else None
    progress = from_plain(Progress, state["progress"])
    _go_on_without(gone, progress)
    told = [
        ChangeEvent(progress.step, progress.position, what, free.get(what, "the configuration"))
        for what in _changed(state, saved, parts)
    ]
    return Counted(progress, configured, trial, told)


def _changed(state: Mapping[str, Any], saved: Controls, parts: Parts) -> list[str]:
    """What automations have to know that is not as it was: controls, and the losses."""
    controls = [control for control in _TOLD if getattr(saved, control) != getattr(parts.controls, control)]
    weights = parts.facts.loss_weights
    return controls + (["losses"] if state.get("losses", weights) != weights else [])


def _keep_learned_limits(parts: Parts, saved: Controls) -> None:
    """Of gradients that were seen: the prior, which another rate changes, is for the time before."""
    name = AdaptiveGradientClipping.name
    clipping = parts.supervisor.automations.get(name)
    if isinstance(clipping, AdaptiveGradientClipping) and not parts.supervisor.monitors_only(name):
        parts.controls.clip |= {net: saved.clip[net] for net in clipping.learned if net in saved.clip}


def _gone(saved: Mapping[str, Any], supervisor: Supervisor) -> set[str]:
    """Those that acted in the run so far, and are off now or only monitor."""
    acted = {name for name, of in saved.items() if not of.get("standing", {}).get("monitored", False)}
    return {name for name in acted if name not in supervisor.automations or supervisor.monitors_only(name)}


def _go_on_without(gone: Set[str], progress: Progress) -> None:
    """Forget the end of the run where the automation that decided it no longer acts."""
    broken = progress.stop_rule == "broken"
    owner = IntelligentLearningRateScheduler.name if broken else IntelligentEarlyStopping.name
    if progress.stop_rule and owner in gone:
        _log.info("%s no longer acts: the run goes on, which had ended (%s)", owner, progress.stop_reason)
        progress.stop_rule = progress.stop_reason = ""
