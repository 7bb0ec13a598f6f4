"""The guard of the measurements: automations must not act on a change of what is measured.

A validation on other images or sizes than the one before cannot be compared with it. The guard raises the
alarm, and the automations are told to start their records afresh instead of being shown the scores. A score
that falls below bicubic upscaling raises the alarm too; it is shown, and those who read it do not act on it
unless it stays there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from traiNNer.automations.validation_record import read_scores
from traiNNer.control import Plain, from_plain, to_plain
from traiNNer.events import ChangeEvent, Event, SetScores, ValidationEvent

GUARD = "metric_guard"
"""Who a `ChangeEvent` of control `validation` comes from."""

_log = logging.getLogger(__name__)


@dataclass
class _State(Plain):
    images: dict[str, list[str]] = field(default_factory=dict)
    """Per set, as last measured."""
    sizes: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    above: dict[str, bool] = field(default_factory=dict)
    """Per `set/metric`: whether the last score was at least that of bicubic upscaling."""


class MetricGuard:
    """Compares every validation with the one before.

    Args:
        higher_is_better: Direction of every metric; others are not compared with bicubic upscaling.
    """

    def __init__(self, higher_is_better: Mapping[str, bool]) -> None:
        self._higher_is_better = dict(higher_is_better)
        self.state = _State()

    def check(self, event: Event) -> Event:
        """The event to show to the automations: the same, or the news that scores begin afresh."""
        if not isinstance(event, ValidationEvent):
            return event
        changes = [c for name, scores in event.sets.items() if (c := self._change(name, scores))]
        changes += [f"set {name} is gone" for name in self.state.images.keys() - event.sets.keys()]
        self.state.images = {name: list(scores.images) for name, scores in event.sets.items()}
        self.state.sizes = {name: list(scores.sizes) for name, scores in event.sets.items()}
        if changes:
            _log.error(
                "Metric guard, iter %d: validation does not measure what it measured before (%s); "
                "scores are not comparable, automations start their records afresh",
                event.step,
                "; ".join(changes),
            )
            self.state.above = {}
            return ChangeEvent(event.step, event.position, "validation", GUARD)
        for name in event.sets:
            self._compare_with_bicubic(event, name)
        return event

    def state_dict(self) -> dict[str, Any]:
        """What the last validation measured."""
        return to_plain(self.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self.state = from_plain(_State, state)

    def _change(self, name: str, scores: SetScores) -> str:
        known = self.state.images
        if not known or (known.get(name) == scores.images and self.state.sizes[name] == list(scores.sizes)):
            return ""
        if name not in known:
            return f"set {name} is new"
        if known[name] != scores.images:
            return f"set {name} has other images: {len(scores.images)}, {len(known[name])} before"
        first = next(i for i, size in enumerate(scores.sizes) if size != self.state.sizes[name][i])
        return f"set {name}: {scores.images[first]} has other sizes"

    def _compare_with_bicubic(self, event: ValidationEvent, name: str) -> None:
        for metric in sorted(event.sets[name].baseline.keys() & self._higher_is_better.keys()):
            higher = self._higher_is_better[metric]
            scores = read_scores(event, metric, higher_is_better=higher, set_name=name)
            key, above = f"{name}/{metric}", not scores.below_baseline
            if self.state.above.get(key) and not above:
                _log.error(
                    "Metric guard, iter %d: %s fell below bicubic enlargement (%.4g against %.4g); "
                    "automations do not act on this validation",
                    event.step,
                    key,
                    abs(scores.mean),
                    abs(scores.baseline),
                )
            self.state.above[key] = above
