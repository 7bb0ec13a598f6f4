"""The figures of a card as Markdown and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from traiNNer.build.card.advice import (
    Line,
    advise,
    as_yaml,
    enough_batch,
    memory_per_sample,
)
from traiNNer.build.card.processes import PARTS, Outcome
from traiNNer.build.card.settings import Settings

_COLUMNS = {
    "network": "network",
    "precision": "precision",
    "channels_last": "channels_last",
    "workers": "workers",
    "batch": "batch",
    "images": "images",
    "side": "side of GT",
    "bare_ms": "bare loop, ms a step",
    "run_ms": "train.py, ms",
    "automations_ms": "with automations, ms",
    "share_of_bare_speed": "speed of train.py over bare loop",
    "cost_of_automations": "cost of automations",
    "milliseconds": "ms a step",
    "samples_per_second": "samples / s",
    "first_seconds": "first step, s",
    "memory_mib": "memory, MiB",
    "waiting": "share of time waiting",
    "seconds": "seconds",
    "seconds_per_megapixel": "s a megapixel",
    "failed": "",
}
"""Titles of columns, in order; a table shows those that some row of it has."""


def facts(outcomes: Mapping[str, Outcome], settings: Settings) -> dict[str, Any]:
    """Everything that is known, for JSON."""
    lines = _advice(outcomes)
    batches = outcomes["batches"].rows if "batches" in outcomes else []
    return {
        "device": settings.device,
        "tiny": settings.tiny,
        "scale": settings.scale,
        "lq_size": settings.lq_size,
        "parts": {name: asdict(outcome) for name, outcome in outcomes.items()},
        "enough_batch": enough_batch(batches),
        "memory_per_sample_mib": memory_per_sample(batches),
        "advice": [line._asdict() for line in lines],
        "yaml": as_yaml(lines),
    }


def page(outcomes: Mapping[str, Outcome], settings: Settings) -> str:
    """A page with a table for each part, and the advice first."""
    lines = _advice(outcomes)
    text = ["# What this card does", ""]
    if settings.tiny:
        text += ["A trial with tiny networks and times: these figures mean nothing.", ""]
    text += ["## What to write into the YAML", ""]
    text += ["```yaml", as_yaml(lines), "```", ""] if lines else ["Nothing was measured yet.", ""]
    text += [
        f"Steps are forward, L1 loss, backward and AdamW (fused) with patches of {settings.lq_size} LQ pixels at "
        f"scale {settings.scale}; times are medians of three blocks.",
        "",
    ]
    for part in PARTS:
        if part.name in outcomes:
            text += _section(part.title, part.name, outcomes[part.name])
    return "\n".join(text)


def _advice(outcomes: Mapping[str, Outcome]) -> list[Line]:
    return advise({name: outcome.rows for name, outcome in outcomes.items()})


def _section(title: str, name: str, outcome: Outcome) -> list[str]:
    mark = "" if outcome.status == "done" else f" ({outcome.status})"
    text = [f"## {title}{mark}", ""]
    if outcome.error:
        text += [f"Failed: {outcome.error}", ""]
    if name == "machine":
        found = {key: value for row in outcome.rows for key, value in row.items()}
        return [*text, *_table(["", ""], [[key, _cell(value)] for key, value in found.items()]), ""]
    if outcome.rows:
        keys = [key for key in _COLUMNS if any(key in row for row in outcome.rows)]
        rows = [[_cell(row.get(key)) for key in keys] for row in outcome.rows]
        text += [*_table([_COLUMNS[key] for key in keys], rows), ""]
    if name == "batches" and (slopes := memory_per_sample(outcome.rows)):
        said = ", ".join(f"{network} {mib:.1f}" for network, mib in slopes.items())
        text += [f"MiB that one sample more takes: {said}.", ""]
    return text


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [titles, ["---"] * len(titles), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and value > 9999 else str(value)
