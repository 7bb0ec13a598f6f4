"""DynamicLossScheduling: holds or sets the share of each loss in the gradient at the network's output.

The value of a loss says nothing about its influence; the length of its gradient at the output does. That is
measured every 16 steps for each loss and compared with the anchor, the first pixel loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from traiNNer.automations import AUTOMATIONS, Automation, Count, Positive
from traiNNer.control import Controls, Decision, Plain, SetLossFactors
from traiNNer.events import ChangeEvent, Event, RunFacts, WindowEvent

MEASURE_EVERY = 16
"""Steps between two measurements of the gradients at the output."""

FAR = 2.0
"""Distance from the running mean, in usual steps from one measurement to the next (both of logarithms), that two
measurements in a row do not have by chance."""

LEAST_FAR = 0.3
"""Smallest such distance, as a logarithm."""

GAIN = 0.1
"""Part of a share's deviation that is made up for at each measurement, beside what the running mean asks for."""

MOST_AT_ONCE = math.log(3)
"""Logarithm of a share, in units of its target, above which a measurement counts no more."""

MOST_MADE_UP = math.log(2)
"""How far that may move a factor, as a logarithm."""

_KEPT = 0.8  # of the running mean of those steps, at each measurement
CHANGES = {"lr_factor", "batch", "lq_size", "losses"}


@dataclass
class _Loss(Plain):
    ratio: float = 0.0
    """Logarithm of the running mean of |gradient| against the anchor's, before weights and factors."""
    measured: int = 0
    """Measurements in that mean; it begins as a plain mean."""
    last: float = 0.0
    """The last measurement."""
    at: int = 0
    """End of the window that it is of."""
    side: int = 0
    """1 where it lay far above the mean before it, -1 far below, else 0."""
    scatter: float = 0.0
    """Running mean of the steps from one measurement to the next."""
    since: int = 0
    """Step at which the loss was first measured."""
    target: float | None = None
    """The ratio to hold; None before the end of the baseline."""
    made_up: float = 0.0
    """Logarithm by which the factor lies below what `ratio` asks for: shares were above their target."""


@dataclass
class _State(Plain):
    losses: dict[str, _Loss] = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)
    """The last measurement, to tell a new one by."""
    proposed: dict[str, float] = field(default_factory=dict)
    """Factors so far; those of one that only monitors are not in force, and hold for what it says next."""
    step: int = 0
    fresh: bool = False


