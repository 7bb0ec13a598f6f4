"""Simulated runs for automations: builders of events, random histories of all kinds, and a driver that
applies decisions to controls as the trainer does."""

from __future__ import annotations

import copy
import math
import random
from dataclasses import replace

from traiNNer.control import Controls
from traiNNer.events import (
    ChangeEvent,
    OutOfMemoryEvent,
    RequestEvent,
    RunFacts,
    SetScores,
    ValidationEvent,
    WindowEvent,
)

ALL = [
    "AdaptiveGradientClipping",
    "DynamicBatchSizeOptimizer",
    "DynamicLossScheduling",
    "GradientFlowStabilizer",
    "IntelligentEarlyStopping",
    "IntelligentLearningRateScheduler",
]


def facts(**changes):
    base = RunFacts(
        total_iter=50_000,
        batch=8,
        world_size=1,
        learning_rates={"g": 2e-4},
        optimizer="AdamW",
        precision="fp32",
        ema_decay=0.0,
        loss_weights={"l1": 1.0},
        anchor_loss="l1",
        higher_is_better={"psnr": True, "lpips": False},
        validate_every=1000,
        warmup_iter=0,
        images=800,
        deterministic=False,
        fingerprint={"architecture": "tiny"},
    )
    return replace(base, **changes)


def controls(**changes):
    return replace(Controls(batch=8, micro_batch=8, lq_size=48), **changes)


def window(step, *, losses=None, norms=None, steps=10, **changes):
    """A window that ends at `step`; losses and norms are those of network g."""
    losses = losses if losses is not None else [0.05] * steps
    norms = norms if norms is not None else [0.03] * len(losses)
    base = {
        "step": step,
        "position": step * 8,
        "progress": 0.5,
        "batch": 8,
        "micro_batch": 8,
        "lq_size": 48,
        "lr": {"g": 2e-4},
        "schedule": 1.0,
        "warming_up": False,
        "losses": {"l1": losses},
        "total": losses,
        "grad_norm": {"g": norms},
        "applied": {"g": [math.isfinite(n) for n in norms]},
        "gradient_at_output": {"l1": 1.0},
        "update_ratio": 1e-3,
        "memory_peak": 0.83,
        "seconds": 1.0,
        "data_wait": 0.0,
        "amp_scale": 1.0,
    }
    return WindowEvent(**{**base, **changes})


def validation(step, psnr, *, bicubic=20.0, metric="psnr", name="val", **changes):
    """A validation of one set; `psnr` is one score per image."""
    images, sizes = [f"{i}.png" for i in range(len(psnr))], [(64, 64)] * len(psnr)
    baseline = {metric: [bicubic] * len(psnr)}
    finite = changes.pop("outputs_finite", True)
    scores = SetScores(images, sizes, {metric: list(psnr)}, baseline, outputs_finite=finite)
    base = {"step": step, "position": step * 8, "sets": {name: scores}}
    return ValidationEvent(**{**base, "weights_finite": True, "lr_exhausted": False, **changes})


def noisy(rng, mean, cv, count=10):
    """Log-normal values of a given mean and coefficient of variation."""
    sigma = math.sqrt(math.log(1 + cv * cv))
    return [mean * math.exp(rng.gauss(-sigma * sigma / 2, sigma)) for _ in range(count)]


def drive(automation, events, in_force=None):
    """Show events one by one and apply what is decided; the decisions per event."""
    in_force = in_force if in_force is not None else controls()
    answers = []
    for event in events:
        automation.observe(event)
        before = copy.deepcopy(in_force)
        decisions = list(automation.decide(in_force))
        assert in_force == before, "decide() changed the controls"
        answers.append(decisions)
        for decision in decisions:
            decision.apply(in_force)
    return answers


def flat(answers):
    return [decision for decisions in answers for decision in decisions]


def random_history(seed, windows=150):
    """Events of all kinds: noise, spikes, regimes, gaps, validations, failures, changes, requests."""
    rng = random.Random(seed)
    level, norm, step = 0.1, 0.03, 0
    events = []
    for index in range(windows):
        count = rng.choice([10] * 9 + [3])
        step += count
        if rng.random() < 0.03:
            level, norm = level * rng.choice([0.3, 3.0, 10.0]), norm * rng.choice([0.01, 30.0])
        losses, norms = noisy(rng, level, 0.3, count), noisy(rng, norm, 0.4, count)
        other = noisy(rng, 3 * level, 0.3, count)
        for values, odds in ((losses, 0.004), (norms, 0.02)):
            for i in range(count):
                if rng.random() < odds:
                    values[i] = rng.choice([math.nan, math.inf, 1e3, 1e-12])
        level *= 0.995
        on = {"l1": losses, "gan": other} if index > windows // 3 else {"l1": losses}
        norms_by_net = (
            {"g": norms, "d": noisy(rng, 0.5, 0.3, count)} if index > windows // 3 else {"g": norms}
        )
        events.append(
            replace(
                window(step, losses=losses, norms=norms),
                progress=min(1.0, index / windows),
                schedule=max(0.0, 1 - 0.7 * index / windows),
                warming_up=index < 3,
                losses=on,
                total=[sum(values) for values in zip(*on.values(), strict=True)],
                grad_norm=norms_by_net,
                applied={net: [math.isfinite(v) for v in values] for net, values in norms_by_net.items()},
                gradient_at_output={label: rng.lognormvariate(0, 0.5) for label in on},
                memory_peak=rng.choice([0.5, 0.6, 0.84, 0.95]),
                seconds=rng.uniform(0.5, 1.5),
            )
        )
        events += _occasional(rng, step, index)
    return events


def _occasional(rng, step, index):
    events = []
    if index % 6 == 5:
        base = 24 + 2 * math.log10(1 + step) + rng.gauss(0, 0.3) - (8 if rng.random() < 0.08 else 0)
        scores = [base + rng.gauss(0, 0.2) for _ in range(5)]
        finite, end = rng.random() > 0.02, rng.random() < 0.3
        events.append(validation(step, scores, bicubic=22.0, weights_finite=finite, lr_exhausted=end))
    if rng.random() < 0.03:
        events.append(OutOfMemoryEvent(step, 8, 4))
    if rng.random() < 0.05:
        control = rng.choice(["lr_factor", "batch", "loss_factor", "losses", "clip", "validation"])
        events.append(ChangeEvent(step, step * 8, control, rng.choice([*ALL, "schedule"])))
    if rng.random() < 0.03:
        events.append(RequestEvent(step, rng.choice(["lr_factor", "clip"]), 0.5, "someone", "a test"))
    return events
