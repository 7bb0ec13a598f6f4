"""What a run reports: the facts it starts with, and the events that its automations see.

Plain data without torch, written to `facts.json` and `events.jsonl` and read again by a replay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, TypeAlias

from traiNNer.control import Arm, Plain


@dataclass(frozen=True)
class RunFacts(Plain):
    """What automations may know about a run before it starts. Nothing of it changes while it runs."""

    total_iter: int
    """Planned optimizer steps at the configured batch."""
    batch: int
    """Configured samples per process and step."""
    world_size: int
    learning_rates: dict[str, float]
    """Configured peak rate per network ("g", "d")."""
    optimizer: str
    """Type name of the generator's optimizer."""
    precision: str
    """fp32, bf16 or fp16."""
    ema_decay: float
    """0 when there is no EMA of the weights."""
    loss_weights: dict[str, float]
    """Configured weight per label."""
    anchor_loss: str
    """Label of the loss that others are compared with: the first pixel loss that is on from the beginning."""
    higher_is_better: dict[str, bool]
    """Direction of every validation metric."""
    validate_every: int
    """Steps; 0 without validation."""
    warmup_iter: int
    images: int
    """Pairs in the training set."""
    deterministic: bool
    fingerprint: dict[str, str]
    """What a learned pattern must have in common with this run: architecture, parameters, losses, patch."""
    judged_losses: list[str] = field(default_factory=list)
    """Labels of the losses that ask the discriminator: their level says how the adversarial training goes."""
    smallest_patch: int = 1
    """Smallest side of a low-resolution patch that the networks take, in pixels."""
    measured_on: str = ""
    """The devices with their memory and a checksum of what a step takes: what was measured on others is void."""
    lq_size: int = 0
    """Configured side of the low-resolution patch, in pixels; 0 in records of before this was kept."""
    scores_trials: bool = True
    """Whether the anchor loss can score a trial: it needs neither a discriminator nor the EMA network."""
    learned: dict[str, Any] | None = None
    """What an earlier run like this one left of its gradients when this one began; None: nothing was found."""


@dataclass(frozen=True)
class WindowEvent(Plain):
    """A window of consecutive steps was computed. Per-step values are in the order of the steps."""

    step: int
    """Updates done so far, the window included."""
    position: int
    """Samples consumed so far by all processes."""
    progress: float
    """Share of the planned samples, 0 to 1."""
    batch: int
    micro_batch: int
    lq_size: int
    lr: dict[str, float]
    """Learning rate of the window's last step, per network."""
    schedule: float
    """The base schedule at the window's last step as a share of its peak (warm-up and controls left out)."""
    warming_up: bool
    losses: dict[str, list[float]]
    """Mean over the step's samples, before any weight; losses that were off are missing."""
    total: list[float]
    """Weighted sum of the generator's losses."""
    grad_norm: dict[str, list[float]]
    """L2 norm before clipping, per network; NaN or infinite where the gradient was."""
    applied: dict[str, list[bool]]
    """False where the step was skipped, per network."""
    gradient_at_output: dict[str, float]
    """Norm of each loss's gradient at the generator's output, unweighted, where the window measured it."""
    update_ratio: float | None
    """|dw| / |w| of the generator, where the window measured it."""
    memory_peak: float
    """Peak memory as a share of what this process may use, 0 to 1, largest over the processes."""
    seconds: float
    data_wait: float
    """Share of the time spent waiting for data, 0 to 1."""
    amp_scale: float
    """Scale of the fp16 gradient scaler; 1 in other precisions."""
    discriminator: dict[str, list[float]] = field(default_factory=dict)
    """Its loss (`l_d`), penalty (`l_d_penalty`, NaN where it was not due) and mean logits for ground truth and
    output (`out_d_real`, `out_d_fake`); empty where it did not train."""
    rates: dict[str, list[float]] = field(default_factory=dict)
    """Learning rate of every step, per network; empty where the steps before the last are not known."""

    def lr_at(self, row: int) -> dict[str, float]:
        """Learning rate of one of the steps, per network."""
        return {net: values[row] for net, values in self.rates.items()} or self.lr

    @property
    def samples_per_second(self) -> float:
        """Samples of one process per second; 0 when nothing was timed."""
        return len(self.total) * self.batch / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class SetScores(Plain):
    """The scores of one validation set."""

    images: list[str]
    sizes: list[tuple[int, int]]
    """Height and width of each ground truth, in pixels."""
    metrics: dict[str, list[float]]
    """Per metric, one value an image."""
    baseline: dict[str, list[float]]
    """The same metrics for bicubic upscaling."""
    ratios: dict[str, list[float]] = field(default_factory=dict)
    """One value an image: `edge_ratio`, mean |Sobel| of the output over that of the ground truth,
    `residual_ratio`, mean distance of the output from bicubic upscaling over that of the ground truth, and
    `colour_shift`, distance of the mean of a channel from that of the ground truth, of the worst channel."""

    outputs_finite: bool = True
    """Whether every output consists of finite numbers."""

    @property
    def means(self) -> dict[str, float]:
        """Mean of every metric over the images that it has a number for; NaN where there is none."""
        return {label: self._mean(label, self.metrics) for label in self.metrics}

    @property
    def baseline_means(self) -> dict[str, float]:
        """The same for bicubic upscaling."""
        return {label: self._mean(label, self.baseline) for label in self.baseline}

    def left_out(self, label: str) -> list[int]:
        """Images that do not count in a metric: it is not finite for the output or for bicubic upscaling."""
        columns = [of[label] for of in (self.metrics, self.baseline) if label in of]
        rows = enumerate(zip(*columns, strict=True))
        return [index for index, row in rows if not all(map(math.isfinite, row))]

    def _mean(self, label: str, of: Mapping[str, list[float]]) -> float:
        out = set(self.left_out(label))
        counted = [value for index, value in enumerate(of[label]) if index not in out]
        return fmean(counted) if counted else math.nan


