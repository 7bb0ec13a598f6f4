"""What AdaptiveGradientClipping remembers, and what remains of it after a fault."""

from __future__ import annotations

from dataclasses import dataclass, field

from traiNNer.automations.gradients.gradient_norms import GradientNorms, Tally
from traiNNer.control import Clip, Plain
from traiNNer.events import RequestEvent


@dataclass(frozen=True)
class ClipFallback(Plain):
    """What remains if the automation is switched off."""

    threshold: float | None = None
    """None: the last threshold."""


@dataclass
class NetworkClipping(Plain):
    """What is known of one network."""

    norms: GradientNorms = field(default_factory=GradientNorms)
    fresh: list[float] = field(default_factory=list)
    """Norms that arrived since the last decision."""
    review: Tally = field(default_factory=Tally)
    """Steps that the present threshold has judged."""
    report: Tally = field(default_factory=Tally)
    proposed: Clip | None = None
    before_regime: float | None = None
    """Threshold before the latest change of regime or rise, for an emergency that finds it was a burst."""
    regime_step: int = 0
    adjustments: int = 0
    awaited: tuple[float, float, float] | None = None
    """Threshold before and after an adjustment that is proposed, and the average norm that led to it."""
    warned: bool = False


@dataclass
class ClippingState(Plain):
    """All that the automation remembers."""

    step: int = 0
    networks: dict[str, NetworkClipping] = field(default_factory=dict)
    announced: bool = False
    factors: dict[str, float] = field(default_factory=dict)
    """Loss factors that the statistics are of."""
    requested: RequestEvent | None = None
    """What another automation has just asked for."""
