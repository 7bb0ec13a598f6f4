"""The vocabulary of a run: what it reports, what may be decided, what can be turned.

Plain data without torch, so that everything said here can be printed, compared, written to a log and
replayed. The trainer emits events, automations answer with decisions, and the trainer alone
(`Trainer._apply`) turns decisions into changes of the controls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, TypeAlias, TypeVar

from pydantic import ConfigDict, TypeAdapter

T = TypeVar("T")


class Plain:
    """Base of structs that go into checkpoints and logs: an unknown or missing field is refused on reading."""

    __pydantic_config__ = ConfigDict(extra="forbid")


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def to_plain(value: Any) -> dict[str, Any]:
    """A dataclass as dictionaries, lists and plain values that JSON can hold; infinities as text."""
    return _adapter(type(value)).dump_python(value, mode="json")


def from_plain(kind: type[T], data: Any) -> T:
    """The inverse of `to_plain`. Raises pydantic's ValidationError where names or types differ."""
    return _adapter(kind).validate_python(data)


# --- what can be turned ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clip(Plain):
    """How gradients of one network are limited, by their norm before clipping."""

    threshold: float
    """Norms up to this are left alone."""
    target: float
    """A larger gradient is scaled to this norm."""
    skip_above: float = math.inf
    """Beyond this norm, as for one that is not finite, the step is skipped."""


@dataclass(frozen=True)
class Ramp(Plain):
    """A linear change of the learning rate over a range of stream positions."""

    start: int
    """Position (samples over all processes) at which the ramp begins."""
    length: int
    """Samples over which it runs."""

    def done(self, position: int) -> float:
        """Share of the ramp that lies behind `position`, 0 to 1."""
        return min(1.0, max(0.0, (position - self.start) / max(1, self.length)))


@dataclass
class Controls(Plain):
    """Everything that may change while a run is under way. Each has one owner among the automations."""

    batch: int
    """Samples per process and optimizer step."""
    micro_batch: int
    """Samples per process and forward pass; does not change what is computed, only the memory it takes."""
    lq_size: int
    """Side of the square low-resolution patch, in pixels."""
    lr_factor: float = 1.0
    """Factor on the learning rate of the schedule."""
    lr_batch_factor: float = 1.0
    """Factor on the learning rate that goes with a batch other than the configured one."""
    clip: dict[str, Clip] = field(default_factory=dict)
    """Per network ("g", "d"); a missing network is not clipped."""
    loss_factor: dict[str, float] = field(default_factory=dict)
    """Factor on the configured weight, per label of a loss; a missing loss has factor 1."""
    loss_scale: float = 1.0
    """Factor on the loss before backward, undone before clipping; keeps small fp16 gradients from vanishing."""
    rewarm: Ramp | None = None
    """A second warm-up from zero, after a return to earlier weights."""
    cooldown: Ramp | None = None
    """A final decay of the learning rate to zero; the run ends with it."""

    def learning_rate_factor(self, position: int) -> float:
        """What the controls make of the scheduled learning rate at a position of the stream."""
        rising = self.rewarm.done(position) if self.rewarm else 1.0
        falling = 1.0 - self.cooldown.done(position) if self.cooldown else 1.0
        return self.lr_factor * self.lr_batch_factor * rising * falling


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
    """0 when there is no running average."""
    loss_weights: dict[str, float]
    """Configured weight per label."""
    anchor_loss: str
    """Label of the first pixel loss (or of the first loss), which others are compared with."""
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
    """Labels of the losses that ask the discriminator: their level says how the game stands."""
    smallest_patch: int = 1
    """Smallest side of a low-resolution patch that the networks take, in pixels."""


# --- what happened -----------------------------------------------------------------------------------------


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
    """Norm of each loss's gradient at the generator's output, unweighted, the last time it was measured."""
    update_ratio: float | None
    """|dw| / |w| of the generator, the last time it was measured."""
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
    """The same metrics for bicubic enlargement."""
    ratios: dict[str, list[float]] = field(default_factory=dict)
    """One value an image: `edge_ratio`, mean |Sobel| of the output over that of the ground truth, and
    `residual_ratio`, mean distance of the output from bicubic enlargement over that of the ground truth."""

    @property
    def means(self) -> dict[str, float]:
        """Mean over the images of every metric."""
        return {label: sum(values) / len(values) for label, values in self.metrics.items()}

    @property
    def baseline_means(self) -> dict[str, float]:
        """The same for bicubic enlargement."""
        return {label: sum(values) / len(values) for label, values in self.baseline.items()}


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


@dataclass(frozen=True)
class OutOfMemoryEvent(Plain):
    """A step did not fit; nothing was changed and it will be repeated with `retry` samples per forward."""

    step: int
    micro_batch: int
    """The size that failed."""
    retry: int


@dataclass(frozen=True)
class ChangeEvent(Plain):
    """A decision was applied, or a loss was switched on or off by its schedule: statistics start afresh."""

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


Event: TypeAlias = WindowEvent | ValidationEvent | OutOfMemoryEvent | ChangeEvent | RequestEvent


# --- what may be decided -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Decision(Plain):
    """Something an automation wants. The subclasses say what."""

    reason: str
    """One sentence with the numbers that led here."""
    parameter: str
    """Name of the control in logs, such as `grad_clip_threshold`."""
    old: float | int | str
    new: float | int | str
    statistic: float | None = None
    """The number that was tested."""
    limit: float | None = None
    """What it was compared with."""
    message: str
    """The line for the log, as users grep for it."""
    counts: bool = True
    """Whether it counts against `max_adjustments`; one that does not is applied even when frozen."""
    level: Literal["INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """How loud the line for the log is."""


@dataclass(frozen=True, kw_only=True)
class SetLearningRateFactor(Decision):
    """Multiply the scheduled learning rate by `factor`, from the next step on."""

    factor: float


@dataclass(frozen=True, kw_only=True)
class RollBack(Decision):
    """Return weights and EMA to the last healthy snapshot, clear the optimizer's state, warm up again."""

    factor: float
    rewarm: Ramp


@dataclass(frozen=True, kw_only=True)
class SetBatch(Decision):
    """Change the batch, the micro-batch or the patch, and the learning rate that goes with the batch."""

    batch: int
    micro_batch: int
    lq_size: int
    lr_batch_factor: float


@dataclass(frozen=True, kw_only=True)
class SetClip(Decision):
    """Limit the gradients of one network; None: not at all."""

    network: str
    clip: Clip | None


@dataclass(frozen=True, kw_only=True)
class SetLossFactors(Decision):
    """Multiply configured loss weights; labels that are missing keep their factor."""

    factors: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class SetLossScale(Decision):
    """Multiply the loss before backward (undone before clipping)."""

    scale: float


@dataclass(frozen=True, kw_only=True)
class Request(Decision):
    """Ask the owner of a control for a change: the trainer sends a `RequestEvent` to all."""

    control: str
    factor: float


@dataclass(frozen=True, kw_only=True)
class Stop(Decision):
    """End the run, after an annealing if `cooldown` is given."""

    rule: str
    """patience, diminishing_returns, overfitting or broken."""
    cooldown: Ramp | None = None
    restore_best: bool = False
    """End with the best weights instead of the last."""
