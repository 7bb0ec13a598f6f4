"""What is said of a decision: the line of the log that users grep for, and the line of decisions.jsonl."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from traiNNer.automations import Proposal
from traiNNer.control import (
    Change,
    Controls,
    Decision,
    Request,
    RollBack,
    RunTrial,
    SetBatch,
    SetLearningRateFactor,
    SetLossFactors,
    Stop,
)
from traiNNer.wording import counted

_ANSWERS = ("a request", "request of", "out of memory")  # beginnings of reasons


def decision_record(step: int, proposal: Proposal, controls: Controls) -> dict[str, Any]:
    """A line of decisions.jsonl; `controls` as they are before the decision is applied."""
    decision, change = proposal.decision, proposal.decision.change(controls)
    return {
        "iter": step,
        "automation": proposal.automation,
        "parameter": change.parameter,
        "old": change.old,
        "new": change.new,
        "reason": decision.reason,
        "statistic": decision.statistic,
        "threshold": decision.limit,
        "applied": proposal.applied,
    }


def intervenes(record: Mapping[str, Any]) -> bool:
    """Whether a line of decisions.jsonl tells of trouble or an end, and not of an ordinary adjustment.

    A cut of the learning rate, a return to earlier weights, a request in an emergency and what answers it, memory
    that ran out, a stop.
    """
    old, new, why = record["old"], record["new"], record["reason"]
    if record["parameter"] == "stop" or old == "":  # nothing but a request has no old value
        return True
    if record["parameter"] == "lr_factor":
        return new < old
    return why.startswith(_ANSWERS)


def sentence(decision: Decision, controls: Controls) -> str:
    """A decision in the words of the log; a kind that is not named here is said by what it changes."""
    change = decision.change(controls)
    match decision:
        case SetLearningRateFactor() | RollBack():
            old, new = controls.lr_factor, decision.factor
            ratio = f"Suggested LR multiplier {new / old:.2f} for reason: {decision.reason}"
            return f"{ratio}; factor {old:.3g} -> {new:.3g}"
        case SetBatch():
            return _sizes(decision, change)
        case SetLossFactors():
            return f"Loss factors adjusted due to {decision.reason}"
        case RunTrial():
            arms = " against ".join(map(str, filter(None, (change.old, change.new))))
            return f"Trial of {counted(decision.steps, 'step')}: {arms}, since {decision.reason}"
        case Request():
            return f"Requested {change.parameter} {change.new} - {decision.reason}"
        case Stop():
            return f"Early stopping triggered - {decision.reason}"
    name = change.parameter
    if name == "loss_scale":
        name = "Loss scale"
    return f"{name} adjusted from {_number(change.old)} to {_number(change.new)} due to {decision.reason}"


def _sizes(decision: SetBatch, change: Change) -> str:
    what, detail = "Batch size", f"micro-batch {decision.micro_batch}"
    if change.parameter == "lq_size":
        what, detail = "Patch size", "patch in pixels"
    elif change.parameter == "micro_batch":
        detail = f"micro-batch, the batch stays {decision.batch}"
    return f"{what} adjusted from {change.old} to {change.new} due to {decision.reason}; {detail}"


def _number(value: float | str) -> str:
    if isinstance(value, str):
        return value
    text = f"{value:.4g}"
    return text if any(c in text for c in ".einf") else f"{text}.0"
