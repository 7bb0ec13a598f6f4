"""What distinguishes one training of an experiment from another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

LEARNING_RATE = "IntelligentLearningRateScheduler"
CLIPPING = "AdaptiveGradientClipping"
STOPPING = "IntelligentEarlyStopping"
LOSSES = "DynamicLossScheduling"
RULES = {LEARNING_RATE: 4, CLIPPING: 5, STOPPING: 2, LOSSES: 5, "DynamicBatchSizeOptimizer": 1}
"""Versions of the rules: a higher number makes the runs with that automation run again."""
SEARCH = 5
"""Version of the rules of `lr: auto`, see `Setting.searched`."""
RISE = 6
"""The same where the rate is raised in the run."""
WRITTEN_RATE_TRIALS = 4
"""The version whose trials were as long as those of WrittenRateTrial."""
BASE = 1
"""Version of everything else in a run."""

Spec = Mapping[str, Any]


@dataclass(frozen=True)
class Setting:
    """What distinguishes one run from another."""

    seed: int
    lr: float
    steps: int = 1000
    batch: int = 8
    micro_batch: int = 8
    optimizer: Spec = field(default_factory=lambda: {"type": "AdamW", "weight_decay": 0})
    schedule: Spec = field(default_factory=lambda: {"type": "CosineAnnealingLR"})
    losses: tuple[Spec, ...] = ({"type": "L1Loss"},)
    units: float = 1.0
    """What the second loss is multiplied by, as if it were written in other units."""
    discriminator: Spec | None = None
    searched: int = 0
    """Version of the rules of `lr: auto`, in place of `lr`; 0: the rate is `lr`."""
    start: float = 0.0
    """Where `lr: auto` starts, in place of its usual rate; such a run ends when the rate is found."""
    clip: float | None = None
    """Threshold of ordinary clipping."""
    network: Spec = field(default_factory=lambda: {"type": "compact", "num_feat": 16, "num_conv": 2})
    images: str = ""
    """Start of the names of the training photographs that are used; all by default."""
    fault: Literal["none", "corrupted batches"] = "none"
    automations: Mapping[str, Spec] = field(default_factory=dict)
    """By class name, with the options that are not left to them."""
    validations: int = 10
    keep_images: bool = False
    """Keep the scores of every image of every validation."""
    metrics: tuple[str, ...] = ("psnr",)

    @property
    def key(self) -> str:
        """The same for the same run under the same rules, as JSON; what is as usual is left out."""
        usual = asdict(Setting(seed=-1, lr=0.0))
        special = {name: value for name, value in asdict(self).items() if value != usual[name]}
        rules = {name: RULES[name] for name in self.automations}
        return json.dumps({**special, **({"rules": rules} if rules else {}), "base": BASE}, sort_keys=True)

    def with_seed(self, seed: int) -> Setting:
        """The same run with other data order and weights to begin with."""
        return replace(self, seed=seed)


Arms = Mapping[str, Setting]
"""The runs that one condition compares, by name."""
GOOD_RATE = 4e-3
"""The best of the rates of the first table."""
HEALTHY = Setting(seed=0, lr=GOOD_RATE)
NETWORKS: Mapping[str, tuple[Mapping[str, Any], float]] = {
    "compact 8x2": ({"type": "compact", "num_feat": 8, "num_conv": 2}, 4e-3),
    "compact 16x2": ({"type": "compact", "num_feat": 16, "num_conv": 2}, GOOD_RATE),
    "compact 32x4": ({"type": "compact", "num_feat": 32, "num_conv": 4}, 2e-3),
    "paragonsr2 nano": ({"type": "paragonsr2_nano", "use_attention": False}, 2e-3),
    "paragonsr2 realtime": ({"type": "paragonsr2_realtime"}, 1e-3),
    "span": ({"type": "span", "feature_channels": 16}, 2e-3),
}
"""Networks of the healthy suite, each with a usual rate."""
