"""What a run's numbers say about its health: one row per quantity, with the advice that goes with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from traiNNer.automations.data_cost import WAITING, DataCost
from traiNNer.control import Plain

Verdict = Literal["ok", "warning", "bad", "unknown"]

FLAT = 0.02
"""Share of the loss; a smaller change over a quarter of a run is none."""
WIDE = 1.0
"""Deviation of ln(gradient norm) within ten steps: 0.3 at batch 8 and 0.46 at batch 1 were measured at most."""
SHIFT = 0.008
"""Two levels of 8 bits. Sound runs end below 0.001; one whose losses compared luma alone ended at 0.1."""
FAR_SHIFT = 0.02
_GROWN = 0.25
_EARLY = "too early to tell"


@dataclass(frozen=True)
class RunNumbers(Plain):
    """The numbers of a run that the diagnosis is made of; None or empty where nothing was measured."""

    progress: float
    """Share of the planned samples, 0 to 1."""
    grad_clip_ratio: float | None = None
    """Share of clipped steps lately, 0 to 1."""
    skipped_share: float | None = None
    """Share of the generator's steps not applied, because loss or gradient was not finite, 0 to 1."""
    loss_change: float | None = None
    """How the loss changed over the last quarter of the run, as a share of it; negative where it fell."""
    loss_noise: float = 0.0
    """What chance alone may make of that at 95 %, a share too."""
    stability: float | None = None
    """Share of the last 1000 steps whose gradient was finite, not exploding and not vanishing, 0 to 1."""
    norm_spread: float | None = None
    """Deviation of the logarithm of the gradient norm within ten steps, lately."""
    norm_doubling: float | None = None
    """Largest growth of the gradient norm over 500 steps, as a factor."""
    update_ratio: float | None = None
    """|dw| / |w| of the generator, median over the run (at the end of a schedule it is always small)."""
    main_loss: str = ""
    loss_shares: dict[str, float] = field(default_factory=dict)
    """Share of each loss in the gradient at the output, by label, 0 to 1."""
    residual_ratio: float | None = None
    edge_ratio: float | None = None
    colour_shift: float | None = None
    """Distance of a channel's mean from that of the ground truth, worst channel, 0 to 1."""
    adversarial: bool = False
    metric: str = ""
    score: float | None = None
    bicubic: float | None = None
    higher_is_better: bool = True
    data_wait_share: float | None = None
    """Share of the time spent waiting for data, 0 to 1."""
    samples_per_s: float | None = None
    """Samples of one process per second, over the run."""
    data_cost: DataCost | None = None
    """Of a chain of degradations; None where images are only read."""
    warm: bool = True
    """Whether warm-up is over, so that the metric has to be above bicubic upscaling."""


@dataclass(frozen=True)
class Finding(Plain):
    """One row of the table."""

    quantity: str
    value: float | None
    healthy: str
    """The healthy range in words."""
    verdict: Verdict
    advice: str
    """Empty where there is nothing to do."""


def diagnose(numbers: RunNumbers) -> list[Finding]:
    """The table that closes a run."""
    rules: Sequence[Callable[[RunNumbers], Finding | list[Finding]]] = (
        _loss, _clipping, _skipping, _stability, _spread, _trend, _updates, _shares, _residual, _edges, _colours,
        _metric, _waiting,
    )  # fmt: skip
    rows: list[Finding] = []
    for rule in rules:
        found = rule(numbers)
        rows += found if isinstance(found, list) else [found]
    return rows


def _row(quantity: str, value: float | None, healthy: str, verdict: Verdict, advice: str) -> Finding:
    if value is None or math.isnan(value):  # as the mean of nothing
        return Finding(quantity, None, healthy, "unknown", "")
    return Finding(quantity, value, healthy, verdict, "" if verdict == "ok" else advice)


def _loss(n: RunNumbers) -> Finding:
    change, noise = n.loss_change or 0.0, n.loss_noise
    verdict: Verdict = "ok"
    advice = ""
    if change > max(noise, FLAT):
        verdict, advice = "bad" if change > _GROWN else "warning", "rising: lower the learning rate"
    elif abs(change) + noise < FLAT:
        verdict, advice = (
            "warning",
            "flat: learning has stopped; a larger network or more data may bring more",
        )
    elif change > -noise:
        verdict, advice = "unknown", "neither flat nor falling beyond the noise"
    healthy = f"falling, beyond {noise:.1%} of noise"
    return _row("loss, last quarter", n.loss_change, healthy, verdict, advice)


def _clipping(n: RunNumbers) -> Finding:
    value = n.grad_clip_ratio or 0.0
    limit = 0.2 if n.progress < 0.02 else 0.05
    verdict: Verdict = "ok" if value <= limit else "bad" if value > 0.5 else "warning"
    advice = "learning rate or loss scale too high" if verdict == "bad" else "watch it: it should fall"
    return _row("grad_clip_ratio", n.grad_clip_ratio, f"0..{limit:g}, falling", verdict, advice)


