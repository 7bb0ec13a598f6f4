"""Decision-makers that watch a run and propose changes.

Events come in, decisions go out. Nothing in this package imports torch, opens a file or reaches into the
model, so whatever an automation does can be replayed from a list of events. `Supervisor` runs them all and
keeps the promises that hold for each: a crash switches one off and training goes on, `max_adjustments`
freezes it, `monitor_only` lets it talk but not act.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, NamedTuple, TypeAlias, TypeVar, final

from pydantic import Field

from traiNNer.automations.metric_guard import GUARD, MetricGuard
from traiNNer.control import Controls, Decision, from_plain, to_plain
from traiNNer.events import Event
from traiNNer.registry import Registry

AUTOMATIONS: Registry[Automation[Any]] = Registry("automation", package=__name__)

S = TypeVar("S")
Count: TypeAlias = Annotated[int, Field(ge=1)]
Size: TypeAlias = Annotated[int, Field(ge=0)]
Positive: TypeAlias = Annotated[float, Field(gt=0)]
NotNegative: TypeAlias = Annotated[float, Field(ge=0)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
_log = logging.getLogger(__name__)


class Automation(ABC, Generic[S]):
    """All that changes lives in `state` (a dataclass); all that does not is set in the constructor.

    The constructor takes the options that a user may write, keyword only, and `facts: RunFacts` from the
    program. A setting in the configuration wins over state: `load_state_dict` restores what was learned, and
    whatever can be derived from settings is derived again.
    """

    name: ClassVar[str]
    """The class name that users write in YAML and find in logs."""
    watches: ClassVar[str] = ""
    """What it looks at, in a few words for the end of a run."""
    state: S

    @abstractmethod
    def observe(self, event: Event) -> None:
        """Take note of what happened."""

    @abstractmethod
    def decide(self, controls: Controls) -> Sequence[Decision]:
        """Propose changes. Called once after every event; must not alter `controls`."""

    @abstractmethod
    def fallback(self, controls: Controls) -> Sequence[Decision]:
        """What to leave behind when this automation is switched off."""

    @final
    def state_dict(self) -> dict[str, Any]:
        """The state as plain values that JSON can hold."""
        return to_plain(self.state)

    @final
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replace the state. Raises pydantic's ValidationError where names or types differ."""
        self.state = from_plain(type(self.state), state)


class Proposal(NamedTuple):
    """A decision and what becomes of it."""

    automation: str
    decision: Decision
    applied: bool
    """False for one that only monitors: it is recorded, nothing changes."""


@dataclass(frozen=True)
class Limits:
    """Settings that every automation has."""

    max_adjustments: Annotated[int, Field(ge=1)] | None = None
    """Applied decisions after which it freezes at its current value; None: no limit."""
    monitor_only: bool = False
    """Say what would be done, change nothing."""


@dataclass
class _Status:
    """Where one automation stands with the supervisor."""

    adjustments: int = 0
    frozen: bool = False
    crashed: str = ""
    """The exception that switched it off, or nothing."""
    monitored: bool = False


class Supervisor:
    """Runs the automations of a run, in order, and keeps each within its limits.

    Args:
        automations: By name.
        limits: Of those that have any.
        guard: Sees every validation first, and keeps those that cannot be compared from the automations.
    """

    def __init__(
        self,
        automations: Mapping[str, Automation[Any]],
        limits: Mapping[str, Limits] | None = None,
        guard: MetricGuard | None = None,
    ) -> None:
        self.automations = dict(automations)
        self._limits = {name: (limits or {}).get(name, Limits()) for name in automations}
        self._status = {name: _Status(monitored=self.monitors_only(name)) for name in automations}
        self._guard = guard

    def react(self, event: Event, controls: Controls) -> list[Proposal]:
        """Show one event to every automation; returns what is to be applied or only recorded."""
        proposals: list[Proposal] = []
        event = self._guard.check(event) if self._guard else event
        for name, automation in self.automations.items():
            status = self._status[name]
            if status.crashed:
                continue
            try:
                automation.observe(event)
                decisions = automation.decide(controls)
            except Exception as error:  # noqa: BLE001 - a fault in an automation must not end a training
                proposals += self._switch_off(name, error, controls)
                continue
            proposals += [p for decision in decisions if (p := self._admit(name, decision))]
        return proposals

    def monitors_only(self, name: str) -> bool:
        """Whether an automation may only say what it would do."""
        return self._limits[name].monitor_only

    def status(self) -> dict[str, str]:
        """One word on each automation for the closing report: active, frozen, monitoring, or its exception."""
        return {name: self._word(name) for name in self.automations}

    def state_dict(self) -> dict[str, Any]:
        """The state of all automations and where each stands, as plain values."""
        state: dict[str, Any] = {
            name: {"state": automation.state_dict(), "standing": to_plain(self._status[name])}
            for name, automation in self.automations.items()
        }
        return state | ({GUARD: self._guard.state_dict()} if self._guard else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what is there; one that was added since, or whose `monitor_only` has changed, starts new."""
        for name in self.automations.keys() & state.keys():
            status, limits = from_plain(_Status, state[name]["standing"]), self._limits[name]
            if status.monitored != limits.monitor_only:
                continue  # what it decided has not happened, or holds no more
            self.automations[name].load_state_dict(state[name]["state"])
            limit = limits.max_adjustments
            status.frozen = limit is not None and status.adjustments >= limit
            self._status[name] = status
        if self._guard and GUARD in state:
            self._guard.load_state_dict(state[GUARD])

    def _admit(self, name: str, decision: Decision) -> Proposal | None:
        limits, status = self._limits[name], self._status[name]
        if limits.monitor_only:
            return Proposal(name, decision, applied=False)
        if not decision.counts:
            return Proposal(name, decision, applied=True)
        if status.frozen:
            return None
        status.adjustments += 1
        if limits.max_adjustments is not None and status.adjustments >= limits.max_adjustments:
            status.frozen = True
            text = "Automation %s: max_adjustments (%d) reached; it stays as it is now"
            _log.info(text, name, status.adjustments)
        return Proposal(name, decision, applied=True)

    def _switch_off(self, name: str, error: Exception, controls: Controls) -> list[Proposal]:
        _log.error("Automation %s failed and is switched off for this run", name, exc_info=error)
        self._status[name].crashed = f"{type(error).__name__}: {error}"
        try:
            decisions = self.automations[name].fallback(controls)
        except Exception:  # noqa: BLE001 - see above
            _log.exception("Automation %s: its fallback failed too; the controls stay as they are", name)
            return []
        return [Proposal(name, decision, applied=not self.monitors_only(name)) for decision in decisions]

    def _word(self, name: str) -> str:
        status = self._status[name]
        if status.crashed:
            return f"off ({status.crashed})"
        if self._limits[name].monitor_only:
            return "monitoring"
        return "frozen" if status.frozen else "active"
