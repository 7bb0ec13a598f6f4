"""The vocabulary of a run: what can be changed while it is under way, and the decisions that change it.

Plain data without torch, to be printed, compared, written to a log and replayed. The trainer reports events
(`traiNNer.events`), automations answer with decisions, which `Trainer._apply` alone applies to the controls.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

from pydantic import ConfigDict, TypeAdapter

T = TypeVar("T")


class Plain:
    """Base of structs that go into checkpoints and logs: an unknown or missing field is refused on reading."""

    __pydantic_config__ = ConfigDict(extra="forbid")


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def to_plain(value: Any) -> dict[str, Any]:
    """A dataclass as dictionaries, lists and plain values; what is not finite stays a float."""
    return _adapter(type(value)).dump_python(value, mode="json")


def from_plain(kind: type[T], data: Any) -> T:
    """The inverse of `to_plain`. Raises pydantic's ValidationError where names or types differ."""
    return _adapter(kind).validate_python(data)


# --- what can be changed ----------------------------------------------------------------------------------


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
    lr_search: float | None = None
    """Factor on the starting rate of `lr: auto`, 1 until it is found; None where a rate is written."""
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
        return self.lr_factor * self.lr_batch_factor * (self.lr_search or 1.0) * rising * falling


@dataclass(frozen=True)
class Arm(Plain):
    """One way to go on that a trial compares with others."""

    name: str
    lr_factor: float
    """Factor on the scheduled learning rate."""
    restored: bool = False  # begin from the last healthy snapshot, with the optimizer reset and a warm-up
    growth: float = 1.0  # of the rate from step to step; above 1 the scores are the losses of the steps


# --- what may be decided -----------------------------------------------------------------------------------


class Change(NamedTuple):
    """What a decision does, in the words of the records."""

    parameter: str  # name of the control, such as `grad_clip_threshold`
    old: float | int | str
    new: float | int | str


@dataclass(frozen=True, kw_only=True)
class Decision(Plain, ABC):
    """Something an automation wants. The subclasses say what."""

    changes: ClassVar[str] = ""
    """What the other automations are told has changed, see `ChangeEvent`; empty: nothing they measure."""

    reason: str
    """One sentence with the numbers that led here."""
    statistic: float | None = None
    """The number that was tested."""
    limit: float | None = None
    """What it was compared with."""
    counts: bool = True
    """Whether it counts against `max_adjustments`; one that does not is applied even when frozen."""
    level: Literal["INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """How loud the line for the log is."""

    @abstractmethod
    def apply(self, controls: Controls) -> None:
        """Change the controls."""

    @abstractmethod
    def change(self, controls: Controls) -> Change:
        """What it does to the controls as they are."""


@dataclass(frozen=True, kw_only=True)
class SetLearningRateFactor(Decision):
    """Multiply the scheduled learning rate by `factor`, from the next step on."""

    changes = "lr_factor"
    factor: float

    def apply(self, controls: Controls) -> None:
        controls.lr_factor = self.factor

    def change(self, controls: Controls) -> Change:
        return Change("lr_factor", controls.lr_factor, self.factor)


@dataclass(frozen=True, kw_only=True)
class RollBack(Decision):
    """Return weights and EMA to the last healthy snapshot, reset the optimizer's state, warm up again."""

    changes = "lr_factor"
    factor: float
    rewarm: Ramp | None  # None: go on at once
    arm: str = ""  # go on from where this arm of the latest trial ended instead, with its optimizer

    def apply(self, controls: Controls) -> None:
        controls.lr_factor, controls.rewarm = self.factor, self.rewarm

    def change(self, controls: Controls) -> Change:
        return Change("lr_factor", controls.lr_factor, self.factor)


@dataclass(frozen=True, kw_only=True)
class SetBatch(Decision):
    """Change the batch, the micro-batch or the patch, and the learning rate that goes with the batch."""

    changes = "batch"
    batch: int
    micro_batch: int
    lq_size: int
    lr_batch_factor: float

    def apply(self, controls: Controls) -> None:
        controls.batch, controls.micro_batch = self.batch, self.micro_batch
        controls.lq_size, controls.lr_batch_factor = self.lq_size, self.lr_batch_factor

    def change(self, controls: Controls) -> Change:
        if self.lq_size != controls.lq_size:
            return Change("lq_size", controls.lq_size, self.lq_size)
        if self.batch != controls.batch:
            return Change("batch", controls.batch, self.batch)
        return Change("micro_batch", controls.micro_batch, self.micro_batch)


def _clip_name(network: str) -> str:
    return f"grad_clip_threshold_{network}" if network not in ("", "g") else "grad_clip_threshold"


@dataclass(frozen=True, kw_only=True)
class SetClip(Decision):
    """Limit the gradients of one network."""

    network: str
    clip: Clip
    old: float
    """The threshold before, in force or, where an automation only monitors, proposed."""

    def apply(self, controls: Controls) -> None:
        controls.clip[self.network] = self.clip

    def change(self, controls: Controls) -> Change:
        return Change(_clip_name(self.network), self.old, self.clip.threshold)


@dataclass(frozen=True, kw_only=True)
class SetLossFactors(Decision):
    """Multiply configured loss weights; labels that are missing keep their factor."""

    changes = "loss_factor"
    factors: dict[str, float]

    def apply(self, controls: Controls) -> None:
        controls.loss_factor.update(self.factors)

    def change(self, controls: Controls) -> Change:
        """That of the factor which changes most."""
        old = controls.loss_factor
        most = max(self.factors, key=lambda loss: abs(math.log(self.factors[loss] / old.get(loss, 1.0))))
        return Change("loss_factor", old.get(most, 1.0), self.factors[most])


@dataclass(frozen=True, kw_only=True)
class SetLossScale(Decision):
    """Multiply the loss before backward (undone before clipping)."""

    scale: float

    def apply(self, controls: Controls) -> None:
        controls.loss_scale = self.scale

    def change(self, controls: Controls) -> Change:
        return Change("loss_scale", controls.loss_scale, self.scale)


@dataclass(frozen=True, kw_only=True)
class RunTrial(Decision):
    """Train every arm for `steps` steps on the samples to come, score it, and go on as if nothing had happened."""

    arms: list[Arm]
    steps: int
    kept: bool = True  # what the arms become, until the trial is answered: a decision may go on from one

    def apply(self, controls: Controls) -> None:
        """Nothing: what it shows decides."""

    def change(self, controls: Controls) -> Change:
        return Change("trial", self.arms[0].name, ", ".join(arm.name for arm in self.arms[1:]))


@dataclass(frozen=True, kw_only=True)
class Request(Decision):
    """Ask the owner of a control for a change: the trainer sends a `RequestEvent` to all."""

    control: str
    factor: float
    network: str = ""  # whose control it is, where each network has its own; empty: all of them

    def apply(self, controls: Controls) -> None:
        """Nothing: its receiver decides."""

    def change(self, controls: Controls) -> Change:
        name = _clip_name(self.network) if self.control == "clip" else self.control
        return Change(name, "", f"x{self.factor:g}")


@dataclass(frozen=True, kw_only=True)
class Stop(Decision):
    """End the run, after an annealing if `cooldown` is given."""

    changes = "cooldown"
    rule: str
    """patience, diminishing_returns, overfitting or broken."""
    cooldown: Ramp | None = None
    restore_best: bool = False  # end with the best weights instead of the last

    def apply(self, controls: Controls) -> None:
        controls.cooldown = self.cooldown

    def change(self, controls: Controls) -> Change:
        return Change("stop", "running", self.rule)
