"""What a training state holds: everything that a run has learned or counted, and no setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from traiNNer.control import Controls, RunTrial, from_plain, to_plain
from traiNNer.optim.schedules import ReduceLROnPlateau
from traiNNer.tracking.recorder import Recorder
from traiNNer.training.parts import Parts
from traiNNer.training.state import Progress


class Counted(NamedTuple):
    """What the trainer itself keeps between steps."""

    progress: Progress
    configured: Controls
    """The controls as the options want them."""
    trial: RunTrial | None = None
    """Asked for and not finished."""


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
    }


def restore(
    state: Mapping[str, Any], parts: Parts, recorder: Recorder | None, configured: Controls
) -> Counted:
    """Put a saved state into the parts; returns what the trainer keeps.

    Controls whose configured value has changed since take the new one.
    """
    parts.model.load_state_dict(state["model"])
    saved, then = from_plain(Controls, state["controls"]), from_plain(Controls, state["configured"])
    for item in fields(Controls):
        if getattr(then, item.name) == getattr(configured, item.name):
            setattr(parts.controls, item.name, getattr(saved, item.name))
    if then.batch != configured.batch:  # the factor is that of the saved batch beside the one of then
        parts.controls.lr_batch_factor = configured.lr_batch_factor
    parts.supervisor.load_state_dict(state["automations"])
    if parts.plateau and state["plateau"]:
        parts.plateau.state = from_plain(ReduceLROnPlateau.State, state["plateau"])
    if parts.validator:
        parts.validator.load_state_dict(state["validator"])
    if recorder and state["recorder"]:
        recorder.load_state_dict(state["recorder"])
    trial = from_plain(RunTrial, state["trial"]) if state.get("trial") else None
    return Counted(from_plain(Progress, state["progress"]), configured, trial)
