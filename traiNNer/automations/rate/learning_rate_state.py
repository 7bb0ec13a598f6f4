"""What IntelligentLearningRateScheduler remembers of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

from traiNNer.automations.loss_trend import FollowedLosses, LossTrend
from traiNNer.automations.validation_record import ValidationRecord
from traiNNer.control import Plain
from traiNNer.events import RequestEvent

CHANGES = {"lr_factor", "batch", "lq_size", "losses"}
"""What ends the curves of loss and metric that the automation follows."""


@dataclass
class LearningRateState(Plain):
    """Everything that changes while it follows a run."""

    step: int = 0
    position: int = 0
    batch: int = 1
    window: int = 10
    """Steps in a window."""
    early: bool = True
    annealing: bool = False
    fresh: str = ""
    """What arrived since the last decision: `window`, or `steps` without a level, `validation`, `trial`."""
    trend: LossTrend = field(default_factory=LossTrend)
    losses: FollowedLosses = field(default_factory=FollowedLosses)
    factors: dict[str, float] = field(default_factory=dict)
    """Loss factors as last seen."""
    rising: int = 0
    """Reviews in a row that found divergence."""
    good: int = 0
    """Spans in a row that improved."""
    before_growth: float | None = None
    """Factor before the latest change where that was a growth: a divergence returns to it."""
    ceiling: float | None = None
    """Level above which the factor does not grow any more."""
    record: ValidationRecord = field(default_factory=ValidationRecord)
    validate_from: int = 0
    """Step before which validations still show the time before the last change."""
    trouble: str = ""
    standstill: str = ""
    """What looked like a standstill below bicubic at the last validation, or nothing."""
    trials: int = 0
    trial_from: int = 0
    """Step before which no other trial is asked for."""
    damage: str = ""
    """What a trial has just shown, or nothing."""
    below_baseline: bool = False
    """Whether bicubic upscaling did better at the last validation."""
    rollbacks: int = 0
    """Returns to earlier weights that were asked for."""
    awaited: bool = False
    """Whether the latest return was asked for and nothing has said that it was made."""
    refused: int = 0
    """Returns that were not made, since it is frozen or only monitors."""
    quiet_until: int = 0
    """Step up to which nothing is tested after a return to earlier weights."""
    stopped: bool = False
    requested: RequestEvent | None = None

    def move(self, old: float, new: float, settling: int) -> None:
        """Another factor: what grows can go back, and where it was cut to is its ceiling for good."""
        self.before_growth, self.ceiling = (old, self.ceiling) if new > old else (None, new)
        self.restart(self.step, settling)

    def lower(self, factor: float, cut: float) -> float:
        """Where a divergence takes a factor: back before its growth, if that was made, else by a cut."""
        before = self.before_growth
        return before if before is not None and before < factor else cut * factor

    def restart(self, step: int, settling: int) -> None:
        """Begin new curves after a change at a step, which validations show once `settling` steps have gone."""
        self.trend, self.rising, self.good = LossTrend(), 0, 0
        self.validate_from = step + settling
        self.record.restart(step)

    def forget_scores(self) -> None:
        """Those to come cannot be compared with those so far."""
        self.record, self.trouble, self.standstill = ValidationRecord(), "", ""
