"""What IntelligentEarlyStopping remembers, and what remains of it after a fault."""

from __future__ import annotations

from dataclasses import dataclass, field

from traiNNer.automations import Supervisor
from traiNNer.automations.loss_trend import LossTrend
from traiNNer.automations.statistics import RunningLine
from traiNNer.automations.stopping.stopping_rules import IN_A_ROW, Watched, share_waited
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
    lowest: bool = False
    """Whether the factor on the learning rate is as low as it goes."""
    others: dict[str, Watched] = field(default_factory=dict)
    """The other metrics of the set, by label."""
    first: float | None = None
    """Mean score of the first validation of the record."""
    measured: str = ""
    """`<set>/<metric>` that the record is of."""
    nearness: float = 0.0
    """How near a stop is, 0 to 1."""
    fresh: bool = False
    stopped: bool = False
    broken: bool = False

    @property
    def heard(self) -> list[Watched]:
        """The other metrics that the last validation had values of."""
        return [other for other in self.others.values() if not other.silent]

    @property
    def at_new_best(self) -> bool:
        """Whether the newest validation is the best of any metric.

        After the schedule scores of a running average creep upwards by less than what counts as a gain: there
        the best is what counts.
        """
        records = [self.record, *(other.record for other in self.heard)]
        return any(r.newest_counts if self.exhausted else r.newest_is_highest for r in records)

    def measures(self, what: str) -> None:
        """Begin a record; afresh where a resumed run has another `<set>/<metric>` than the one so far."""
        if self.measured not in ("", what):
            self.forget_scores()
        self.measured = what

    def forget_scores(self) -> None:
        """Those to come cannot be compared with those so far."""
        self.record, self.trouble, self.others, self.first = ValidationRecord(), "", {}, None
        self.forget_curves()

    def forget_curves(self) -> None:
        """What scores promised says nothing any more."""
        self.curve, self.flat = [], 0
        for other in self.others.values():
            other.forget()

    def how_near(self, patience: int, earliest: int) -> float:
        """How near a stop is, 0 to 1: by the rule that is nearest, but not nearer than its earliest step.

        1 means that it has been decided: a rule that is fulfilled may still have to wait, for what else gains.
        """
        others = self.heard
        since = [self.record.best_step, *(other.record.best_step for other in others)]
        waited = min(share_waited(self.step, step, patience) for step in since)
        flat = min([self.flat, *(other.flat for other in others)]) / IN_A_ROW
        below = min(waited, share_waited(self.step, self.record.below_since, patience))
        nearest = max(flat, below, waited if self.exhausted or self.lowest else 0.0)
        return 1.0 if self.stopped else min(0.99, nearest, self.step / max(1, earliest))


def stop_nearness(supervisor: Supervisor) -> float | None:
    """How near a stop is as of the last validation, 0 to 1; None where nothing stops a run early."""
    states = (automation.state for automation in supervisor.automations.values())
    return next((state.nearness for state in states if isinstance(state, StoppingState)), None)
