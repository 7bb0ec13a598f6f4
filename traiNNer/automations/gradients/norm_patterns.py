"""What gradient norms to expect before a run has shown its own: from earlier runs, or from a rule."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass

from pydantic import ValidationError

from traiNNer.control import Plain, from_plain
from traiNNer.events import RunFacts

_log = logging.getLogger(__name__)

FLOOR = 0.1
"""Lowest threshold that the rule gives, before data exist."""


@dataclass(frozen=True)
class NormPattern(Plain):
    """Norms of one network in the calm part of a run, before clipping."""

    median: float
    p95: float
    p99: float
    mu: float
    """Mean of the logarithm."""
    sigma: float
    """Deviation of the logarithm."""
    threshold: float
    """At which the run clipped in the end."""


@dataclass(frozen=True)
class Pattern(Plain):
    """What a run leaves behind for later runs with the same key."""

    key: str
    networks: dict[str, NormPattern]


def pattern_key(facts: RunFacts) -> str:
    """What two runs must share for the norms of one to say something about the other."""
    parts = {
        **facts.fingerprint,
        "optimizer": facts.optimizer,
        "losses": json.dumps(facts.loss_weights, sort_keys=True),
        "precision": facts.precision,
        "batch": str(facts.batch * facts.world_size),
    }
    return json.dumps(parts, sort_keys=True)


def read_pattern(facts: RunFacts) -> dict[str, NormPattern]:
    """The stored pattern of each network; nothing when it is of other runs, or this one is deterministic."""
    if facts.learned is None or facts.deterministic:
        return {}
    try:
        pattern = from_plain(Pattern, facts.learned)
    except ValidationError:
        _log.warning("The stored pattern of gradient norms is not of this version; it is written anew")
        return {}
    return pattern.networks if pattern.key == pattern_key(facts) else {}


def prior_threshold(learning_rate: float, pattern: NormPattern | None) -> float:
    """The threshold before data exist: the stored one, else max(0.1, 0.1 / sqrt(learning rate))."""
    return pattern.threshold if pattern else max(FLOOR, FLOOR * learning_rate**-0.5)
