"""Tables and plots into the documents: between marks in docs/benchmarks.md, and beside it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from automation_experiments import tables
from automation_experiments.healthy_table import healthy_table, useful_size_table
from automation_experiments.plots import interaction_plot, learning_rate_plot
from automation_experiments.results import Results
from automation_experiments.search_table import higher_rate_table, rate_search_table, written_rates_table
from automation_experiments.verification_tables import (
    adversarial_shares_table,
    fresh_curves_table,
    long_clipping_table,
)

TABLES: dict[str, Callable[[Results], str]] = {
    "learning_rate": tables.learning_rate_table,
    "clipping": tables.clipping_table,
    "fixed_thresholds": tables.fixed_table,
    "long_clipping": long_clipping_table,
    "interaction": tables.interaction_table,
    "loss_scheduling": tables.loss_table,
    "perceptual_training": tables.perceptual_table,
    "adversarial_shares": adversarial_shares_table,
    "early_stopping": tables.stopping_table,
    "converged": tables.converged_table,
    "fresh_curves": fresh_curves_table,
    "splits": tables.splits_table,
    "healthy_suite": healthy_table,
    "useful_size": useful_size_table,
    "written_rates": written_rates_table,
    "rate_search": rate_search_table,
    "higher_rate": higher_rate_table,
}
PLOTS: dict[str, Callable[[Results], str]] = {
    "automations_learning_rate": learning_rate_plot,
    "automations_together": interaction_plot,
}


def write_report(results: Results, docs: Path) -> None:
    """Write every table and plot anew.

    Raises:
        ValueError: If the place of a table is missing.
    """
    page = docs / "benchmarks.md"
    text = page.read_text(encoding="utf-8")
    for name, make in TABLES.items():
        text = with_table(text, name, make(results))
    page.write_text(text, encoding="utf-8")
    (docs / "images").mkdir(exist_ok=True)
    for name, draw in PLOTS.items():
        (docs / "images" / f"{name}.svg").write_text(draw(results), encoding="utf-8")


def with_table(text: str, name: str, table: str) -> str:
    """A page with the table between `<!-- name -->` and `<!-- end -->` replaced.

    Raises:
        ValueError: If there is no such place.
    """
    place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not place.search(text):
        raise ValueError(f"the page has no place for the table {name} (<!-- {name} --> ... <!-- end -->)")
    return place.sub(lambda found: f"{found[1]}\n{table}\n\n{found[2]}", text)
