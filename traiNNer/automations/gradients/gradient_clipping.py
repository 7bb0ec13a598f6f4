"""AdaptiveGradientClipping: limits for gradient norms that follow what is usual for this run.

Norms are roughly log-normal, so everything is computed on their logarithm: multiplying the loss by a constant
shifts it and changes nothing else. An outlier gets the length of an ordinary gradient, not the longest one
allowed; one far out is skipped. The promise is insurance against bad batches, not speed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import NamedTuple

from traiNNer.automations import AUTOMATIONS, Automation, Count, Positive
from traiNNer.automations.gradients.clipping_state import ClipFallback, ClippingState, NetworkClipping
from traiNNer.automations.gradients.gradient_norms import CALIBRATION, Tally, plain_clip
from traiNNer.automations.gradients.norm_patterns import prior_threshold, read_pattern
from traiNNer.automations.loss_trend import FACTOR_DRIFT, drift
from traiNNer.control import Clip, Controls, Decision, SetClip
from traiNNer.events import ChangeEvent, Event, RequestEvent, RunFacts, WindowEvent

_log = logging.getLogger(__name__)

ON_FAULT = ClipFallback()
CLIP_RATE = 0.1  # share of clipped steps in a review above which the threshold rises
REPORT_EVERY = 1000  # steps
_ANNOUNCED = "auto-calibrating parameters based on detected architecture"
_CALIBRATED = "Detected %s architecture. Threshold: %.4f, Monitoring freq: %d"
_PERFORMED = "Avg gradient: %.6f, Threshold: %.4f, Clipping rate: %.3f%%, Auto-adjusted: %dx"
_OUTSIDE = "the typical gradient norm, %.4g, lies outside min_threshold..max_threshold (%g..%g): %s"
_BURST = 100  # steps after norms raised the threshold in which an emergency takes that for a burst
CHANGES = {"lr_factor", "batch", "lq_size", "losses"}


class _Proposal(NamedTuple):
    clip: Clip
    why: str
    statistic: float | None = None
    limit: float | None = None
    counts: bool = False


@AUTOMATIONS.register("AdaptiveGradientClipping")
class AdaptiveGradientClipping(Automation[ClippingState]):
    """Clips outliers of the gradient norm and skips what lies far outside, for each network by itself.

    Args:
        initial_threshold: Before the first 20 steps are known; None: a stored pattern or 0.1 / sqrt(rate).
        min_threshold: Lowest threshold; None: no bound, since usual norms differ by orders of magnitude.
        max_threshold: Highest threshold.
        adjustment_factor: The threshold moves by at most this factor per review.
        monitoring_frequency: Steps between reviews; None: 75 or 50, by the class of the architecture.
        gradient_history_size: Steps over which statistics fade.
        fallback: What remains if the automation fails.
        ceiling: `train.grad_clip_max_norm`, above which no threshold may lie; from the program.
        monitors: Whether it only monitors, so that what it has proposed is not in force; from the program.
        facts: Of the run.
    """

    name = "AdaptiveGradientClipping"
    watches = "gradient norms, step by step"

    def __init__(
        self,
        *,
        initial_threshold: Positive | None = None,
        min_threshold: Positive | None = None,
        max_threshold: Positive | None = None,
        adjustment_factor: Positive = 1.2,
        monitoring_frequency: Count | None = None,
        gradient_history_size: Count = 100,
        fallback: ClipFallback = ON_FAULT,
        ceiling: float | None = None,
        monitors: bool = False,
        facts: RunFacts,
    ) -> None:
        if adjustment_factor <= 1:
            raise ValueError(f"adjustment_factor must be above 1 (got {adjustment_factor:g})")
        if min_threshold is not None and max_threshold is not None and min_threshold > max_threshold:
            raise ValueError(f"min_threshold {min_threshold:g} lies above max_threshold {max_threshold:g}")
        self._min, self._max = min_threshold or 0.0, max_threshold or math.inf
        self._ceiling = ceiling or math.inf
        self._reach = math.log(adjustment_factor)
        self._every, self._memory = monitoring_frequency, max(2, gradient_history_size)
        self._fallback, self._monitors = fallback, monitors
        stored = read_pattern(facts)
        self._prior = {
            net: initial_threshold or prior_threshold(rate, stored.get(net))
            for net, rate in facts.learning_rates.items()
        }
        self.state = ClippingState()

    def prior(self) -> dict[str, Clip]:
        """The limits to begin with, before any step: nothing is skipped that is finite."""
        return {net: plain_clip(self._bounded(threshold)) for net, threshold in self._prior.items()}

    @property
    def learned(self) -> list[str]:
        """The networks whose limits follow from norms that were seen, and no more from the prior."""
        return [net for net, of in self.state.networks.items() if of.norms.complex is not None]

    def observe(self, event: Event) -> None:
        """Collect norms; shorten the memory after a change elsewhere; note requests."""
        match event:
            case WindowEvent():
                self._announce()
                self.state.step = event.step
                for net, norms in event.grad_norm.items():
                    self.state.networks.setdefault(net, NetworkClipping()).fresh += norms
            case ChangeEvent(control=control) if control in CHANGES:
                self._forget()
            case RequestEvent(control="clip"):
                self.state.requested = event
            case _:
                pass

    def decide(self, controls: Controls) -> Sequence[Decision]:
        """New limits for each network whose statistics ask for them."""
        requested, self.state.requested = self.state.requested, None
        if drift(self.state.factors, controls.loss_factor) > FACTOR_DRIFT:
            self.state.factors = dict(controls.loss_factor)
            self._forget()
        decisions: list[Decision] = []
        for net, network in self.state.networks.items():
            known = network.proposed if self._monitors else None  # beside a fixed threshold of the options
            in_force = known or controls.clip.get(net) or network.proposed
            proposal = None
            self._confirm(network, controls.clip.get(net))
            if in_force is None:
                in_force = plain_clip(self._bounded(self._prior.get(net, math.inf)))
                proposal = _Proposal(in_force, "nothing is known yet (prior)")
            elif requested is not None and requested.network in ("", net):
                proposal = self._comply(network, in_force, requested.factor)
            proposal = self._take_in(network, in_force) or proposal
            network.fresh = []
            if proposal is not None:
                network.proposed, network.review = proposal.clip, Tally()
                decisions.append(_decision(net, in_force, proposal))
        return decisions

    def fallback(self, controls: Controls) -> Sequence[Decision]:
        """Plain clipping at the given threshold, or at the last one; nothing finite is skipped for ever."""
        given = self._fallback.threshold
        last = {net: plain_clip(given or clip.threshold) for net, clip in controls.clip.items()}
        return [_decision(net, controls.clip[net], _Proposal(last[net], "fallback")) for net in last]

    # --- rules ---------------------------------------------------------------------------------------------

    def _take_in(self, network: NetworkClipping, in_force: Clip) -> _Proposal | None:
        """Update the statistics of a network by its fresh norms; what follows from them."""
        if not network.fresh:
            return None
        for norm in network.fresh:
            network.review.add(norm, in_force.threshold)
            network.report.add(norm, in_force.threshold)
        finite = [norm for norm in network.fresh if math.isfinite(norm) and norm > 0]
        norms = network.norms
        if norms.complex is None:
            return self._calibration(network) if norms.calibrate(finite, self._memory) else None
        before = norms.typical
        if norms.follow(finite, self._memory):
            self._note_burst(network, in_force)
            why = f"regime change (typical grad norm {before:.4g} -> {norms.typical:.4g})"
            return _Proposal(norms.clip(self._bounded(norms.usual)), why, norms.typical, before)
        self._report(network, in_force)
        return self._rise(network, in_force) or self._review(network, in_force)

    def _rise(self, network: NetworkClipping, in_force: Clip) -> _Proposal | None:
        """Norms that grow steadily are followed at once: clipped, they would only be slower."""
        before = network.norms.typical
        expected = network.norms.rise(in_force.threshold)
        if expected is None or self._bounded(expected) <= in_force.threshold:
            return None
        self._note_burst(network, in_force)
        why = f"a rise (typical grad norm {before:.4g} -> {network.norms.typical:.4g})"
        clip = network.norms.clip(self._bounded(expected))
        return _Proposal(clip, why, network.norms.typical, before)

    def _calibration(self, network: NetworkClipping) -> _Proposal:
        clip = network.norms.clip(self._bounded(network.norms.usual))
        kind = "complex" if network.norms.complex else "simple"
        numbers = (kind, clip.threshold, self._period(network))
        _log.info("%s: Auto-calibration complete. " + _CALIBRATED, self.name, *numbers)
        return _Proposal(clip, f"calibration on the first {CALIBRATION} steps ({kind} architecture)")

    def _review(self, network: NetworkClipping, in_force: Clip) -> _Proposal | None:
        """Every so often, and at once when the threshold lies outside its bounds."""
        threshold, tally = in_force.threshold, network.review
        inside = self._bounded(threshold)
        if inside == threshold and tally.steps < self._period(network):
            return None
        network.review = Tally()
        self._warn_of_bounds(network)
        wanted = self._bounded(network.norms.usual)
        off, slack = math.log(wanted / threshold), 0.5 * network.norms.deviation
        statistic, limit = wanted, threshold
        if inside != threshold:
            move, why = 0.0, "the bounds of the configuration"
        elif tally.rate > CLIP_RATE:
            move, why = self._reach, f"clipping rate {tally.rate:.1%} above {CLIP_RATE:.0%}"
            statistic, limit = tally.rate, CLIP_RATE
        elif off > slack:
            move, why = min(off, self._reach), f"the spread of norms (mean + 3 deviations: {wanted:.4g})"
        elif -off > (slack if tally.mean < threshold / 5 else max(slack, self._reach)):
            move, why = max(off, -self._reach), f"low gradients (average norm {tally.mean:.4g})"
        else:
            return None
        new = self._bounded(threshold * math.exp(move))
        if abs(math.log(new / threshold)) < 1e-3:
            return None
        network.awaited = (threshold, new, tally.mean)
        return _Proposal(network.norms.clip(new), why, statistic, limit, counts=True)

    def _comply(self, network: NetworkClipping, in_force: Clip, factor: float) -> _Proposal:
        """What another automation asks for, from the threshold before a burst that has just raised it."""
        base = in_force.threshold
        if network.before_regime is not None and self.state.step - network.regime_step <= _BURST:
            base = min(base, network.before_regime)
        threshold = self._bounded(base * factor)
        clip = Clip(threshold, min(in_force.target, threshold), max(in_force.skip_above, threshold))
        return _Proposal(clip, f"a request (factor {factor:g})")

    def _note_burst(self, network: NetworkClipping, in_force: Clip) -> None:
        """Remember the threshold that norms are about to raise, the earliest of the last steps."""
        if network.before_regime is None or self.state.step - network.regime_step > _BURST:
            network.before_regime, network.regime_step = in_force.threshold, self.state.step

    # --- numbers -------------------------------------------------------------------------------------------

    def _bounded(self, threshold: float) -> float:
        return min(self._ceiling, self._max, max(self._min, threshold))

    def _period(self, network: NetworkClipping) -> int:
        return self._every or (75 if network.norms.complex else 50)

    # --- what is said --------------------------------------------------------------------------------------

    def _announce(self) -> None:
        if not self.state.announced:
            _log.info("%s: Autonomous mode enabled - " + _ANNOUNCED, self.name)
        self.state.announced = True

    def _confirm(self, network: NetworkClipping, in_force: Clip | None) -> None:
        """Say that a review has moved the threshold, once it has: what is frozen or only monitors does not."""
        numbers, network.awaited = network.awaited, None
        if numbers and in_force and in_force.threshold == numbers[1]:
            network.adjustments += 1
            _log.info("%s: Autonomous adjustment from %.4f to %.4f (grad norm: %.6f)", self.name, *numbers)

    def _forget(self) -> None:
        for network in self.state.networks.values():
            network.norms.forget()

    def _report(self, network: NetworkClipping, in_force: Clip) -> None:
        if network.report.steps < REPORT_EVERY:
            return
        tally, network.report = network.report, Tally()
        numbers = (tally.mean, in_force.threshold, 100 * tally.rate, network.adjustments)
        _log.info(
            "%s: Autonomous performance (iter %d) - " + _PERFORMED, self.name, self.state.step, *numbers
        )

    def _warn_of_bounds(self, network: NetworkClipping) -> None:
        typical = network.norms.typical
        if network.warned or self._min <= typical <= self._max:
            return
        network.warned = True
        effect = "every step is clipped" if typical > self._max else "small outliers pass unnoticed"
        _log.warning("%s: " + _OUTSIDE, self.name, typical, self._min, self._max, effect)


def _decision(net: str, old: Clip, proposal: _Proposal) -> SetClip:
    new = proposal.clip
    return SetClip(
        network=net,
        clip=new,
        old=old.threshold,
        reason=f"{proposal.why}; target {new.target:.4g}, skipped above {new.skip_above:.4g}",
        statistic=proposal.statistic,
        limit=proposal.limit,
        counts=proposal.counts,
    )