@dataclass(frozen=True)
class ValidationEvent(Plain):
    """One validation pass finished."""

    step: int
    position: int
    sets: dict[str, SetScores]
    """In the order of the configuration; the first set decides which weights are best."""
    weights_finite: bool
    lr_exhausted: bool
    """The schedule has ended or its rate is below 1 % of its peak."""

    @property
    def outputs_finite(self) -> bool:
        """Whether every output consists of finite numbers."""
        return all(scores.outputs_finite for scores in self.sets.values())


@dataclass(frozen=True)
class OutOfMemoryEvent(Plain):
    """A step did not fit; nothing was changed and it will be repeated with `retry` samples per forward."""

    step: int
    micro_batch: int
    """The size that failed."""
    retry: int


@dataclass(frozen=True)
class ChangeEvent(Plain):
    """A decision was applied, or a loss was switched on or off by its schedule, or its weight has arrived where it
    stays: statistics start afresh."""

    step: int
    position: int
    control: str
    """Name of the field of `Controls`, or `losses`, or `validation` when other images are measured."""
    by: str
    """Who decided."""


@dataclass(frozen=True)
class RequestEvent(Plain):
    """An automation asks the owner of a control for a change."""

    step: int
    control: str
    factor: float
    by: str
    reason: str
    network: str = ""
    """Whose control it is, where each network has its own; empty: all of them."""


@dataclass(frozen=True)
class StartEvent(Plain):
    """The run is about to train, and its rate is to be searched for or tried."""

    step: int
    position: int


@dataclass(frozen=True)
class TrialEvent(Plain):
    """The arms of a trial were trained on the same samples and scored on the same others; the run is as before."""

    step: int
    position: int
    arms: list[Arm]
    scores: list[list[float]]
    """Per arm, the logarithm of the loss on each held-out batch; empty where the arm failed."""
    steps: int = 0
    """Of each arm; 0 in records of before this was kept."""


Event: TypeAlias = (
    WindowEvent | ValidationEvent | OutOfMemoryEvent | ChangeEvent | RequestEvent | StartEvent | TrialEvent
)
