"""The line that says how the training goes, in the log and at the bottom of a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping

from traiNNer.automations.data_cost import DataCost
from traiNNer.tracking.interval import Interval, Speed
from traiNNer.tracking.live_line import hours_minutes

WIDTH = 240
"""Characters of a line, at most: three rows of a terminal of 80 columns."""

_CRITIC = ("l_d", "out_d_real", "out_d_fake")


class TrainingLine:
    """Puts numbers into the line; speed and clipping are those of the last interval that ended.

    Args:
        total_iter: Planned steps at the configured batch.
        batch: Configured samples of a step of one process.
        data_cost: Of a chain of degradations, which is named where the training waits for it.
    """

    def __init__(self, total_iter: int, batch: int, data_cost: DataCost | None = None) -> None:
        self._total_iter, self._batch, self._data_cost = total_iter, batch, data_cost
        self._speed = Speed(0.0, 0.0, 0.0)
        self._clipped = ""
        self.scores = ""
        """Of the last validation, in words."""

    def end_interval(self, interval: Interval) -> None:
        """Take over what is said of many steps together."""
        self._speed = interval.speed
        shares = {net: count / interval.steps for net, count in interval.clipped.items()}
        if len(shares) > 1:
            self._clipped = "clipped " + " ".join(f"{net} {share:.0%}" for net, share in shares.items())
        else:
            self._clipped = "".join(f"clipped {share:.0%}" for share in shares.values())

    def text(
        self,
        step: int,
        progress: float,
        lr: Mapping[str, float],
        losses: Mapping[str, float],
        critic: Mapping[str, float] | None = None,
    ) -> str:
        """The line.

        Args:
            step: That it is of.
            progress: Share of the planned samples, which is said where steps of another batch count otherwise.
            lr: Learning rate by network.
            losses: `total` and, before their weights, each by label. Where there are several each is shown, as
                `l_g_<label>`, as many of them as the line has room for.
            critic: Measurements of the discriminator by name; none where it does not train.
        """
        rate, samples, wait = self._speed
        why = " (degrading)" if self._data_cost and self._data_cost.holds_up(samples, wait) else ""
        ahead = (1 - progress) * self._total_iter * self._batch
        left = hours_minutes(ahead / samples) if samples else "?"
        share = "" if abs(progress - step / self._total_iter) < 0.01 else f" ({progress:.0%} of the samples)"
        before = (
            f"iter {step:,}/{self._total_iter:,}{share}  {rate:.1f} it/s  {samples:,.0f} samples/s  "
            f"data wait {wait:.0%}{why}  ETA {left}  loss {losses['total']:.4e}"
        )
        after = [f"lr {lr['g']:.2e}", self._clipped, self.scores]
        after += [f"{name} {critic.get(name, math.nan):+.3f}" for name in _CRITIC] if critic else []
        behind = "".join(f"  {part}" for part in after if part)
        return before + _each(losses, WIDTH - len(before) - len(behind)) + behind


def _each(losses: Mapping[str, float], room: int) -> str:
    """Each loss in brackets, where there are several; those that the room is too small for are counted."""
    parts = [f"l_g_{label} {value:.2e}" for label, value in losses.items() if label != "total"]
    if len(parts) < 2:
        return ""
    for count in range(len(parts), 0, -1):
        more = [f"{len(parts) - count} more"] if count < len(parts) else []
        text = f" ({', '.join([*parts[:count], *more])})"
        if len(text) <= room:
            return text
    return ""
