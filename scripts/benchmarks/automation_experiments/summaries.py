"""What is kept of a run: its scores, the decisions that were applied, and what its fault calls for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from automation_experiments.faults import corrupted
from automation_experiments.settings import CLIPPING, LOSSES, Setting, Spec
from traiNNer.tracking.jsonl import read_records


def summary(setting: Setting, root: Path, prior: float) -> dict[str, Any]:
    """Summary of the records in `root`; `prior` is the clipping threshold that the run began with."""
    events = read_records(root / "events.jsonl")
    decisions = read_records(root / "decisions.jsonl")
    windows = [event for event in events if event["kind"] == "WindowEvent"]
    validations = [event for event in events if event["kind"] == "ValidationEvent"]
    images = [(event["iter"], event["sets"]["val"]["metrics"]["psnr"]) for event in validations]
    applied = [
        [d["iter"], d["automation"], d["parameter"], d["old"], d["new"], d["reason"].split(" (")[0]]
        for d in decisions
        if d["applied"] and d["automation"] != LOSSES
    ]
    kept: dict[str, Any] = {"decisions": applied}
    if validations:
        means = [float(np.mean([float(value) for value in scores])) for _, scores in images]
        kept["psnr"] = _rounded(means[-1])
        kept["best"] = _rounded(max((mean for mean in means if math.isfinite(mean)), default=math.nan))
        kept["steps"] = windows[-1]["iter"]
        kept["bicubic"] = _rounded(float(np.mean(validations[-1]["sets"]["val"]["baseline"]["psnr"])))
    if setting.searched:
        trials = [event for event in events if event["kind"] == "TrialEvent"]
        kept["trials"] = [
            [trial["steps"], arm["lr_factor"], _rounded(float(np.mean(scores))) if scores else None]
            for trial in trials
            for arm, scores in zip(trial["arms"], trial["scores"], strict=True)
        ]
    if setting.clip or CLIPPING in setting.automations:
        kept["clipped"] = _clipped(setting, windows, decisions, prior)
    if len(setting.losses) > 1:
        kept["shares"] = _shares(setting, windows, decisions)
    if setting.keep_images:
        kept["curve"] = [[step, [_rounded(float(value)) for value in scores]] for step, scores in images]
        for metric in setting.metrics[1:]:
            scores = [(event["iter"], event["sets"]["val"]["metrics"][metric]) for event in validations]
            kept[f"curve_{metric}"] = [
                [step, [_rounded(float(v)) for v in values]] for step, values in scores
            ]
        kept["losses"] = [[event["iter"], float(f"{_typical(event['total']):.4g}")] for event in windows]
        kept["exhausted"] = [[event["iter"], event["lr_exhausted"]] for event in validations]
    return kept


def _clipped(
    setting: Setting, windows: Sequence[Spec], decisions: Sequence[Spec], threshold: float
) -> dict[str, int]:
    """Steps whose gradient was limited or skipped, corrupted ones and healthy ones, and how many there were."""
    limits = [d for d in decisions if (d["automation"], d["parameter"]) == (CLIPPING, "grad_clip_threshold")]
    changes = [(d["iter"], float(d["new"])) for d in limits]
    counts = {"corrupted": 0, "healthy": 0, "corrupted_clipped": 0, "healthy_clipped": 0}
    for window in windows:
        norms = window["grad_norm"]["g"]
        first = window["iter"] - len(norms)
        for index, norm in enumerate(norms):
            bad = setting.fault != "none" and corrupted((first + index) * setting.batch, setting.seed)
            kind = "corrupted" if bad else "healthy"
            counts[kind] += 1
            counts[f"{kind}_clipped"] += not float(norm) <= threshold
        while changes and changes[0][0] <= window["iter"]:
            threshold = changes.pop(0)[1]
    return counts


def _shares(setting: Setting, windows: Sequence[Spec], decisions: Sequence[Spec]) -> list[list[float]]:
    """[step, gradient of the second loss at the output over that of the first], as measured, weighted."""
    weight, factor = float(setting.losses[1].get("loss_weight", 1.0)), 1.0
    changes = [(d["iter"], float(d["new"])) for d in decisions if d["automation"] == LOSSES and d["applied"]]
    found: list[list[float]] = []
    for window in windows:
        lengths = [float(length) for length in window["gradient_at_output"].values()]
        if len(lengths) > 1 and list(window["gradient_at_output"])[1] in window["losses"]:
            share = weight * factor * lengths[1] / lengths[0]
            if not found or found[-1][1] != share:
                found.append([window["iter"], float(f"{share:.4g}")])
        while changes and changes[0][0] <= window["iter"]:
            factor = changes.pop(0)[1]
    return found


def _typical(losses: Sequence[float]) -> float:
    """The geometric mean of the losses of a window."""
    return math.exp(float(np.mean(np.log([float(loss) for loss in losses]))))


def _rounded(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
