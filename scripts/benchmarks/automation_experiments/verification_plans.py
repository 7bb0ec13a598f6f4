"""Experiments that try rules on runs they were not made on: longer ones, other games, other curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from automation_experiments.settings import CLIPPING, LOSSES, NETWORKS, Setting

GAMES = ("vanilla", "lsgan", "hinge", "ragan", "r3gan")
DISCRIMINATOR: Mapping[str, Any] = {"type": "unetdiscriminatorsn", "num_feat": 8}
SHARE = 0.3
COMPACT, _ = NETWORKS["compact 8x2"]
NANO, _ = NETWORKS["paragonsr2 nano"]


class Tuned(NamedTuple):
    """A network with the best rate of its grid (see `SEARCHED`) and fixed thresholds."""

    network: Mapping[str, Any]
    rate: float
    thresholds: tuple[float, ...]
    steps: int = 5000


TUNED = {
    "compact 8x2": Tuned(COMPACT, 8e-3, (0.01, 0.03, 0.1)),
    "paragonsr2 nano": Tuned(NANO, 0.016, (0.01, 0.03, 0.1)),
}


def long_clipping() -> dict[str, dict[str, Setting]]:
    """By network and whether batches are corrupted: nothing, fixed thresholds, adaptive clipping, low start."""
    found: dict[str, dict[str, Setting]] = {}
    for fault in ("none", "corrupted batches"):
        for name, case in TUNED.items():
            plain = Setting(0, case.rate, case.steps, network=case.network, fault=fault, validations=5)
            adaptive = replace(plain, automations={CLIPPING: {}})
            found[f"{name}, {'clean' if fault == 'none' else 'corrupted'}"] = {
                "off": plain,
                **{f"fixed {limit:g}": replace(plain, clip=limit) for limit in case.thresholds},
                "on": adaptive,
                "low start": replace(adaptive, automations={CLIPPING: {"initial_threshold": 0.001}}),
            }
    return found


def adversarial_shares() -> dict[str, dict[str, Setting]]:
    """By game: an adversarial loss from step 60 of 600 on, whose weight is the share that the automation sets."""
    found: dict[str, dict[str, Setting]] = {}
    for game in GAMES:
        loss = {"type": "GANLoss", "gan_type": game, "loss_weight": SHARE, "start_iter": 60}
        plain = Setting(0, 4e-3, 600, network=COMPACT, losses=({"type": "L1Loss"}, loss), validations=3)
        plain = replace(plain, discriminator=DISCRIMINATOR)
        found[game] = {"on": replace(plain, automations={LOSSES: {"auto_calibrate": True}})}
    return found


def fresh_curves() -> dict[str, dict[str, Setting]]:
    """Full curves of runs at a constant rate on few photographs, and of schedules that end early.

    None was looked at when a rule was made: other networks than there, other photographs.
    """
    small = Setting(0, 4e-3, 1600, network=COMPACT, validations=32, keep_images=True)
    constant = replace(small, schedule={"type": "constant"}, metrics=("psnr", "ssim"))
    large = replace(constant, network={"type": "compact", "num_feat": 32, "num_conv": 4}, lr=2e-3)
    ended = {
        name: replace(small, schedule={"type": "MultiStepLR", "milestones": milestones, "gamma": 0.01})
        for name, milestones in (("ends at half", [400, 800]), ("ends at a third", [266, 533]))
    }
    return {
        "curves": {
            "compact 8x2, one photograph": replace(constant, images="General100_g100_001"),
            "compact 8x2, nine photographs": replace(constant, images="T91_t91_t1"),
            "compact 32x4, one photograph": replace(large, images="T91_t91_t33"),
            **{f"compact 8x2, {name}": setting for name, setting in ended.items()},
        }
    }
