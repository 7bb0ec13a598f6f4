"""GradientFlowStabilizer: watches the flow of gradients, and acts only in an emergency.

It owns the extra loss scale alone; for anything else it asks the owner by a request. Its numbers feed the
health log, and what a calm run has shown is offered as a pattern for later runs.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from traiNNer.automations import AUTOMATIONS, Automation, Supervisor
from traiNNer.automations.gradients.flow_report import FlowHistory, FlowReport, Mark, report_on
from traiNNer.automations.gradients.norm_patterns import Pattern, pattern_key, prior_threshold, read_pattern
from traiNNer.automations.loss_trend import FACTOR_DRIFT, LossTrend, drift
from traiNNer.automations.statistics import fit_line, trimmed_mean
from traiNNer.control import Controls, Decision, Plain, Request, SetLossScale, to_plain
from traiNNer.events import ChangeEvent, Event, RunFacts, WindowEvent

_log = logging.getLogger(__name__)

EXPLOSION = 3.0  # times the threshold, or what is usual where that is more
VANISHED = 1e-7  # norm below which Adam's epsilon rules
VANISHING = 1e-3  # of the median, for VANISHING_STEPS in a row
VANISHING_STEPS = 50
IN_A_ROW = 5  # explosions that make an emergency
COOL_OFF = 100  # steps without a second emergency
SETTLING = 20  # steps after a change elsewhere in which large norms are no explosions
REVIEW_EVERY = 100  # steps between lines on explosions
TREND_EVERY = 500  # steps
SCALE_RANGE = (0.1, 64.0)
_LEVELS = 50  # windows
_ENDLESS = 1e30  # for what is not finite, in states that JSON holds
CHANGES = {"lr_factor", "batch", "lq_size", "losses"}


@dataclass
class _State(Plain):
    step: int = 0
    networks: dict[str, FlowHistory] = field(default_factory=dict)
    fresh: dict[str, list[float]] = field(default_factory=dict)
    """Norms that arrived since the last decision."""
    exploding: dict[str, int] = field(default_factory=dict)
    """Explosions in a row, per network."""
    small: dict[str, int] = field(default_factory=dict)
    """Steps in a row far below the median."""
    quiet_until: int = 0
    """Step up to which there is no second emergency."""
    settled_from: int = 0
    loudest: float = 0.0
    """Largest explosion since the last line on explosions, in units of the threshold; 0: none."""
    loudest_norm: float = 0.0
    reviewed: int = 0
    trend_at: int = 0
    scales: list[float] = field(default_factory=list)
    """History of the loss scale."""
    interventions: int = 0
    update_ratio: float | None = None
    trend: LossTrend = field(default_factory=LossTrend)
    """Levels of the total loss, by which an explosion is told from a network that wakes up."""
    factors: dict[str, float] = field(default_factory=dict)
    """Loss factors when the run last had to settle for them."""
    said: bool = False
    asked: bool = False
    """Whether there was an emergency, so that nobody to answer has been told."""


@AUTOMATIONS.register("GradientFlowStabilizer")
class GradientFlowStabilizer(Automation[_State]):
    """Counts explosions and vanishing gradients of each network and steps in when they pile up.

    Args:
        dynamic_loss_scale: Change the loss scale; None: in fp16 only, elsewhere it changes nothing.
        pattern_store: Where the program keeps patterns of runs; None: `pattern` offers nothing.
        unanswered: Controls that nobody changes on request, with the automation that would; from the program.
        facts: Of the run.
    """

    name = "GradientFlowStabilizer"
    watches = "exploding and vanishing gradients"

    def __init__(
        self,
        *,
        dynamic_loss_scale: bool | None = None,
        pattern_store: str | None = None,
        unanswered: Mapping[str, str] | None = None,
        facts: RunFacts,
    ) -> None:
        self._unanswered = dict(unanswered or {})
        self.pattern_store = pattern_store
        self._fp16 = facts.precision == "fp16"
        self._scaling = self._fp16 if dynamic_loss_scale is None else dynamic_loss_scale
        self._learning = pattern_store is not None and not facts.deterministic
        self._facts = facts
        self._stored = read_pattern(facts)
        self.state = _State()

    def observe(self, event: Event) -> None:
        """Collect norms; give the run time to settle after a change elsewhere."""
        match event:
            case WindowEvent():
                self._introduce()
                self.state.step = event.step
                if event.update_ratio is not None:  # measured every 50 windows
                    self.state.update_ratio = event.update_ratio
                self.state.fresh = {net: list(norms) for net, norms in event.grad_norm.items()}
                logs = [math.log(value) for value in event.total if math.isfinite(value) and value > 0]
                if logs:
                    self.state.trend.add(trimmed_mean(logs), keep=_LEVELS)
            case ChangeEvent(control=control) if control in CHANGES:
                self._settle(event.step)
            case _:
                pass

    def decide(self, controls: Controls) -> Sequence[Decision]:
        """A change of the loss scale, or the requests of an emergency."""
        if drift(self.state.factors, controls.loss_factor) > FACTOR_DRIFT:
            self.state.factors = dict(controls.loss_factor)
            self._settle(self.state.step)
        fresh, self.state.fresh = self.state.fresh, {}
        if not fresh:
            return ()
        marks: dict[str, list[Mark]] = {"g": []}
        emergency = ""
        for net, norms in fresh.items():
            clip = controls.clip.get(net)
            threshold = clip.threshold if clip else self._prior(net)
            history = self.state.networks.setdefault(net, FlowHistory())
            history.note_threshold(threshold)
            guessed = clip is not None and clip.target == threshold
            ordinary = self._ordinary(threshold, history, guessed=guessed)
            for norm in norms:
                mark = self._mark(net, norm, threshold, ordinary)
                marks.setdefault(net, []).append(mark)
                history.add(norm, mark)
                if self._is_emergency(net, hurt=not math.isfinite(norm) or self.state.trend.risen):
                    emergency = net
            history.end_window(norms)
            if trouble := history.new_trouble():
                _log.warning("%s: gradients of %s are %s", self.name, net, trouble)
        self._review(fresh)
        if emergency:
            return self._step_in(emergency, controls)
        return self._rescale(marks["g"], controls)

    def fallback(self, controls: Controls) -> Sequence[Decision]:
        """The loss as it is."""
        return [self._scale_to(1.0, controls, "fallback")] if controls.loss_scale != 1.0 else []

    def report(self, network: str = "g") -> FlowReport:
        """How the gradients of one network flow, over at most the last 1000 steps."""
        s = self.state
        history = s.networks.get(network, FlowHistory())
        return report_on(
            history, update_ratio=s.update_ratio, interventions=s.interventions, loss_scales=s.scales
        )

    def pattern(self) -> dict[str, Any] | None:
        """What later runs of the same kind may start from; None unless asked for and the run is calm.

        Meant to be asked for every 1000 steps: at least 500 stable steps, a stability score above 0.8 and
        fewer than 10 explosions among the last 1000 are needed, of every network.
        """
        networks = {net: p for net, h in self.state.networks.items() if (p := h.pattern()) is not None}
        if not self._learning or not networks or len(networks) < len(self.state.networks):
            return None
        return to_plain(Pattern(pattern_key(self._facts), networks))

    # --- rules ---------------------------------------------------------------------------------------------

    def _settle(self, step: int) -> None:
        """After a change elsewhere."""
        s = self.state
        s.settled_from, s.trend = step + SETTLING, LossTrend()
        s.exploding.clear()
        s.small.clear()

    def _ordinary(self, threshold: float, history: FlowHistory, *, guessed: bool) -> float:
        """The norm up to which a gradient is ordinary: the threshold, where that follows from the norms.

        A bound of the configuration may hold it far below them, and before calibration nothing is known of the
        scale of the loss.
        """
        if history.median > threshold:
            return history.usual
        return math.inf if guessed and not history.median else threshold

    def _mark(self, net: str, norm: float, threshold: float, ordinary: float) -> Mark:
        s = self.state
        if not math.isfinite(norm) and self._fp16:
            return Mark.NOT_FINITE  # the gradient scaler trying its limits
        exploding = not norm <= EXPLOSION * ordinary and s.step > s.settled_from
        s.exploding[net] = s.exploding.get(net, 0) + 1 if exploding else 0
        if exploding:
            ratio = norm / ordinary if math.isfinite(norm) else math.inf
            if ratio > s.loudest:
                s.loudest, s.loudest_norm = (ratio, norm) if math.isfinite(ratio) else (_ENDLESS, _ENDLESS)
            return Mark.EXPLODING if math.isfinite(norm) else Mark.NOT_FINITE
        if not math.isfinite(norm):
            return Mark.NOT_FINITE
        s.small[net] = s.small.get(net, 0) + 1 if norm < VANISHING * s.networks[net].median else 0
        if norm < VANISHED or s.small[net] >= VANISHING_STEPS:
            return Mark.VANISHING
        return Mark.CLIPPED if norm > threshold else Mark.FINE

    def _is_emergency(self, net: str, *, hurt: bool) -> bool:
        """Whether explosions have piled up and the loss shows it: one that falls on wants no help."""
        s = self.state
        if s.exploding.get(net, 0) < IN_A_ROW or s.step <= s.quiet_until or not hurt:
            return False
        s.exploding[net] = 0
        s.quiet_until = s.step + COOL_OFF
        return True

    def _step_in(self, net: str, controls: Controls) -> list[Decision]:
        if not self.state.asked:
            for control, owner in self._unanswered.items():
                _log.warning(
                    "%s: asks to change %s, which %s, not acting, would do", self.name, control, owner
                )
        self.state.asked = True
        self.state.interventions += 1
        why = f"{IN_A_ROW} consecutive gradient explosions of network {net} at iteration {self.state.step}"
        decisions: list[Decision] = [
            _ask("clip", f"emergency: {why}", "CRITICAL", network=net),
            _ask("lr_factor", f"emergency: {why}", "WARNING"),  # one factor for all networks
        ]
        if self._scaling and net == "g" and controls.loss_scale > SCALE_RANGE[0]:
            decisions.append(self._scale_to(max(SCALE_RANGE[0], 0.1 * controls.loss_scale), controls, why))
        return decisions

    def _rescale(self, marks: Sequence[Mark], controls: Controls) -> list[Decision]:
        if not self._scaling:
            return []
        old = controls.loss_scale
        if Mark.EXPLODING in marks and old > SCALE_RANGE[0]:
            return [self._scale_to(max(SCALE_RANGE[0], 0.8 * old), controls, "gradient explosion")]
        if Mark.VANISHING in marks and old < SCALE_RANGE[1]:
            return [self._scale_to(min(SCALE_RANGE[1], 1.5 * old), controls, "vanishing gradients")]
        return []

    def _scale_to(self, scale: float, controls: Controls, why: str) -> SetLossScale:
        self.state.scales = [*self.state.scales, scale][-100:]
        self.state.interventions += 1
        return SetLossScale(scale=scale, reason=why)

    # --- what is said --------------------------------------------------------------------------------------

    def _introduce(self) -> None:
        if self.state.said:
            return
        self.state.said = True
        if not self._scaling:
            _log.info("%s: dynamic loss scale neutral in %s", self.name, self._facts.precision)
        for net, pattern in self._stored.items():
            numbers = (net, pattern.threshold, pattern.median, pattern.p99)
            _log.info(
                "%s: learned pattern for %s: threshold %.4g, median %.4g, p99 %.4g", self.name, *numbers
            )

    def _review(self, fresh: dict[str, list[float]]) -> None:
        s = self.state
        if s.loudest > 0 and (s.step - s.reviewed >= REVIEW_EVERY or s.reviewed == 0):
            norm, threshold = f"{s.loudest_norm:.4g}", f", threshold {s.loudest_norm / s.loudest:.4g}"
            said = "a norm that is not finite" if s.loudest >= _ENDLESS else f"norm {norm}{threshold}"
            _log.error("%s: gradient explosion by step %d: %s", self.name, s.step, said)
            s.reviewed, s.loudest = s.step, 0.0
        if s.step - s.trend_at < TREND_EVERY:
            return
        s.trend_at = s.step
        for net in fresh:
            logs = s.networks[net].logs[-TREND_EVERY:]
            if len(logs) < TREND_EVERY // 2:
                continue
            line = fit_line(logs)
            if line.slope * TREND_EVERY > math.log(2) and line.slope > 3 * line.se:
                times = math.exp(line.slope * TREND_EVERY)
                text = f"%s: gradient norm of %s grew %.1fx in {TREND_EVERY} steps"
                _log.warning(text, self.name, net, times)

    def _prior(self, net: str) -> float:
        return prior_threshold(self._facts.learning_rates[net], self._stored.get(net))


def _ask(control: str, why: str, level: Literal["WARNING", "CRITICAL"], *, network: str = "") -> Request:
    return Request(control=control, factor=0.5, network=network, reason=why, counts=False, level=level)


def flow_reports(supervisor: Supervisor) -> dict[str, FlowReport]:
    """How the gradients of each network flow, as far as the stabilizer has seen them."""
    stabilizer = supervisor.automations.get(GradientFlowStabilizer.name)
    if not isinstance(stabilizer, GradientFlowStabilizer):
        return {}
    return {net: stabilizer.report(net) for net in stabilizer.state.networks}
