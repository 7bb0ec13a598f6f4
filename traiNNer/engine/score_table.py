"""The tables at the end of a training or a test: scores against bicubic enlargement, and the diagnosis."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from traiNNer.automations.diagnosis import Finding
from traiNNer.control import ValidationEvent


def score_table(event: ValidationEvent) -> Table:
    """Mean scores of each set, one row a metric."""
    table = Table("set", "metric", "bicubic", "trained", "gain", title="Bicubic against the trained network")
    for name, scores in event.sets.items():
        for label, trained in scores.means.items():
            bicubic = scores.baseline_means[label]
            table.add_row(name, label, f"{bicubic:.4f}", f"{trained:.4f}", f"{trained - bicubic:+.4f}")
    return table


def diagnosis_table(findings: Sequence[Finding]) -> Table:
    """One row a quantity; what was not measured is left out."""
    table = Table("quantity", "value", "healthy", "verdict", "advice", title="Diagnosis")
    for found in findings:
        if found.value is not None:
            table.add_row(found.quantity, f"{found.value:.4g}", found.healthy, found.verdict, found.advice)
    return table
