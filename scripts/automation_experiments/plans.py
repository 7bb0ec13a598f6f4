"""The experiments: which runs each needs. The same run in two experiments is one run.

Every arm is run with the same seeds, that is, the same order of data and the same weights to begin with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from automation_experiments.runs import CLIPPING, LEARNING_RATE, LOSSES, STOPPING, Setting

SEEDS = (0, 1, 2, 3, 4)
GOOD_RATE = 4e-3  # the best of RATES, see the first table
RATES = (1e-3, 2e-3, 4e-3, 8e-3)
TOO_HIGH = (4.0, 15.0)

THRESHOLDS = {"L1Loss": (0.01, 0.03, 0.1, 0.3, 1.0), "MSELoss": (0.001, 0.003, 0.01, 0.03, 0.1)}
HEAVY = 1000.0  # weight of a loss, beside 1
HEAVY_THRESHOLDS = {"L1Loss": (1.0, 30.0, 100.0), "MSELoss": (1.0, 3.0, 10.0)}

AUXILIARY = "MSSIMLoss"
SHARE = 0.3  # of the auxiliary loss, relative to L1, in the gradient at the output
STATIC_WEIGHTS = (0.003, 0.01, 0.03, 0.1, 0.3)
UNITS = (1e-2, 1.0, 1e2, 1e4)
SWITCHED_ON = 0.4  # share of the run after which the auxiliary loss begins

CURVE_STEPS, CURVE_VALIDATIONS = 2400, 40

HEALTHY = Setting(seed=0, lr=GOOD_RATE)
LR_ALONE: Mapping[str, Any] = {LEARNING_RATE: {}}
CLIP_ALONE: Mapping[str, Any] = {CLIPPING: {}}
STOP_ALONE: Mapping[str, Any] = {STOPPING: {}}
LOSS_ALONE: Mapping[str, Any] = {LOSSES: {"auto_calibrate": True}}
BATCH_ALONE: Mapping[str, Any] = {"DynamicBatchSizeOptimizer": {}}
ALONE: Mapping[str, Mapping[str, Any]] = {
    "learning rate alone": LR_ALONE,
    "clipping alone": CLIP_ALONE,
    "early stopping alone": STOP_ALONE,
    "batch size alone": BATCH_ALONE,
}
ALL = {**LR_ALONE, **CLIP_ALONE, **STOP_ALONE, **BATCH_ALONE}

Arms = Mapping[str, Setting]


def learning_rate() -> dict[str, Arms]:
    """By condition: a sweep of plain rates, then rates that are right or too high, without and with."""
    found: dict[str, Arms] = {"sweep": {f"{rate:g}": replace(HEALTHY, lr=rate) for rate in RATES}}
    for times in (1.0, *TOO_HIGH):
        plain = replace(HEALTHY, lr=times * GOOD_RATE)
        found[f"{times:g} x"] = {"off": plain, "on": replace(plain, automations=LR_ALONE)}
    return found


def clipping() -> dict[str, Arms]:
    """By loss, its weight and whether batches are corrupted: nothing, fixed thresholds, adaptive clipping."""
    found: dict[str, Arms] = {}
    for loss in THRESHOLDS:
        for weight, grid in ((1.0, THRESHOLDS[loss]), (HEAVY, HEAVY_THRESHOLDS[loss])):
            spec = {"type": loss} if weight == 1.0 else {"type": loss, "loss_weight": weight}
            clean = replace(HEALTHY, losses=(spec,))
            bad = replace(clean, fault="corrupted batches")
            fixed = {f"fixed {limit:g}": replace(bad, clip=limit) for limit in grid}
            found[f"{loss} x {weight:g}, corrupted"] = {"off": bad, **fixed, "on": _with(bad, CLIP_ALONE)}
            found[f"{loss} x {weight:g}, clean"] = {"off": clean, "on": _with(clean, CLIP_ALONE)}
    return found


def interaction() -> dict[str, Arms]:
    """By fault: everything off, each automation alone, all together."""
    auxiliary = _auxiliary(units=100.0)
    faults = {
        "none": HEALTHY,
        **{f"rate {times:g} x": replace(HEALTHY, lr=times * GOOD_RATE) for times in TOO_HIGH},
        "corrupted batches": replace(HEALTHY, fault="corrupted batches"),
        "auxiliary loss x 100": auxiliary,
    }
    found: dict[str, Arms] = {}
    for fault, plain in faults.items():
        several = len(plain.losses) > 1
        alone = {**ALONE, **({"loss scheduling alone": LOSS_ALONE} if several else {})}
        everything = {**ALL, **(LOSS_ALONE if several else {})}
        found[fault] = {
            "off": plain,
            **{arm: _with(plain, automations) for arm, automations in alone.items()},
            "all": _with(plain, everything),
        }
    return found


def loss_scheduling() -> dict[str, Arms]:
    """By mistake in the units of an auxiliary loss: a static weight, and the share set by the automation."""
    grid = {f"static {weight:g}": _auxiliary(weight=weight) for weight in STATIC_WEIGHTS}
    found: dict[str, Arms] = {"grid": {"L1 alone": HEALTHY, **grid}}
    for units in UNITS:
        plain = _auxiliary(units=units)
        found[f"units x {units:g}"] = {"off": plain, "on": _with(plain, LOSS_ALONE)}
    late = _auxiliary(start=SWITCHED_ON)
    found["begins at 40 %"] = {
        "off": late,
        "hold": _with(late, {LOSSES: {}}),
        "on": _with(late, LOSS_ALONE),
    }
    return found


def early_stopping() -> dict[str, Arms]:
    """Full curves to replay the rules on, by schedule."""
    long = replace(HEALTHY, steps=CURVE_STEPS, validations=CURVE_VALIDATIONS, keep_images=True)
    return {
        "curves": {
            "cosine": long,
            "constant": replace(long, schedule={"type": "constant"}),
            "steps": replace(
                long,
                schedule={"type": "MultiStepLR", "milestones": [600, 1000, 1400], "gamma": 0.1},
            ),
            "constant, low rate": replace(long, lr=GOOD_RATE / 4, schedule={"type": "constant"}),
        }
    }


EXPERIMENTS = {
    "learning_rate": learning_rate,
    "clipping": clipping,
    "interaction": interaction,
    "loss_scheduling": loss_scheduling,
    "early_stopping": early_stopping,
}


def runs(names: tuple[str, ...], seeds: tuple[int, ...] = SEEDS) -> Iterator[Setting]:
    """Every run of the experiments named, once; the first seed of everything first."""
    seen: set[str] = set()
    for name in names:
        for seed in seeds:
            for arms in EXPERIMENTS[name]().values():
                for arm in arms.values():
                    setting = arm.with_seed(seed)
                    if setting.key not in seen:
                        seen.add(setting.key)
                        yield setting


def _with(setting: Setting, automations: Mapping[str, Any]) -> Setting:
    return replace(setting, automations=automations)


def _auxiliary(*, weight: float = SHARE, units: float = 1.0, start: float = 0.0) -> Setting:
    """L1 with the auxiliary loss."""
    spec: dict[str, Any] = {"type": AUXILIARY, "loss_weight": weight}
    if start:
        spec["start_iter"] = round(start * HEALTHY.steps)
    return replace(HEALTHY, losses=({"type": "L1Loss"}, spec), units=units)
