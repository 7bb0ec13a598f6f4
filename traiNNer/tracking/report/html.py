"""`report.html`: what a run did and what came out, on one page that needs nothing else.

Made from the records in the run's folder alone, so it can be written at the end of a run or any time later.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from traiNNer.events import SetScores
from traiNNer.runtime.run_dir import atomic_write
from traiNNer.tracking.automation_table import TITLES, Row, columns_of
from traiNNer.tracking.report.charts import Points, line_chart
from traiNNer.tracking.report.marks import Mark, legend, marks_of
from traiNNer.tracking.report.markup import document, figure, shown, table
from traiNNer.tracking.report.pictures import Picture
from traiNNer.tracking.report.told import told
from traiNNer.tracking.trials import trial_texts
from traiNNer.wording import counted

_log = logging.getLogger(__name__)
_SHOWN_DECISIONS = 200

Record = Mapping[str, Any]


class Records(NamedTuple):
    """What a run has written down."""

    name: str
    metrics: list[Record]
    health: list[Record]
    decisions: list[Record]
    summary: Record
    """Empty while the run goes on."""
    options: str
    """The resolved configuration, as YAML."""
    scores: Mapping[str, SetScores]
    """Of every set at the last validation."""
    trials: Sequence[Record] = ()
    """What they showed."""


def read_records(folder: Path) -> Records:
    """The records of a run's folder; what is missing is empty, and half a last line is left out."""
    summary, options = folder / "summary.json", folder / "resolved.yml"
    return Records(
        folder.resolve().name,
        list(json_lines(folder / "metrics.jsonl")),
        list(json_lines(folder / "health.jsonl")),
        list(json_lines(folder / "decisions.jsonl")),
        json.loads(summary.read_text(encoding="utf-8")) if summary.is_file() else {},
        options.read_text(encoding="utf-8") if options.is_file() else "",
        *told(folder / "events.jsonl"),
    )


def write_report(folder: Path, pictures: Sequence[Picture]) -> Path:
    """Write `report.html` into a run's folder; returns its path."""
    target = folder / "report.html"
    with atomic_write(target) as partial:
        partial.write_text(page(read_records(folder), pictures), encoding="utf-8")
    return target


def page(records: Records, pictures: Sequence[Picture]) -> str:
    """The page as HTML."""
    marks = marks_of(records.decisions)
    parts = [
        f"<h1>{escape(records.name)}</h1>",
        _headline(records),
        _made(records.summary),
        "<h2>Curves</h2>",
        legend(marks),
        f'<div class="charts">{"".join(_charts(records, marks))}</div>',
        _pictures(pictures),
        _diagnosis(records.summary.get("diagnosis", [])),
        _automations(records.summary.get("automation_table", [])),
        *(_details(f"Trials at {step:,}", text) for step, text in trial_texts(records.trials).items()),
        _decisions(records.decisions),
        _details("Scores by image at the last validation", "\n".join(_image_scores(records.scores))),
        _details("Configuration", records.options),
        _details(
            "Environment", "\n".join(f"{k}: {v}" for k, v in records.summary.get("environment", {}).items())
        ),
    ]
    return document(escape(records.name), parts)


