"""Further schedules of torch, by torch's names and to the same rates; as `schedules`, functions of the step."""

from __future__ import annotations

import math
from typing import Literal

from traiNNer.optim.schedules import SCHEDULES, Schedule, cosine_share, floor_share, warmup
from traiNNer.registry import ConfigError

_ROUNDING = 1e-6  # as in `schedules`


def _positive(name: str, value: float) -> None:
    if value <= 0:
        raise ConfigError(f"schedule: {name} must be above 0 (got {value:g})")


@SCHEDULES.register("StepLR")
def step_wise(*, step_size: int, gamma: float = 0.1, base_lr: float, total_iter: int) -> Schedule:
    """Multiplied by `gamma` every `step_size` steps.

    Args:
        step_size: Steps between two cuts.
        gamma: Factor at each, above 0, up to 1.
    """
    _positive("step_size", step_size)
    _check_gamma(gamma)
    return lambda step: gamma ** ((step + _ROUNDING) // step_size)


@SCHEDULES.register("ExponentialLR")
def exponential(*, gamma: float, base_lr: float, total_iter: int) -> Schedule:
    """Multiplied by `gamma` in every step.

    Args:
        gamma: Factor of a step, above 0, up to 1; 0.99999 halves the rate in 69,000 steps.
    """
    _check_gamma(gamma)
    return lambda step: gamma**step


@SCHEDULES.register("PolynomialLR")
def polynomial(
    *, total_iters: int | None = None, power: float = 1.0, base_lr: float, total_iter: int
) -> Schedule:
    """From the peak to 0 as (1 - share of the run) to a power.

    Args:
        total_iters: Steps to 0; None: the whole run.
        power: 1 is a line; higher ones fall early.
    """
    length = total_iter if total_iters is None else total_iters
    _positive("total_iters", length)
    _positive("power", power)
    return lambda step: (1 - min(1.0, step / length)) ** power


@SCHEDULES.register("CosineAnnealingWarmRestarts")
def warm_restarts(
    *, T_0: int, T_mult: int = 1, eta_min: float = 0.0, base_lr: float, total_iter: int
) -> Schedule:
    """Half a cosine from the peak to `eta_min`, again and again; each period `T_mult` times as long as the last.

    Loshchilov and Hutter 2017, SGDR, equation 5.

    Args:
        T_0: Steps of the first period.
        T_mult: Factor on the length of each further one, 1 or more.
        eta_min: Lowest rate, absolute.
    """
    _positive("T_0", T_0)
    if T_mult < 1:
        raise ConfigError(f"schedule: T_mult must be at least 1 (got {T_mult})")
    low = floor_share("eta_min", eta_min, base_lr)

    def factor(step: float) -> float:
        begun, length = 0, T_0
        if T_mult == 1:
            begun = int((step + _ROUNDING) // T_0) * T_0
        while step + _ROUNDING >= begun + length:
            begun, length = begun + length, length * T_mult
        return low + (1 - low) * cosine_share((step - begun) / length)

    return factor


@SCHEDULES.register("CosineAnnealingWarmup", "CosineAnnealingWarmupLR")
def warm_cosine(
    *,
    warmup_steps: int = 0,
    T_max: int | None = None,
    eta_min: float = 0.0,
    base_lr: float,
    total_iter: int,
) -> Schedule:
    """A line up to the peak, then half a cosine down to `eta_min`, where it stays.

    `CosineAnnealingLR` with `train.warmup_iter` instead lets the cosine fall while the line rises.

    Args:
        warmup_steps: Steps of the line, whose first is at 1 / `warmup_steps` of the peak.
        T_max: The step at which `eta_min` is reached; None: the end of the run.
        eta_min: Lowest rate, absolute.
    """
    length = total_iter if T_max is None else T_max
    if not 0 <= warmup_steps < length:
        raise ConfigError(
            f"schedule: warmup_steps must lie between 0 and T_max, {length} (got {warmup_steps})"
        )
    low = floor_share("eta_min", eta_min, base_lr)

    def factor(step: float) -> float:
        if step < warmup_steps:
            return warmup(step, warmup_steps)
        share = min(1.0, (step - warmup_steps) / (length - warmup_steps))
        return low + (1 - low) * cosine_share(share)

    return factor


@SCHEDULES.register("OneCycleLR")
def one_cycle(
    *,
    pct_start: float = 0.3,
    anneal_strategy: Literal["cos", "linear"] = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    base_lr: float,
    total_iter: int,
) -> Schedule:
    """Up to the peak, which is the optimizer's `lr`, and down to almost nothing.

    Smith and Topin 2018, in two phases. The momentum stays. After the run the rate stays low.

    Args:
        pct_start: Share of the run that rises, 0 to 1.
        anneal_strategy: Along half a cosine or a line.
        div_factor: The peak over the rate of the first step, 1 or more.
        final_div_factor: The rate of the first step over that of the last, 1 or more.
    """
    if not 0 <= pct_start <= 1:
        raise ConfigError(f"schedule: pct_start must lie between 0 and 1 (got {pct_start:g})")
    if min(div_factor, final_div_factor) < 1:
        raise ConfigError(
            "schedule: div_factor and final_div_factor must be at least 1 "
            f"(got {div_factor:g}, {final_div_factor:g})"
        )
    first, last = 1 / div_factor, 1 / (div_factor * final_div_factor)
    top, end = pct_start * total_iter - 1, total_iter - 1

    def between(start: float, stop: float, share: float) -> float:
        if anneal_strategy == "linear":
            return start + (stop - start) * share
        return stop + (start - stop) * cosine_share(share)

    def factor(step: float) -> float:
        if step <= top:
            return between(first, 1.0, step / top if top > 0 else 1.0)
        share = (step - top) / (end - top) if end > top else 1.0
        return between(1.0, last, min(1.0, share))

    return factor


def _check_gamma(gamma: float) -> None:
    if not (0 < gamma <= 1 and math.isfinite(gamma)):
        raise ConfigError(f"schedule: gamma must lie between 0 and 1 (got {gamma:g})")
