"""The experiments: which runs each needs. The same run in two experiments is one run.

Every arm is run with the same seeds, that is, the same order of data and the same weights to begin with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from automation_experiments.search_plans import rate_search
from automation_experiments.settings import (
    CLIPPING,
    GOOD_RATE,
    HEALTHY,
    LEARNING_RATE,
    LOSSES,
    NETWORKS,
    STOPPING,
    Arms,
    Setting,
)
from automation_experiments.verification_plans import adversarial_shares, fresh_curves, long_clipping

SEEDS = (0, 1, 2, 3, 4)
RATES = (1e-3, 2e-3, 4e-3, 8e-3)
WRONG = (0.25, 1.0, 4.0, 15.0)  # times the good rate

SHORT = 600  # steps of the runs with corrupted batches or an auxiliary loss
THRESHOLDS = {"L1Loss": (0.03, 0.1, 0.3), "MSELoss": (0.003, 0.01, 0.03)}
HEAVY = 1000.0  # weight of a loss, beside 1; fixed thresholds are multiplied by it, or stay at the usual 1
HEAVY_SEEDS = (0, 1)

AUXILIARY = "MSSIMLoss"
SHARE = 0.3  # of the auxiliary loss, relative to L1, in the gradient at the output
STATIC_WEIGHTS = (0.01, 0.03, 0.1, 0.3)
UNITS = (1e-2, 1.0, 1e2, 1e4)
SWITCHED_ON = 0.4  # share of the run after which the auxiliary loss begins

PERCEPTUAL: Mapping[str, Any] = {"type": "PerceptualLoss", "vgg_type": "alexnet"}
PERCEPTUAL_UNITS = (1e-2, 1.0, 1e2)
GAMES = ("vanilla", "r3gan")
DISCRIMINATOR: Mapping[str, Any] = {"type": "munet", "num_feat": 8, "ch_mult": [1, 2]}

CURVE_STEPS, CURVE_VALIDATIONS = 1600, 32

LR_ALONE: Mapping[str, Any] = {LEARNING_RATE: {}}
CLIP_ALONE: Mapping[str, Any] = {CLIPPING: {}}
LOW_START: Mapping[str, Any] = {CLIPPING: {"initial_threshold": 0.001}}
STOP_ALONE: Mapping[str, Any] = {STOPPING: {}}
LOSS_ALONE: Mapping[str, Any] = {LOSSES: {"auto_calibrate": True}}
ALL = {**LR_ALONE, **CLIP_ALONE, **STOP_ALONE, "DynamicBatchSizeOptimizer": {}}


def learning_rate() -> dict[str, Arms]:
    """By condition: a sweep of plain rates, then rates that are right or wrong, without and with."""
    found: dict[str, Arms] = {"sweep": {f"{rate:g}": replace(HEALTHY, lr=rate) for rate in RATES}}
    for times in WRONG:
        plain = replace(HEALTHY, lr=times * GOOD_RATE)
        found[f"{times:g} x"] = {"off": plain, "on": _with(plain, LR_ALONE)}
    return found


def clipping() -> dict[str, Arms]:
    """By loss, its weight and whether batches are corrupted: nothing, fixed thresholds, adaptive clipping."""
    found: dict[str, Arms] = {}
    for loss, grid in THRESHOLDS.items():
        for weight in (1.0, HEAVY):
            spec = {"type": loss} if weight == 1.0 else {"type": loss, "loss_weight": weight}
            clean = replace(HEALTHY, steps=SHORT, losses=(spec,))
            bad = replace(clean, fault="corrupted batches")
            limits = grid if weight == 1.0 else (1.0, grid[1] * weight)
            fixed = {f"fixed {limit:g}": replace(bad, clip=limit) for limit in limits}
            found[f"{loss} x {weight:g}, corrupted"] = {"off": bad, **fixed, **_adaptive(bad)}
            tightest = {f"fixed {limits[0]:g}": replace(clean, clip=limits[0])} if weight == 1.0 else {}
            found[f"{loss} x {weight:g}, clean"] = {"off": clean, **tightest, **_adaptive(clean)}
    return found


def _adaptive(plain: Setting) -> Arms:
    return {"on": _with(plain, CLIP_ALONE), "low start": _with(plain, LOW_START)}


def interaction() -> dict[str, Arms]:
    """By fault: everything off, each automation alone that could do something about it, all together."""
    lr, clip, stop = (
        {"learning rate alone": LR_ALONE},
        {"clipping alone": CLIP_ALONE},
        {"early stopping alone": STOP_ALONE},
    )
    short = replace(HEALTHY, steps=SHORT)
    faults: dict[str, tuple[Setting, Mapping[str, Any]]] = {
        "none": (HEALTHY, {**lr, **clip, **stop}),
        "rate 4 x": (replace(HEALTHY, lr=4 * GOOD_RATE), {**lr, **clip}),
        "rate 15 x": (replace(HEALTHY, lr=15 * GOOD_RATE), {**lr, **clip, **stop}),
        "corrupted batches": (replace(short, fault="corrupted batches"), {**lr, **clip}),
        "auxiliary loss x 100": (
            _auxiliary(units=100.0),
            {**lr, **clip, "loss scheduling alone": LOSS_ALONE},
        ),
    }
    found: dict[str, Arms] = {}
    for fault, (plain, alone) in faults.items():
        everything = {**ALL, **(LOSS_ALONE if len(plain.losses) > 1 else {})}
        arms = {arm: _with(plain, automations) for arm, automations in alone.items()}
        found[fault] = {"off": plain, **arms, "all": _with(plain, everything)}
    return found


def loss_scheduling() -> dict[str, Arms]:
    """By mistake in the units of an auxiliary loss: a static weight, and the share set by the automation."""
    grid = {f"static weight {weight:g}": _auxiliary(weight=weight) for weight in STATIC_WEIGHTS}
    found: dict[str, Arms] = {"grid": {"L1 alone": replace(HEALTHY, steps=SHORT), **grid}}
    for units in UNITS:
        plain = _auxiliary(units=units)
        found[f"units x {units:g}"] = {"off": plain, "on": _with(plain, LOSS_ALONE)}
    late = _auxiliary(start=SWITCHED_ON)
    found["begins at 40 %"] = {"off": late, "hold": _with(late, {LOSSES: {}}), "on": _with(late, LOSS_ALONE)}
    return found


def perceptual_training() -> dict[str, Arms]:
    """By mistake in the units of a perceptual loss, and by game of an adversarial loss that begins late."""
    plain = replace(HEALTHY, steps=SHORT, losses=({"type": "L1Loss"}, {**PERCEPTUAL, "loss_weight": SHARE}))
    found: dict[str, Arms] = {}
    for units in PERCEPTUAL_UNITS:
        wrong = replace(plain, units=units)
        found[f"perceptual, units x {units:g}"] = {"off": wrong, "on": _with(wrong, LOSS_ALONE)}
    for game in GAMES:
        late = {
            "type": "GANLoss",
            "gan_type": game,
            "loss_weight": SHARE,
            "start_iter": round(SWITCHED_ON * SHORT),
        }
        against = replace(plain, losses=({"type": "L1Loss"}, late), discriminator=DISCRIMINATOR)
        found[f"{game} GAN, begins at 40 %"] = {"off": against, "on": _with(against, LOSS_ALONE)}
    return found


def early_stopping() -> dict[str, Arms]:
    """Full curves to replay the rules on, by schedule."""
    long = replace(HEALTHY, steps=CURVE_STEPS, validations=CURVE_VALIDATIONS, keep_images=True)

    def ended(*milestones: int) -> Setting:
        return replace(long, schedule={"type": "MultiStepLR", "milestones": list(milestones), "gamma": 0.01})

    return {
        "curves": {
            "cosine": long,
            "constant": replace(long, schedule={"type": "constant"}),
            "ends at half": ended(CURVE_STEPS // 4, CURVE_STEPS // 2),
            "ends at a third": ended(CURVE_STEPS // 6, CURVE_STEPS // 3),
        }
    }


def converged() -> dict[str, Arms]:
    """Full curves of runs that have nothing left to gain long before their end."""
    overfits = replace(HEALTHY, schedule={"type": "constant"}, images="T91_t91_t9", metrics=("psnr", "ssim"))
    overfits = replace(overfits, steps=CURVE_STEPS, validations=CURVE_VALIDATIONS, keep_images=True)
    recorded = early_stopping()["curves"]
    ended = {name: recorded[name] for name in ("ends at half", "ends at a third")}
    return {"curves": {"one photograph, constant rate": overfits, **ended}}


TOO_LOW = 1e-9


def healthy_suite() -> dict[str, Arms]:
    """Runs with which nothing is wrong but that some are slow: everything off, and everything on.

    Other networks, rates, lengths, periods of validation, losses and data than those the rules were made on.
    """
    plain: dict[str, Setting] = {}
    for name, (network, usual) in NETWORKS.items():
        large = "realtime" in name or "32x4" in name
        base = replace(HEALTHY, network=network, lr=usual, steps=400 if large else 800)
        for text, rate in (
            ("rate 1e-9", TOO_LOW),
            *((f"rate x {f:g}", f * usual) for f in (1 / 16, 0.25, 1, 2)),
        ):
            plain[f"{name}, {text}, {base.steps} steps"] = replace(base, lr=rate)
    small, usual = NETWORKS["compact 16x2"]
    base = replace(HEALTHY, network=small, lr=usual)
    for rate, steps, validations in ((1e-3, 400, 8), (2e-4, 2000, 10), (1e-3, 2000, 40), (4e-3, 10_000, 20)):
        plain[f"compact 16x2, rate {rate:g}, {steps} steps, {validations} validations"] = replace(
            base, lr=rate, steps=steps, validations=validations
        )
    eight = replace(base, network=NETWORKS["compact 8x2"][0], lr=1e-3, steps=400, validations=8)
    plain["compact 8x2, rate 0.001, 400 steps, 8 validations"] = eight
    for text, losses, discriminator in (
        ("L1 + MS-SSIM", ({"type": "L1Loss"}, {"type": AUXILIARY, "loss_weight": 0.1}), None),
        ("perceptual", ({"type": "L1Loss"}, {**PERCEPTUAL, "loss_weight": 0.01}), None),
        ("adversarial", ({"type": "L1Loss"}, {"type": "GANLoss", "loss_weight": 0.005}), DISCRIMINATOR),
    ):
        plain[f"compact 16x2, {text}"] = replace(
            base, losses=losses, discriminator=discriminator, steps=SHORT
        )
    for text, images in (("T91", "T91"), ("General100", "General100"), ("one image", "General100_g100_001")):
        plain[f"compact 16x2, {text}"] = replace(base, images=images)
        plain[f"compact 16x2, {text}, constant rate"] = replace(
            base, images=images, schedule={"type": "constant"}, steps=1600, validations=16
        )
    return {name: {"off": setting, "all": _with_all(setting)} for name, setting in plain.items()}


def useful_size() -> dict[str, Arms]:
    """A network of 527,000 parameters, everything off and everything on.

    It begins as a linear filter, since from torch's initial values it does not leave the plain upscaling in so few
    steps. A quarter of a usual rate, that rate, four times as much, and bad batches.
    """
    network = {"type": "compact", "num_feat": 64, "num_conv": 14, "linear_start": True}
    base = replace(HEALTHY, network=network, lr=1e-3, steps=4000, validations=8)
    plain = {f"rate {rate:g}": replace(base, lr=rate) for rate in (2.5e-4, 1e-3, 4e-3)}
    plain["rate 0.001, corrupted"] = replace(base, fault="corrupted batches")
    return {
        f"compact 64x14, {name}": {"off": setting, "all": _with_all(setting)}
        for name, setting in plain.items()
    }


def _with_all(setting: Setting) -> Setting:
    return replace(setting, automations=ALL)


EXPERIMENTS = {
    "learning_rate": learning_rate,
    "clipping": clipping,
    "interaction": interaction,
    "loss_scheduling": loss_scheduling,
    "perceptual_training": perceptual_training,
    "early_stopping": early_stopping,
    "converged": converged,
    "healthy_suite": healthy_suite,
    "useful_size": useful_size,
    "rate_search": rate_search,
    "long_clipping": long_clipping,
    "adversarial_shares": adversarial_shares,
    "fresh_curves": fresh_curves,
}


def runs(names: Sequence[str], seeds: Sequence[int] = SEEDS) -> Iterator[Setting]:
    """Every run of the experiments named, once; the first seed of everything first."""
    seen: set[str] = set()
    for name in names:
        for seed in seeds:
            arms = [arm for arms in EXPERIMENTS[name]().values() for arm in arms.values()]
            for setting in (arm.with_seed(seed) for arm in arms if _wanted(arm, seed)):
                if setting.key not in seen:
                    seen.add(setting.key)
                    yield setting


def _wanted(arm: Setting, seed: int) -> bool:
    """Heavy losses repeat the ordinary ones, as Adam does not see a factor: fewer seeds show that."""
    heavy = arm.losses[0].get("loss_weight", 1.0) == HEAVY
    return not heavy or seed in HEAVY_SEEDS


def _with(setting: Setting, automations: Mapping[str, Any]) -> Setting:
    return replace(setting, automations=automations)


def _auxiliary(*, weight: float = SHARE, units: float = 1.0, start: float = 0.0) -> Setting:
    """L1 with the auxiliary loss."""
    spec: dict[str, Any] = {"type": AUXILIARY, "loss_weight": weight}
    if start:
        spec["start_iter"] = round(start * SHORT)
    return replace(HEALTHY, steps=SHORT, losses=({"type": "L1Loss"}, spec), units=units)