@AUTOMATIONS.register("DynamicLossScheduling")
class DynamicLossScheduling(Automation[_State]):
    """Multiplies loss weights so that shares of the gradient stay, or become, what they should be.

    Args:
        auto_calibrate: Set shares instead of holding them: the weight of a loss then *is* its share relative
            to the anchor, whatever the scale of its values.
        momentum: Of the running mean of measured ratios, 0 to 1.
        baseline_iterations: Steps after a loss is first seen in which the share to hold is measured, or in
            which a factor may still jump to the share to set.
        adaptation_threshold: Deviation of a share, as the logarithm of its ratio, that is tolerated.
        adaptation_rate: Fastest rise of a factor per step, as a logarithm; it falls at once, as a loss that takes
            over does harm.
        min_weight: Lowest factor.
        max_weight: Highest factor.
        facts: Of the run.
    """

    name = "DynamicLossScheduling"
    watches = "each loss's share of the gradient"

    def __init__(
        self,
        *,
        auto_calibrate: bool = False,
        momentum: float = 0.9,
        baseline_iterations: Count = 200,
        adaptation_threshold: Positive = 0.05,
        adaptation_rate: Positive = 0.01,
        min_weight: Positive = 1e-6,
        max_weight: Positive = 1e6,
        facts: RunFacts,
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in 0..1, 1 excluded (got {momentum:g})")
        if not 0 < min_weight <= 1 <= max_weight:
            raise ValueError("min_weight must lie in 0..1, max_weight at 1 or above")
        self._set_shares, self._momentum, self._baseline = auto_calibrate, momentum, baseline_iterations
        self._tolerance, self._rate = adaptation_threshold, adaptation_rate
        self._low, self._high = math.log(min_weight), math.log(max_weight)
        self._anchor = facts.anchor_loss
        self.state = _State()

    def observe(self, event: Event) -> None:
        """Take in a measurement; average afresh after changes elsewhere."""
        s = self.state
        match event:
            case WindowEvent():
                s.step = event.step
                on = {label: g for label, g in event.gradient_at_output.items() if label in event.losses}
                s.losses = {label: loss for label, loss in s.losses.items() if label in event.losses}
                news = any(s.seen.get(label) != gradient for label, gradient in on.items())
                s.seen = on
                if news:
                    self._measure(on, event.step)
            case ChangeEvent(control=control) if control in CHANGES:
                for loss in s.losses.values():
                    loss.measured, loss.made_up = 0, 0.0
            case _:
                pass

    def _measure(self, gradients: Mapping[str, float], step: int) -> None:
        s = self.state
        usable = {label: g for label, g in gradients.items() if math.isfinite(g) and g > 0}
        anchor = usable.pop(self._anchor, None)
        if anchor is None:
            return
        s.fresh = True
        for label, gradient in usable.items():
            ratio = math.log(gradient) - math.log(anchor)
            loss = s.losses.setdefault(label, _Loss(since=step))
            loss.at = step
            self._average(loss, ratio)
            if loss.target is None and not self._set_shares and step - loss.since >= self._baseline:
                loss.target = loss.ratio

    def _average(self, loss: _Loss, ratio: float) -> None:
        """Take a measurement into the running mean, which two in a row far to one side begin afresh.

        A discriminator that begins to learn changes its gradient tenfold within a hundred steps. The mean
        is that of the ratios, not of their logarithms: gradients add up.
        """
        off = ratio - loss.ratio
        far = max(LEAST_FAR, FAR * loss.scatter) if loss.measured > 1 else math.inf
        side = (off > far) - (off < -far)
        if loss.measured:
            keep = min(_KEPT, 1 - 1 / loss.measured)
            loss.scatter = keep * loss.scatter + (1 - keep) * abs(ratio - loss.last)
        if side and side == loss.side:
            loss.ratio, loss.measured = _mean(0.5, loss.last, ratio), 2
        else:
            loss.measured += 1
            loss.ratio = _mean(min(self._momentum, 1 - 1 / loss.measured), loss.ratio, ratio)
        loss.last, loss.side = ratio, side

    def decide(self, controls: Controls) -> Sequence[Decision]:
        """The factors that deviate by more than is tolerated, moved towards where they should be."""
        s = self.state
        fresh, s.fresh = s.fresh, False
        factors = s.proposed | controls.loss_factor
        new: dict[str, float] = {}
        for label, loss in s.losses.items():
            old = math.log(factors.get(label, 1.0))
            inside = self._bounded(old)
            if fresh and loss.at == s.step:  # else its last measurement has been answered
                inside = self._moved(loss, old)
            if abs(inside - old) > 1e-9:
                new[label] = math.exp(inside)
        if not new:
            return ()
        s.proposed |= new
        return [self._decision(new, factors)]

    def fallback(self, controls: Controls) -> Sequence[Decision]:
        """The factors stay as they are: a sudden change would be a worse fault."""
        return ()

    def _moved(self, loss: _Loss, old: float) -> float:
        """The logarithm of a factor after this measurement."""
        target = 0.0 if self._set_shares else loss.target
        if target is None:
            return self._bounded(old)
        if loss.measured > 1:  # a mean lags behind a drift for as long as it lasts
            off = math.expm1(min(MOST_AT_ONCE, old + loss.last - target))
            loss.made_up += GAIN * off
            loss.made_up = min(MOST_MADE_UP, max(-MOST_MADE_UP, loss.made_up))
        wanted = self._bounded(target - loss.ratio - loss.made_up)
        if abs(wanted - old) <= self._tolerance:
            return self._bounded(old)
        calibrating = self._set_shares and self.state.step - loss.since < self._baseline
        return wanted if calibrating else min(wanted, old + self._rate * MEASURE_EVERY)

    def _bounded(self, factor: float) -> float:
        """The logarithm of a factor within `min_weight` and `max_weight`."""
        return min(self._high, max(self._low, factor))

    def _decision(self, new: Mapping[str, float], factors: Mapping[str, float]) -> SetLossFactors:
        worst = max(new, key=lambda label: abs(math.log(new[label] / factors.get(label, 1.0))))
        loss, old = self.state.losses[worst], factors.get(worst, 1.0)
        held = "set" if self._set_shares else "held"
        changes = ", ".join(f"{label} {factors.get(label, 1.0):.4g} -> {f:.4g}" for label, f in new.items())
        off = math.log(old) + loss.ratio + loss.made_up - (loss.target or 0.0)
        included = ", what it was off before included" if loss.made_up else ""
        why = f"gradient share of {worst} off the {held} one by a factor {math.exp(off):.3g}{included}"
        return SetLossFactors(
            factors=dict(new),
            reason=f"{why} ({changes})",
            statistic=abs(off),
            limit=self._tolerance,
        )


def _mean(keep: float, one: float, other: float) -> float:
    """Logarithm of the weighted mean of two numbers that are given by theirs."""
    high = max(one, other)
    return high + math.log(keep * math.exp(one - high) + (1 - keep) * math.exp(other - high))


def gradient_shares(
    gradients: Mapping[str, float], weights: Mapping[str, float], factors: Mapping[str, float]
) -> dict[str, float]:
    """Share of each loss in the gradient at the output, 0 to 1, from unweighted norms."""
    parts = {
        label: g * abs(weights.get(label, 1.0)) * factors.get(label, 1.0) for label, g in gradients.items()
    }
    total = math.fsum(parts.values())
    return {label: part / total if total > 0 else 0.0 for label, part in parts.items()}
