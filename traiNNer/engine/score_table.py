"""The table at the end of a training or a test: bicubic enlargement against the network."""

from __future__ import annotations

from rich.table import Table

from traiNNer.control import ValidationEvent


def score_table(event: ValidationEvent) -> Table:
    """Mean scores of each set, one row a metric."""
    table = Table("set", "metric", "bicubic", "trained", "gain", title="Bicubic against the trained network")
    for name, scores in event.sets.items():
        for label, values in scores.metrics.items():
            trained, bicubic = sum(values) / len(values), sum(scores.baseline[label]) / len(values)
            table.add_row(name, label, f"{bicubic:.4f}", f"{trained:.4f}", f"{trained - bicubic:+.4f}")
    return table
