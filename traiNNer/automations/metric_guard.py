"""The guard of the measurements: automations must not act on a change of what is measured.

A validation on other images or sizes than the one before cannot be compared with it, nor one whose bicubic
upscaling scores otherwise (other pixels, another border or channel), nor one that begins with another set or
metric. The guard raises the alarm, and the automations are told to start their records afresh instead of being
shown the scores. A score that falls below bicubic upscaling raises the alarm too, and is shown.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from traiNNer.automations.statistics import finite_mean
from traiNNer.automations.validation_record import read_scores
from traiNNer.control import Plain, from_plain, to_plain
from traiNNer.events import ChangeEvent, Event, SetScores, ValidationEvent

GUARD = "metric_guard"
"""Who a `ChangeEvent` of control `validation` comes from."""

_log = logging.getLogger(__name__)

_SAME = 1e-3  # of a score; other devices and versions add up otherwise


@dataclass
class _State(Plain):
    images: dict[str, list[str]] = field(default_factory=dict)
    """Per set, as last measured."""
    sizes: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    bicubic: dict[str, dict[str, float]] = field(default_factory=dict)
    """Per set and metric: what bicubic upscaling scored, where it has a score."""
    first: str = ""
    """The first set and its first metric, which is what decides where nobody says more."""
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
        set_name, first = next(iter(event.sets.items()))
        headline = "/".join((set_name, *list(first.metrics)[:1]))
        if not changes and self.state.first not in ("", headline):
            changes = [f"{headline} comes first, {self.state.first} before"]
        self.state.first = headline
        self.state.images = {name: list(scores.images) for name, scores in event.sets.items()}
        self.state.sizes = {name: list(scores.sizes) for name, scores in event.sets.items()}
        self.state.bicubic = {name: _bicubic(scores) for name, scores in event.sets.items()}
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
        if not known:
            return ""
        if name not in known:
            return f"set {name} is new"
        if known[name] != scores.images:
            return f"set {name} has other images: {len(scores.images)}, {len(known[name])} before"
        sizes = zip(scores.images, scores.sizes, self.state.sizes[name], strict=True)
        if other := next((image for image, now, then in sizes if now != then), None):
            return f"set {name}: {other} has other sizes"
        before, now = self.state.bicubic.get(name, {}), _bicubic(scores)
        for metric in before.keys() & now.keys():
            if not math.isclose(before[metric], now[metric], rel_tol=_SAME):
                return f"set {name}: {metric} of bicubic is {now[metric]:.4f}, {before[metric]:.4f} before"
        return ""

    def _compare_with_bicubic(self, event: ValidationEvent, name: str) -> None:
        for metric in sorted(event.sets[name].baseline.keys() & self._higher_is_better.keys()):
            higher = self._higher_is_better[metric]
            scores = read_scores(event, metric, higher_is_better=higher, set_name=name)
            key, above = f"{name}/{metric}", not scores.below_baseline
            if self.state.above.get(key) and not above:
                _log.error(
                    "Metric guard, iter %d: %s fell below bicubic enlargement (%.4g against %.4g); "
                    "it counts as no gain",
                    event.step,
                    key,
                    abs(scores.mean),
                    abs(scores.baseline),
                )
            self.state.above[key] = above


def _bicubic(scores: SetScores) -> dict[str, float]:
    """Means of bicubic upscaling by metric, whatever the outputs are; nothing where there is none."""
    means = {metric: finite_mean(values) for metric, values in scores.baseline.items()}
    return {metric: mean for metric, mean in means.items() if math.isfinite(mean)}
