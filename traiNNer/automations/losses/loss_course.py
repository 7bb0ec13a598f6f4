"""The course of the loss over a whole run, in a bounded number of values, and how its last part went."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from traiNNer.automations.loss_trend import FollowedLosses
from traiNNer.automations.statistics import Z95, fit_line
from traiNNer.control import Controls, Plain
from traiNNer.events import RunFacts, WindowEvent

_MOST = 400
_FEWEST = 8  # levels that a line is fitted through


class LossChange(NamedTuple):
    """How the loss changed over the last quarter of a run."""

    share: float
    """Change as a share of the loss: -0.03 where it fell by 3 %."""
    noise: float
    """What chance alone may add or take away, at 95 %: a share too."""


@dataclass
class LossCourse(Plain):
    """Levels of the loss at even distances from the start: half as many, twice as far apart, when full."""

    losses: FollowedLosses = field(default_factory=FollowedLosses)
    levels: list[float] = field(default_factory=list)
    windows: int = 1
    """That each level is the mean of."""
    open: list[float] = field(default_factory=list)
    """Levels of windows that the next level will be the mean of."""

    def add(self, event: WindowEvent, facts: RunFacts, controls: Controls) -> None:
        """Take in a window. Losses that ask the discriminator do not count, nor do changes of factors."""
        if self.losses.outdated(event, controls.loss_factor):
            self.levels, self.open, self.windows = [], [], 1
        if not (self.levels or self.open):
            weights = {
                label: w for label, w in facts.loss_weights.items() if label not in facts.judged_losses
            }
            self.losses.choose(event, weights, controls.loss_factor)
        level = self.losses.level(event)
        if level is None:
            return
        self.open.append(level)
        if len(self.open) < self.windows:
            return
        self.levels.append(math.fsum(self.open) / len(self.open))
        self.open = []
        if len(self.levels) == _MOST:
            pairs = zip(self.levels[::2], self.levels[1::2], strict=True)
            self.levels, self.windows = [(a + b) / 2 for a, b in pairs], 2 * self.windows

    def lately(self) -> LossChange | None:
        """The change over the last quarter; None while there is too little to see one."""
        count = max(_FEWEST, len(self.levels) // 4)
        if len(self.levels) < 2 * count:
            return None
        line = fit_line(self.levels[-count:])
        return LossChange(math.expm1(line.slope * (count - 1)), Z95 * line.se * (count - 1))