def _skipping(n: RunNumbers) -> Finding:
    value = n.skipped_share or 0.0
    verdict: Verdict = "ok" if value <= 0.01 else "bad" if value > 0.1 else "warning"
    advice = (
        "loss or gradients are not finite: lower the learning rate, look at the data, or train in float32"
    )
    return _row("skipped steps", n.skipped_share, "at most 1%", verdict, advice)


def _stability(n: RunNumbers) -> Finding:
    value = n.stability or 0.0
    verdict: Verdict = "ok" if value > 0.8 else "bad" if value < 0.5 else "warning"
    advice = "gradients explode or vanish: lower the learning rate, or look at the data"
    return _row("stability", n.stability, "above 0.8 of the steps sound", verdict, advice)


def _spread(n: RunNumbers) -> Finding:
    verdict: Verdict = "ok" if (n.norm_spread or 0.0) <= WIDE else "warning"
    advice = "gradients differ much from step to step: a larger batch, or a lower learning rate"
    return _row("gradient norm spread", n.norm_spread, f"at most {WIDE:g}", verdict, advice)


def _trend(n: RunNumbers) -> Finding:
    verdict: Verdict = "warning" if (n.norm_doubling or 0.0) >= 2 else "ok"
    return _row("norm trend", n.norm_doubling, "below x2 in 500 steps", verdict, "lower the learning rate")


def _updates(n: RunNumbers) -> Finding:
    value = n.update_ratio or 0.0
    verdict: Verdict = "ok" if 1e-5 <= value <= 1e-2 else "warning"
    advice = "lower the learning rate" if value > 1e-2 else "raise the learning rate"
    return _row("update_ratio", n.update_ratio, "1e-5..1e-2", verdict, advice)


def _shares(n: RunNumbers) -> list[Finding]:
    rows: list[Finding] = []
    for label, share in n.loss_shares.items():
        main = label == n.main_loss
        limit = 0.1 if main else 0.001
        advice = (
            "dominated by the other losses: lower their loss_weight, or use dynamic_loss_scheduling"
            if main
            else "inactive: raise its loss_weight or remove it"
        )
        verdict: Verdict = "ok" if share >= limit else "warning"
        rows.append(_row(f"loss share {label}", share, f"at least {limit:.1%}", verdict, advice))
    return rows or [_row("loss shares", None, "main 10 %, others 0.1 %", "unknown", "")]


def _residual(n: RunNumbers) -> Finding:
    value = n.residual_ratio or 0.0
    verdict: Verdict = "ok" if 0.3 <= value <= 1.1 else "bad" if value < 0.1 or value > 1.5 else "warning"
    advice = "adds little to interpolation" if value < 0.3 else "adds more than there is"
    if verdict == "bad":
        advice = "collapsed to interpolation" if value < 0.1 else "diverged or hallucinating"
    return _row("residual_ratio", n.residual_ratio, "0.3..1.1", verdict, advice)


def _edges(n: RunNumbers) -> Finding:
    value, high = n.edge_ratio or 0.0, 1.2 if n.adversarial else 1.05
    verdict: Verdict = "ok" if 0.8 <= value <= high else "warning"
    return _row("edge_ratio", n.edge_ratio, f"0.8..{high:g}", verdict, "blur" if value < 0.8 else "ringing")


def _colours(n: RunNumbers) -> Finding:
    value = n.colour_shift or 0.0
    verdict: Verdict = "ok" if value <= SHIFT else "bad" if n.warm and value > FAR_SHIFT else "warning"
    advice = "colours drift: add a loss of all channels to those of luma; or GT and LQ differ in colours"
    advice = advice if n.warm else _EARLY
    return _row("colour_shift", n.colour_shift, f"at most {SHIFT:g}", verdict, advice)


def _metric(n: RunNumbers) -> Finding:
    name = f"{n.metric or 'metric'} vs bicubic"
    if n.score is None or n.bicubic is None:
        return _row(name, None, "above 0", "unknown", "")
    gain = n.score - n.bicubic if n.higher_is_better else n.bicubic - n.score
    verdict: Verdict = "ok" if gain > 0 else "bad" if n.warm else "warning"
    advice = "misaligned data, wrong range or wrong colour order" if n.warm else _EARLY
    return _row(name, gain, "above 0", verdict, advice)


def _waiting(n: RunNumbers) -> Finding:
    wait, speed = n.data_wait_share or 0.0, n.samples_per_s or 0.0
    verdict: Verdict = "ok" if wait < WAITING else "warning"
    advice = "loader bound: more num_worker_per_gpu, or a cache"
    if n.data_cost and n.data_cost.holds_up(speed, wait):
        advice = n.data_cost.remedy(speed, wait)
    return _row("data_wait_share", n.data_wait_share, f"below {WAITING:g}", verdict, advice)
