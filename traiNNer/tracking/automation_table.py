"""What each automation watched and did in a run, or would have done; "nothing to do" is an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.table import Table

from traiNNer.automations import Supervisor
from traiNNer.wording import counted

NOTHING = "nothing to do"
TITLES = ("automation", "watched", "did", "would have done")


class Row(NamedTuple):
    """One automation at the end of a run."""

    automation: str
    watched: str
    did: str
    would_have_done: str
    """Of one that only monitors, and empty for the others."""


def automation_rows(supervisor: Supervisor, decisions: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A row for each automation of a run.

    Args:
        supervisor: Of the run, as it ended.
        decisions: The lines of decisions.jsonl.
    """
    rows = []
    for name, status in supervisor.status().items():
        own = [line for line in decisions if line["automation"] == name]
        did = _changes([line for line in own if line["applied"]])
        monitored = _changes([line for line in own if not line["applied"]])
        if status == "monitoring":
            did, monitored = "monitors only", monitored or NOTHING
        elif status != "active":
            did = f"{did or 'nothing'}; {status}"
        rows.append(Row(name, supervisor.automations[name].watches, did or NOTHING, monitored))
    return rows


def columns_of(rows: Sequence[Row]) -> int:
    """How many columns have something to say: the last only where an automation monitors."""
    return len(TITLES) if any(row.would_have_done for row in rows) else len(TITLES) - 1


def automation_table(rows: Sequence[Row]) -> Table:
    """The rows for a terminal."""
    shown = columns_of(rows)
    table = Table(*TITLES[:shown], title="Automations")
    table.columns[0].no_wrap = True
    for row in rows:
        table.add_row(*row[:shown])
    return table


def _changes(lines: Sequence[Mapping[str, Any]]) -> str:
    """One clause for each parameter: from where to where, how often, and when last."""
    by_parameter: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        by_parameter.setdefault(line["parameter"], []).append(line)
    return "; ".join(_clause(parameter, found) for parameter, found in by_parameter.items())


def _clause(parameter: str, lines: Sequence[Mapping[str, Any]]) -> str:
    first, last = lines[0], lines[-1]
    if parameter == "trial":  # it changes nothing; what it led to has a clause of its own
        more = f", {counted(len(lines), 'trial')}" if len(lines) > 1 else ""
        arms = " against ".join(filter(None, (last["new"], last["old"])))
        return f"tried {arms} (at {last['iter']:,}{more})"
    asked = first["old"] == ""  # nothing but a request has no old value
    what = "request" if asked else "change"
    often = f"{counted(len(lines), what, form=',')}, last " if len(lines) > 1 else ""
    if asked:
        return f"asked for {parameter} {last['new']} ({often}at {last['iter']:,})"
    return f"{parameter} {_shown(first['old'])} -> {_shown(last['new'])} ({often}at {last['iter']:,})"


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