def json_lines(path: Path) -> Iterator[Record]:
    """The records of a file of JSON lines, up to the first that is not whole; none where there is no file."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return  # the last line of a run that was killed, or is being written


# --- the parts ---------------------------------------------------------------------------------------------


def _headline(records: Records) -> str:
    summary = records.summary
    if not summary:
        return "<p>The run has not ended yet.</p>"
    best = summary["best"]
    value = _number(best.get("value"))
    score = (
        f"best {escape(str(best['metric']))} {value:.4f} at {best['iteration']:,}"
        if value is not None
        else ""
    )
    hours = summary["seconds"] / 3600
    iterations = counted(summary["iterations"], "iteration", form=",")
    samples = counted(summary["samples"], "sample", form=",")
    facts = (
        f"{summary['status']}: {escape(str(summary['reason']))}",
        f"{iterations}, {samples}, {hours:.2f} hours",
        score,
    )
    return "<p>" + "<br>".join(fact for fact in facts if fact) + "</p>"


def _made(summary: Record) -> str:
    """The network and the file to use."""
    network, weights = summary.get("network"), summary.get("weights")
    if not network:  # a run of an earlier version
        return ""
    options = ", ".join(f"{key}: {value}" for key, value in network["options"].items())
    lines = [f"{network['type']} ({options}), {network['parameters']:,} parameters"]
    lines += [f"weights: {weights}"] if weights else []
    return "<p>" + "<br>".join(escape(line) for line in lines) + "</p>"


def _charts(records: Records, marks: Sequence[Mark]) -> Iterable[str]:
    train = [record for record in records.metrics if record.get("kind") == "train"]
    yield line_chart("loss", _by_key(train, "loss"), marks=marks, log=True)
    yield from _metric_charts(records.metrics, marks)
    yield line_chart("learning rate", _by_key(train, "lr"), marks=marks)
    norms: dict[str, Points] = {}
    for network in _networks(records.health):
        of = f" {network}" if network != "g" else ""
        for key in ("median", "p95"):
            norms[f"gradient norm{of}, {key}"] = series_of(records.health, "grad_norm", network, key)
        norms[f"clip threshold{of}"] = series_of(records.health, "clip_threshold", network)
    yield line_chart("gradient norm", norms, marks=marks, log=True)
    sizes = {key: series_of(records.health, key) for key in ("batch", "micro_batch", "lq_size")}
    yield line_chart("samples in a step, pixels of a patch", sizes, marks=marks)
    yield line_chart("iterations per second", {"it/s": series_of(train, "speed", "it_per_s")}, marks=marks)
    yield line_chart("factors of the losses", _by_key(records.health, "loss_factor"), marks=marks, log=True)


def _metric_charts(metrics: Sequence[Record], marks: Sequence[Mark]) -> Iterable[str]:
    found: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for record in metrics:
        if record.get("kind") != "val":
            continue
        for label, value in record["metrics"].items():
            chart = found[record["set"], label]
            chart["trained"].append((record["iter"], or_nan(value)))
            chart["bicubic"].append((record["iter"], or_nan(record["bicubic"].get(label))))
    for (name, label), series in found.items():
        yield line_chart(f"{name}: {label}", series, marks=marks)


def _pictures(pictures: Sequence[Picture]) -> str:
    if not pictures:
        return ""
    figures = "".join(figure(picture, escape(picture.title), "bicubic", "trained") for picture in pictures)
    text = "Left of the line bicubic enlargement, right of it the trained network."
    return f'<h2>Pictures</h2><p>{text}</p><div class="charts">{figures}</div>'


def _diagnosis(found: Sequence[Record]) -> str:
    if not found:
        return ""
    rows = [
        f'<tr class="{escape(str(d["verdict"]))}"><td>{escape(str(d["quantity"]))}<td>{_measured(d["value"])}'
        f"<td>{escape(str(d['healthy']))}<td>{escape(str(d['verdict']))}<td>{escape(str(d['advice']))}"
        for d in found
    ]
    return "<h2>Diagnosis</h2>" + table(("quantity", "value", "healthy", "verdict", "advice"), rows)


def _measured(value: Any) -> str:
    return "not measured" if value is None else shown(value)


def _automations(rows: Sequence[Record]) -> str:
    if not rows:
        return ""
    found = [Row(*(str(row[key]) for key in Row._fields)) for row in rows]
    columns = columns_of(found)
    cells = ["<tr>" + "".join(f"<td>{escape(text)}" for text in row[:columns]) for row in found]
    return "<h2>Automations</h2>" + table(TITLES[:columns], cells)


def _decisions(decisions: Sequence[Record]) -> str:
    if not decisions:
        return ""
    rows = [f"<tr>{decision_cells(d)}" for d in decisions[-_SHOWN_DECISIONS:]]
    more = len(decisions) - len(rows)
    left = (
        f"<p>{counted(more, 'earlier one is', 'earlier ones are', form=',')} in decisions.jsonl.</p>"
        if more
        else ""
    )
    return f"<h2>Decisions</h2>{left}" + table(DECISION_TITLES, rows)


DECISION_TITLES = ("iteration", "automation", "parameter", "old", "new", "reason")
"""Of `decision_cells`."""


def decision_cells(d: Record) -> str:
    """A line of decisions.jsonl as cells of a table."""
    return (
        f"<td>{d['iter']:,}<td>{escape(d['automation'])}<td>{escape(d['parameter'])}"
        f"<td>{shown(d['old'])}<td>{shown(d['new'])}<td>{escape(d['reason'])}"
        f"{'' if d.get('applied', True) else ' (only monitoring)'}"
    )


def _image_scores(sets: Mapping[str, SetScores]) -> Iterable[str]:
    """What each image scored at the last validation, in lines."""
    for name, scores in sets.items():
        for index, image in enumerate(scores.images):
            values = (
                f"{label} {values[index]:.4f} (bicubic {scores.baseline[label][index]:.4f})"
                for label, values in scores.metrics.items()
            )
            yield f"{name}/{image}: {', '.join(values)}"


def _details(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary><pre>{escape(text)}</pre></details>" if text.strip() else ""


# --- values out of records ---------------------------------------------------------------------------------


def _number(value: Any) -> float | None:
    if isinstance(value, str) and value in ("nan", "inf", "-inf"):
        return float(value)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def or_nan(value: Any) -> float:
    """A number as records hold it, NaN for anything else."""
    number = _number(value)
    return float("nan") if number is None else number


def series_of(records: Iterable[Record], *keys: str) -> list[tuple[float, float]]:
    """Points (iteration, value at the path of keys) of the records that have a number there."""
    points = []
    for record in records:
        value: Any = record
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if (number := _number(value)) is not None:
            points.append((record["iter"], number))
    return points


def _by_key(records: Sequence[Record], key: str) -> dict[str, list[tuple[float, float]]]:
    names = dict.fromkeys(name for record in records for name in record.get(key) or {})
    return {name: series_of(records, key, name) for name in names}


def _networks(health: Iterable[Record]) -> list[str]:
    return list(dict.fromkeys(name for record in health for name in record.get("grad_norm") or {}))
