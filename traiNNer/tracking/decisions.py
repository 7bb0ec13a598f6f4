"""What is said of a decision: the line of the log that users grep for, and the line of decisions.jsonl."""

from __future__ import annotations

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
            return (
                f"Trial of {decision.steps} steps: {change.old} against {change.new}, since {decision.reason}"
            )
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
