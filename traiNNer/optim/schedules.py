"""Learning-rate schedules: pure functions of how far a run has come.

A schedule maps a step to a factor on the peak rate. The step is a float, in updates at the configured batch,
so that it stays meaningful when the batch size changes; nothing is stored in a checkpoint. The exception is
`ReduceLROnPlateau`: it follows the scores of validations and has a state.

Rates in a configuration (`eta_min`, `min_lr`) are absolute; `base_lr` and `total_iter` come from the program:
`SCHEDULES.build({"type": "CosineAnnealingLR", "eta_min": 1e-6}, base_lr=2e-4, total_iter=500_000)`.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from traiNNer.control import Plain
from traiNNer.registry import ConfigError, Registry
from traiNNer.wording import counted


class Schedule(Protocol):
    """A learning rate over a run, as a factor on its peak."""

    def __call__(self, step: float) -> float:
        """The factor for the update after `step` updates, 0 to 1."""
        ...


SCHEDULES: Registry[Schedule] = Registry("schedule", package="traiNNer.optim")

_ROUNDING = 1e-6  # a step computed from samples may lie this little below the whole number it means


def warmup(step: float, warmup_iter: int) -> float:
    """A factor that rises linearly from 1 / warmup_iter at step 0 to 1 at step warmup_iter - 1.

    1 throughout where `warmup_iter` is not positive.
    """
    return min(1.0, (step + 1) / warmup_iter) if warmup_iter > 0 else 1.0


def floor_share(name: str, rate: float, base_lr: float) -> float:
    """An absolute rate as a factor on the peak, 0 to 1."""
    if not 0 <= rate <= base_lr:
        raise ConfigError(
            f"schedule: {name} must lie between 0 and the learning rate {base_lr:g} (got {rate:g})"
        )
    return rate / base_lr


def cosine_share(share: float) -> float:
    """Half a wave, from 1 at share 0 to 0 at share 1."""
    return (1 + math.cos(math.pi * share)) / 2


@SCHEDULES.register("constant")
def constant(*, base_lr: float, total_iter: int) -> Schedule:
    """The peak rate throughout."""
    return lambda step: 1.0


@SCHEDULES.register("MultiStepLR", "MultiStepRestartLR", "multistep")
def multi_step(*, milestones: Sequence[int], gamma: float = 0.1, base_lr: float, total_iter: int) -> Schedule:
    """Multiplied by `gamma` at each milestone, a step; a milestone named twice counts twice.

    Args:
        milestones: Steps.
        gamma: Factor at each, above 0, up to 1.
    """
    if not 0 < gamma <= 1:
        raise ConfigError(f"schedule: gamma must lie between 0 and 1 (got {gamma:g})")
    ordered = sorted(milestones)
    return lambda step: gamma ** bisect.bisect_right(ordered, step + _ROUNDING)


@SCHEDULES.register("CosineAnnealingLR", "cosine", "CosineAnnealing", "TrueCosineAnnealingLR")
def cosine(*, T_max: int | None = None, eta_min: float = 0.0, base_lr: float, total_iter: int) -> Schedule:
    """Half a cosine from the peak to `eta_min` over `T_max` steps, by default the whole run.

    Loshchilov and Hutter 2017, SGDR, equation 5 without restarts. After `T_max` it rises again, as in torch.

    Args:
        T_max: Steps from the peak to the lowest rate; None: the whole run.
        eta_min: Lowest rate, absolute.
    """
    length = total_iter if T_max is None else T_max
    if length < 1:
        raise ConfigError(f"schedule: T_max must be at least 1 (got {length})")
    low = floor_share("eta_min", eta_min, base_lr)
    return lambda step: low + (1 - low) * cosine_share(step / length)


@SCHEDULES.register("CosineAnnealingRestartLR", "CosineAnnealingRestartCyclicLR")
def cosine_restart(
    *,
    periods: Sequence[int],
    restart_weights: Sequence[float] | None = None,
    eta_min: float = 0.0,
    eta_mins: Sequence[float] | None = None,
    base_lr: float,
    total_iter: int,
) -> Schedule:
    """Half a cosine in each of `periods` (steps), from `restart_weights` of the peak to the lowest rate.

    As in BasicSR: the lowest rate is reached at the step that ends a period, and the next step belongs to the
    next one. `eta_mins` gives each period a lowest rate of its own. After the last period the rate stays low.

    Args:
        periods: Steps of each.
        restart_weights: Share of the peak at which each begins, 0 to 1; None: 1 for all.
        eta_min: Lowest rate, absolute.
        eta_mins: Lowest rate of each, instead.
    """
    if not periods or min(periods) < 1:
        raise ConfigError(f"schedule: periods must be at least 1 step each (got {list(periods)})")
    weights = [1.0] * len(periods) if restart_weights is None else restart_weights
    lows = [eta_min] * len(periods) if eta_mins is None else eta_mins
    needed = counted(len(periods), "period needs", "periods need")
    for name, values in (("restart_weights", weights), ("eta_mins", lows)):
        if len(values) != len(periods):
            raise ConfigError(f"schedule: {needed} as many {name} (got {len(values)})")
    if not all(0 <= weight <= 1 for weight in weights):
        raise ConfigError(f"schedule: restart_weights must lie between 0 and 1 (got {list(weights)})")
    floors = [floor_share("eta_min", low, base_lr) for low in lows]
    ends = list(itertools.accumulate(periods))

    def factor(step: float) -> float:
        i = min(bisect.bisect_left(ends, step - _ROUNDING), len(periods) - 1)
        share = min(1.0, (step - ends[i]) / periods[i] + 1)
        return floors[i] + weights[i] * (1 - floors[i]) * cosine_share(share)

    return factor


@SCHEDULES.register("LinearLR", "linear")
def linear(
    *,
    start_factor: float = 1.0,
    end_factor: float = 0.0,
    total_iters: int | None = None,
    base_lr: float,
    total_iter: int,
) -> Schedule:
    """A line between two factors over `total_iters` steps, by default from the peak to 0 over the run.

    Args:
        start_factor: Share of the peak at the start, 0 to 1.
        end_factor: Share of the peak at the end, 0 to 1.
        total_iters: Steps between them; None: the whole run.
    """
    if not (0 <= start_factor <= 1 and 0 <= end_factor <= 1):
        raise ConfigError(
            f"schedule: factors must lie between 0 and 1 (got {start_factor:g}, {end_factor:g})"
        )
    length = total_iter if total_iters is None else total_iters
    if length < 1:
        raise ConfigError(f"schedule: total_iters must be at least 1 (got {length})")
    return lambda step: start_factor + (end_factor - start_factor) * min(1.0, step / length)


@SCHEDULES.register("WSD", "WarmupStableDecay")
def warmup_stable_decay(
    *,
    decay_share: float = 0.2,
    shape: Literal["linear", "sqrt", "cosine"] = "sqrt",
    eta_min: float = 0.0,
    base_lr: float,
    total_iter: int,
) -> Schedule:
    """The peak rate, then a decay to `eta_min` over the last `decay_share` of the run.

    Hu et al. 2024, MiniCPM; the warm-up is that of `warmup_iter`. The shapes fall as 1 - x, 1 - sqrt(x) (best
    for Haegele et al. 2024) and half a cosine, x being the share of the decay that is done.

    Args:
        decay_share: Share of the run that the decay takes, above 0, up to 1.
        shape: Of the decay.
        eta_min: Lowest rate, absolute.
    """
    if not 0 < decay_share <= 1:
        raise ConfigError(f"schedule: decay_share must lie above 0, up to 1 (got {decay_share:g})")
    low = floor_share("eta_min", eta_min, base_lr)
    length = decay_share * total_iter
    start = total_iter - length
    falls = {"linear": lambda x: 1 - x, "sqrt": lambda x: 1 - math.sqrt(x), "cosine": cosine_share}
    fall = falls[shape]
    return lambda step: low + (1 - low) * fall(min(1.0, max(0.0, (step - start) / length)))


@SCHEDULES.register("ReduceLROnPlateau", "plateau")
class ReduceLROnPlateau:
    """The rate is multiplied by `factor` when a validation metric has stopped improving.

    Counts validations, not steps. After more than `patience` validations in a row without an improvement of
    `threshold`, the rate falls, and the next `cooldown` validations do not count. As torch's class of that
    name; its `mode` follows from the metric. A score that is not a number is no improvement.
    """

    @dataclass
    class State(Plain):
        """What scores have led to so far."""

        factor: float = 1.0
        """On the peak rate."""
        best: float | None = None
        bad: int = 0
        """Validations in a row without improvement."""
        cooling: int = 0
        """Validations still to pass before the next are counted."""

    def __init__(
        self,
        *,
        factor: float = 0.5,
        patience: int = 3,
        cooldown: int = 1,
        monitor: str | None = None,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        min_lr: float = 0.0,
        base_lr: float,
        total_iter: int,
    ) -> None:
        """Settings as torch names them.

        Args:
            factor: What the rate is multiplied by, between 0 and 1.
            patience: Validations in a row that may bring no improvement.
            cooldown: Validations after a cut that are not counted.
            monitor: Name of the metric to follow; None: the first.
            threshold: Smallest improvement, a share of the best score or, with mode `abs`, a difference.
            threshold_mode: `rel` or `abs`.
            min_lr: Lowest rate.
            base_lr: Peak rate, which the factors relate to.
            total_iter: Length of the run; a plateau has no use for it.
        """
        if not 0 < factor < 1:
            raise ConfigError(f"schedule: factor must lie between 0 and 1 (got {factor:g})")
        self.monitor = monitor
        self.state = self.State()
        self._factor = factor
        self._patience = patience
        self._cooldown = cooldown
        self._threshold = threshold
        self._relative = threshold_mode == "rel"
        self._floor = floor_share("min_lr", min_lr, base_lr)

    def __call__(self, step: float) -> float:
        """The current factor, whatever the step."""
        return self.state.factor

    def observe(self, score: float, *, higher_is_better: bool) -> None:
        """Take note of one validation; a score that is not finite counts neither way."""
        state = self.state
        if not math.isfinite(score):
            return
        if state.best is not None and not math.isfinite(state.best):  # of states of before 2026-11-27
            state.best = None
        if self._improves(score, higher_is_better):
            state.best, state.bad = score, 0
        else:
            state.bad += 1
        if state.cooling > 0:
            state.cooling -= 1
            state.bad = 0
        if state.bad > self._patience:
            state.factor = max(state.factor * self._factor, self._floor)
            state.cooling, state.bad = self._cooldown, 0

    def _improves(self, score: float, higher_is_better: bool) -> bool:
        best = self.state.best
        if best is None:
            return True
        margin = self._threshold * abs(best) if self._relative else self._threshold
        return score > best + margin if higher_is_better else score < best - margin
