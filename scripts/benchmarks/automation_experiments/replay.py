"""Rules of early stopping, replayed on recorded full curves: what each would have cost and saved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any, NamedTuple

from automation_experiments.plans import early_stopping
from automation_experiments.results import Results
from automation_experiments.settings import Arms, Setting
from traiNNer.automations.stopping.early_stopping import IntelligentEarlyStopping
from traiNNer.control import Controls, Stop
from traiNNer.events import RunFacts, SetScores, ValidationEvent, WindowEvent

PATIENCES = (3, 5, 10)  # validations
NEW_BEST = 0.001  # the usual `min_improvement`


class End(NamedTuple):
    """How a replayed run ended."""

    stopped: bool
    regret: float
    """Best score of the whole curve minus the best until the stop; the annealing at a stop is left out."""
    saved: float
    """Share of the iterations, those of the annealing counted as used."""
    at_new_best: bool
    """Whether the validation at the stop was better than all before by what counts as a gain, in any metric."""


Curve = list[tuple[int, list[float]]]
"""Step and signed score of every image, higher is better."""

Rule = Callable[[Setting, Mapping[str, Any], Curve], tuple[int, int] | None]
"""The step at which a run is stopped and the steps of annealing that follow; None: never."""


def replayed(results: Results, *, lower_is_better: bool = False) -> dict[str, dict[str, list[End]]]:
    """By rule and by schedule, one end a run."""
    return replayed_ends(results, early_stopping()["curves"], lower_is_better=lower_is_better)


def replayed_ends(
    results: Results, arms: Arms, *, lower_is_better: bool = False
) -> dict[str, dict[str, list[End]]]:
    """The same of other runs, by rule and by name."""
    rules: dict[str, Rule] = {"IntelligentEarlyStopping": automation(lower_is_better=lower_is_better)}
    rules |= {f"patience of {count} validations": patience(count) for count in PATIENCES}
    return {
        name: {
            kind: [_end(arm, run, rule, lower_is_better) for run in results.of(arm).values()]
            for kind, arm in arms.items()
        }
        for name, rule in rules.items()
    }


def patience(count: int) -> Rule:
    """Stop after so many validations in a row without a new best mean."""

    def stop(setting: Setting, run: Mapping[str, Any], curve: Curve) -> tuple[int, int] | None:
        best, since = -math.inf, 0
        for step, scores in curve:
            mean = fmean(scores)
            best, since = (mean, 0) if mean > best else (best, since + 1)
            if since == count and step < setting.steps:
                return step, 0
        return None

    return stop


def automation(*, lower_is_better: bool) -> Rule:
    """`IntelligentEarlyStopping` as it is without options, on PSNR or on the error that it stands for."""

    def stop(setting: Setting, run: Mapping[str, Any], curve: Curve) -> tuple[int, int] | None:
        others = {metric: dict(run[f"curve_{metric}"]) for metric in setting.metrics[1:]}
        facts = _facts(setting, higher_is_better=not lower_is_better)
        stays = 1.0 if setting.schedule["type"] == "constant" else None  # as the program tells it
        rule = IntelligentEarlyStopping(monitor_metric="score", facts=facts, min_lr_factor=stays)
        controls = Controls(setting.batch, setting.batch, 16)
        validations = dict(curve)
        exhausted = dict(run["exhausted"])
        for step, loss in run["losses"]:
            rule.observe(_window(setting, step, loss))
            decisions = list(rule.decide(controls))
            if step in validations:
                sign = -1.0 if lower_is_better else 1.0
                scores = {"score": [sign * value for value in validations[step]]}
                scores |= {metric: found[step] for metric, found in others.items()}
                rule.observe(_validation(setting, step, scores, exhausted=exhausted[step]))
                decisions += rule.decide(controls)
            for decision in decisions:
                if isinstance(decision, Stop):
                    return step, decision.cooldown.length // setting.batch if decision.cooldown else 0
        return None

    return stop


def grey_levels(psnr: float) -> float:
    """The root of the mean squared error that a PSNR stands for, of 255 levels, with the sign of a score."""
    return -255.0 * 10 ** (-psnr / 20)


def _end(setting: Setting, run: Mapping[str, Any], rule: Rule, lower_is_better: bool) -> End:
    """Scores are signed here: higher is better."""
    change = grey_levels if lower_is_better else float
    curve = [(step, [change(value) for value in scores]) for step, scores in run["curve"]]
    means = [fmean(scores) for _, scores in curve]
    stop = rule(setting, run, curve)
    if stop is None:
        return End(False, 0.0, 0.0, False)
    step, annealing = stop
    until = [mean for (at, _), mean in zip(curve, means, strict=True) if at <= step]
    used = min(setting.steps, step + annealing)
    at_new_best = until[-1] > max(until[:-1], default=-math.inf) + NEW_BEST
    for metric in setting.metrics[1:]:
        own = [fmean(scores) for at, scores in run[f"curve_{metric}"] if at <= step]
        at_new_best |= own[-1] > max(own[:-1], default=-math.inf)
    return End(True, max(means) - max(until), 1 - used / setting.steps, at_new_best)


def _facts(setting: Setting, *, higher_is_better: bool) -> RunFacts:
    return RunFacts(
        total_iter=setting.steps,
        batch=setting.batch,
        world_size=1,
        learning_rates={"g": setting.lr},
        optimizer="AdamW",
        precision="fp32",
        ema_decay=0.99,
        loss_weights={"l1": 1.0},
        anchor_loss="l1",
        higher_is_better={"score": higher_is_better, **dict.fromkeys(setting.metrics[1:], True)},
        validate_every=setting.steps // setting.validations,
        warmup_iter=setting.steps // 50,
        images=170,
        deterministic=False,
        fingerprint={},
    )


def _window(setting: Setting, step: int, loss: float) -> WindowEvent:
    """As much of a window as stopping looks at."""
    return WindowEvent(
        step=step,
        position=step * setting.batch,
        progress=step / setting.steps,
        batch=setting.batch,
        micro_batch=setting.batch,
        lq_size=16,
        lr={"g": setting.lr},
        schedule=1.0,
        warming_up=step < setting.steps // 50,
        losses={"l1": [loss]},
        total=[loss],
        grad_norm={"g": [1.0]},
        applied={"g": [True]},
        gradient_at_output={},
        update_ratio=None,
        memory_peak=0.5,
        seconds=1.0,
        data_wait=0.0,
        amp_scale=1.0,
    )


def _validation(
    setting: Setting, step: int, scores: dict[str, list[float]], *, exhausted: bool
) -> ValidationEvent:
    names = [str(index) for index in range(len(scores["score"]))]
    sizes = [(96, 96)] * len(names)
    return ValidationEvent(
        step=step,
        position=step * setting.batch,
        sets={"val": SetScores(names, sizes, scores, {})},
        weights_finite=True,
        lr_exhausted=exhausted,
    )
