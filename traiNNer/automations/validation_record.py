"""What automations remember of validations: the best one, image by image, and signs of a broken run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from traiNNer.automations.statistics import Z95, finite_mean, paired_gain
from traiNNer.control import Plain
from traiNNer.events import ValidationEvent

COLLAPSE_DB = 3.0
"""A PSNR this far below its best is no fluctuation."""


class Scores(NamedTuple):
    """One metric on one validation set, signed so that higher is better."""

    images: list[float]
    """NaN where an image does not count, see `SetScores.left_out`."""
    baseline: float
    """Mean of bicubic upscaling over those that count; minus infinity where it was not measured."""

    @property
    def known(self) -> bool:
        """Whether any image counts: otherwise the scores decide nothing."""
        return math.isfinite(self.mean)

    @property
    def mean(self) -> float:
        """Over the images that count; NaN where there is none."""
        return finite_mean(self.images)

    @property
    def below_baseline(self) -> bool:
        """Whether bicubic upscaling does better."""
        return self.mean < self.baseline


def read_scores(event: ValidationEvent, metric: str, *, higher_is_better: bool, set_name: str = "") -> Scores:
    """One metric of a set, by default of the first one.

    Raises:
        ValueError: If there is no such set or metric.
    """
    name = set_name or next(iter(event.sets))
    if name not in event.sets or metric not in event.sets[name].metrics:
        known = [f"{s}/{m}" for s, scores in event.sets.items() for m in scores.metrics]
        raise ValueError(f"no metric {name}/{metric} in this validation; there are {', '.join(known)}")
    scores, sign = event.sets[name], 1.0 if higher_is_better else -1.0
    out = set(scores.left_out(metric))
    return Scores(
        [math.nan if i in out else sign * value for i, value in enumerate(scores.metrics[metric])],
        sign * scores.baseline_means[metric] if scores.baseline.get(metric) else -math.inf,
    )


@dataclass
class ValidationRecord(Plain):
    """The best validation so far and what came after it. Scores are signed: higher is better."""

    best: list[float] = field(default_factory=list)
    """Per image, of the last validation that was significantly better than the one before it here."""
    best_step: int = 0
    since: int = 0
    """Validations since then."""
    highest: float | None = None
    """The highest mean, significant or not."""
    highest_step: int = 0
    newest_is_highest: bool = False
    counted: float | None = None
    """The highest mean of those that were higher than the one counted before by what counts as a gain."""
    newest_counts: bool = False
    """Whether the newest mean is that."""
    improving: bool = False
    """Whether the newest validation was significantly better than the best before it."""
    below_since: int | None = None
    """Step of the first of the latest validations that all were significantly below the best."""
    previous: list[float] = field(default_factory=list)
    """Per image, of the validation before, whatever it showed."""
    previous_step: int = 0
    troubles: int = 0
    """Latest validations in a row that show a broken run."""
    suspects: int = 0
    """Latest validations in a row that stand still below bicubic, as of a dead network or of a slow one."""

    def add(self, scores: Scores, step: int, margin: float) -> bool:
        """Take in a validation; whether it is better than the best by `margin` and by chance's measure."""
        highest = self.highest  # infinite in states of before 2026-11-27
        self.newest_is_highest = highest is None or not math.isfinite(highest) or scores.mean > highest
        self.newest_counts = self.counted is None or scores.mean > self.counted + margin
        if self.newest_counts:
            self.counted = scores.mean
        if self.newest_is_highest:
            self.highest, self.highest_step = scores.mean, step
        self.improving = True
        if len(self.best) != len(scores.images):
            self._remember(scores, step)
            return True
        gain = paired_gain(scores.images, self.best)
        needed = max(margin, Z95 * gain.se)
        if gain.mean > needed:
            self._remember(scores, step)
            return True
        self.improving = False
        self.since += 1
        if gain.mean < -needed:
            self.below_since = step if self.below_since is None else self.below_since
        else:
            self.below_since = None
        return False

    def restart(self, step: int) -> None:
        """Count from here: the best stays, since scores of one set of images remain comparable."""
        self.best_step, self.since, self.below_since = max(self.best_step, step), 0, None

    def look_for_trouble(self, event: ValidationEvent, scores: Scores, *, psnr: bool, learning: bool) -> str:
        """What is broken in this validation, or nothing; counts the validations in a row that are.

        A PSNR that has fallen far is no sign of it while the training loss is as low as ever (`learning`): that
        is overfitting.
        """
        trouble = ""
        if not event.weights_finite or not event.outputs_finite:
            trouble = "weights or outputs are not finite"
        elif psnr and not learning and self.highest is not None and scores.mean < self.highest - COLLAPSE_DB:
            trouble = f"{scores.mean:.2f} dB, over {COLLAPSE_DB:.0f} dB below the best ({self.highest:.2f})"
        self.troubles = self.troubles + 1 if trouble else 0
        return trouble

    def look_for_standstill(
        self, event: ValidationEvent, scores: Scores, *, warm: bool, total_iter: int
    ) -> str:
        """What looks like a standstill below bicubic, or nothing; counts the validations in a row that do.

        There is none while the score rises so fast that it could get there in a run of `total_iter` steps.
        """
        hopeful = self._highest_pace(scores, event.step) * total_iter >= scores.baseline - scores.mean
        self.previous, self.previous_step = list(scores.images), event.step
        if not (warm and scores.below_baseline and not hopeful):
            self.suspects = 0
            return ""
        self.suspects += 1
        return f"{abs(scores.mean):.4g} stands still below bicubic at {abs(scores.baseline):.4g}"

    def _highest_pace(self, scores: Scores, step: int) -> float:
        """Upper 95 % bound of the gain per step since the validation before; 0 if there was none or it fell."""
        if len(self.previous) != len(scores.images) or step <= self.previous_step:
            return 0.0
        gain = paired_gain(scores.images, self.previous)
        return max(0.0, gain.mean + Z95 * gain.se) / (step - self.previous_step)

    def _remember(self, scores: Scores, step: int) -> None:
        self.best, self.best_step, self.since, self.below_since = list(scores.images), step, 0, None
