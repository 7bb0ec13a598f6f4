"""What IntelligentEarlyStopping remembers, and what remains of it after a fault."""

from __future__ import annotations

from dataclasses import dataclass, field

from traiNNer.automations.loss_trend import LossTrend
from traiNNer.automations.statistics import RunningLine
from traiNNer.automations.validation_record import ValidationRecord
from traiNNer.control import Plain


@dataclass(frozen=True)
class StoppingFallback(Plain):
    """What remains if the automation is switched off: nothing but training on."""

    early_stopping: bool = False
    """Only false is possible: a fault in the automation must not end a run."""

    def __post_init__(self) -> None:
        if self.early_stopping:
            raise ValueError("early_stopping can only be false: a fault must not end a run")


@dataclass
class StoppingState(Plain):
    """All that the automation remembers."""

    record: ValidationRecord = field(default_factory=ValidationRecord)
    curve: list[tuple[float, float]] = field(default_factory=list)
    """ln(samples) and mean score of each validation since the last change of learning rate."""
    flat: int = 0
    """Validations in a row whose projection promised no gain."""
    losses: RunningLine = field(default_factory=RunningLine)
    """ln(anchor loss) since the metric fell below its best."""
    trend: LossTrend = field(default_factory=LossTrend)
    """Levels of the anchor loss, which factors on the losses do not move."""
    factors: dict[str, float] = field(default_factory=dict)
    """Loss factors when the curve began."""
    dead: int = 0
    """Latest steps in a row without a finite loss."""
    step: int = 0
    position: int = 0
    warming_up: bool = True
    trouble: str = ""
    exhausted: bool = False
    below_baseline: bool = False
    fresh: bool = False
    stopped: bool = False
    broken: bool = False
