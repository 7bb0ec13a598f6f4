"""The tables of a run: losses at its first step, scores against bicubic upscaling, the diagnosis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from traiNNer.automations.diagnosis import Finding
from traiNNer.events import ValidationEvent, WindowEvent


def first_step_table(
    event: WindowEvent,
    weights: Mapping[str, float],
    factors: Mapping[str, float],
    shares: Mapping[str, float],
) -> list[str]:
    """What every loss does in the first step; the norm at the output is of the loss without its weight.

    70 columns, as long as labels have at most 18 characters: a terminal of 100 shows them behind time and level.
    """
    widths = (10, 9, 10, 14, 7)
    titles = ("value", "weight", "weighted", "gradient norm", "share")
    head = "".join(f"{title:>{width}}" for title, width in zip(titles, widths, strict=True))
    lines = ["losses at the first step" + head[4:]]
    for label, share in shares.items():
        value, weight = event.losses[label][0], weights[label] * factors.get(label, 1.0)
        numbers = (value, weight, value * weight, event.gradient_at_output[label])
        cells = "".join(f"{number:>{width}.4g}" for number, width in zip(numbers, widths, strict=False))
        lines.append(f"  {label:<18}{cells}{share:>{widths[-1]}.1%}")
    return lines


def score_table(event: ValidationEvent) -> Table:
    """Mean scores of each set, one row a metric."""
    titles = ("set", "metric", "bicubic", "trained", "trained - bicubic")
    table = Table(*titles, title="Bicubic against the trained network")
    for name, scores in event.sets.items():
        for label, trained in scores.means.items():
            bicubic = scores.baseline_means[label]
            table.add_row(name, label, f"{bicubic:.4f}", f"{trained:.4f}", f"{trained - bicubic:+.4f}")
    return table


def diagnosis_table(findings: Sequence[Finding]) -> Table:
    """One row a quantity; what was not measured is left out."""
    table = Table("quantity", "value", "healthy", "verdict", "advice", title="Diagnosis")
    table.columns[-1].overflow = "fold"  # the name of an option is of use only as a whole
    for found in findings:
        if found.value is not None:
            table.add_row(found.quantity, f"{found.value:.4g}", found.healthy, found.verdict, found.advice)
    return table
