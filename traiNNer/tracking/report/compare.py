"""One page on which several runs lie beside each other, from the records in their folders."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from traiNNer.automations.statistics import finite_mean
from traiNNer.tracking.jsonl import leaves
from traiNNer.tracking.report.charts import line_chart
from traiNNer.tracking.report.html import (
    DECISION_TITLES,
    Record,
    Records,
    decision_cells,
    json_lines,
    or_nan,
    read_records,
    series_of,
)
from traiNNer.tracking.report.markup import document, figure, shown, table
from traiNNer.tracking.report.pictures import Picture
from traiNNer.wording import counted

_AXES = ("steps", "samples", "seconds of training")


class Pair(NamedTuple):
    """One validation image as two runs upscale it."""

    runs: tuple[str, str]
    picture: Picture
    """Before: by the first run, the one that the others are compared with."""


class Run(NamedTuple):
    """A run as the page needs it."""

    name: str
    """Of its folder; distinct among the runs of a page."""
    records: Records
    settings: Mapping[str, str]
    """Every option by its path with dots."""
    clock: list[tuple[int, int, float]]
    """(step, samples, seconds of training) at the end of each window, rising."""
    scores: Mapping[int, Mapping[str, Any]]
    """Per step with a validation and per set: `images`, and for each of `metrics` one value an image."""
    kept: int | None = None
    """Iteration of the best weights so far."""

    def at(self, step: float, axis: str) -> float:
        """Where a step lies on an axis; NaN where that was not recorded."""
        if axis == "steps":
            return step
        k = bisect_left(self.clock, (step,))
        return self.clock[k][1 + _AXES[1:].index(axis)] if k < len(self.clock) else math.nan

    @property
    def best_step(self) -> int | None:
        """The validation whose weights were kept as the best; the last where that is not known."""
        best = (self.records.summary.get("best") or {}).get("iteration", self.kept)
        return best if best in self.scores else max(self.scores, default=None)


def read_run(folder: Path, name: str, settings: Mapping[str, Any], kept: int | None = None) -> Run:
    """A run from its folder; `settings` are its options as a tree, `kept` the iteration of its best weights."""
    clock, seconds, scores = [(0, 0, 0.0)], 0.0, dict[int, Mapping[str, Any]]()
    for event in json_lines(folder / "events.jsonl"):
        if event["kind"] == "WindowEvent":
            seconds += or_nan(event["seconds"])
            clock.append((event["step"], event["position"], seconds))
        elif event["kind"] == "ValidationEvent":
            scores[event["step"]] = event["sets"]
    told = {".".join(map(str, path)): str(value) for path, value in leaves(settings)}
    return Run(name, read_records(folder), told, clock, scores, kept)


def comparison(runs: Sequence[Run], pairs: Sequence[Pair]) -> str:
    """The page as HTML; the first run is the one that the others are compared with."""
    title = escape(" | ".join(run.name for run in runs))
    parts = [
        f"<h1>{title}</h1>",
        "<h2>Settings that differ</h2>",
        _settings(runs),
        "<h2>Scores of the best weights</h2>",
        _scores(runs),
        "<h2>Curves</h2>",
        _curves(runs),
        _pictures(pairs),
        "<h2>Decisions</h2>",
        _decisions(runs),
    ]
    return document(title, parts, _STYLE)


_OF_A_START = ("name", "auto_resume", "launcher")
"""Options that say where and how a process was started, and nothing of what it trains."""


def _settings(runs: Sequence[Run]) -> str:
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    rows = []
    for key in keys:
        values = [run.settings.get(key, "") for run in runs]
        if len(set(values)) > 1 and key not in _OF_A_START and not key.startswith("path."):
            rows.append(f"<tr><td>{escape(key)}" + "".join(f"<td>{escape(value)}" for value in values))
    if not rows:
        return "<p>None.</p>"
    return table(("option", *(escape(run.name) for run in runs)), rows)


# --- scores ------------------------------------------------------------------------------------------------


class Difference(NamedTuple):
    """Mean of paired differences with its 95 % interval, mean - half to mean + half."""

    mean: float
    half: float
    """NaN for fewer than two pairs."""
    pairs: int


def paired_difference(first: Mapping[str, float], second: Mapping[str, float]) -> Difference:
    """Second minus first over the images that both have a finite score for (Student's t)."""
    values = [second[image] - first[image] for image in first if image in second]
    values = [value for value in values if math.isfinite(value)]
    if len(values) < 2:
        return Difference(values[0] if values else math.nan, math.nan, len(values))
    return Difference(
        fmean(values), t_point(len(values) - 1) * stdev(values) / math.sqrt(len(values)), len(values)
    )


def t_point(freedom: int) -> float:
    """Two-sided 95 % point of Student's t, within 1 % (Abramowitz and Stegun 26.7.5 from three degrees on)."""
    if freedom < 3:
        return (12.706, 4.303)[freedom - 1]
    z = 1.959964
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return sum(term / freedom**power for power, term in enumerate(terms))


def _scores(runs: Sequence[Run]) -> str:
    names = dict.fromkeys(
        (data, metric)
        for run in runs
        for sets in run.scores.values()
        for data, scores in sets.items()
        for metric in scores["metrics"]
    )
    rows = []
    for data, metric in names:
        first = per_image(runs[0], data, metric)
        cells = [f"<td>{shown(finite_mean(first.values()))}"]
        for run in runs[1:]:
            values = per_image(run, data, metric)
            cells.append(
                f"<td>{shown(finite_mean(values.values()))}<td>{in_words(paired_difference(first, values))}"
            )
        rows.append(f"<tr><td>{escape(data)}<td>{escape(metric)}" + "".join(cells))
    titles = ["set", "metric", _titled(runs[0])]
    for run in runs[1:]:
        titles += [_titled(run), f"minus {escape(runs[0].name)}, per image"]
    text = (
        "Differences are paired, image by image, and stand with the 95 % interval of their mean: "
        "bold where it leaves out 0. It tells of other images, not of another seed."
    )
    return table(titles, rows) + f"<p>{text}</p>" if rows else "<p>No run has been validated.</p>"


def _titled(run: Run) -> str:
    step = run.best_step
    return escape(run.name) + (f" at {step:,}" if step is not None else "")


def per_image(run: Run, data: str, metric: str) -> dict[str, float]:
    """The scores of a run's best weights by image; empty where there are none."""
    scores = run.scores.get(run.best_step or 0, {}).get(data)
    if scores is None or metric not in scores["metrics"]:
        return {}
    return dict(zip(scores["images"], map(or_nan, scores["metrics"][metric]), strict=True))


def in_words(found: Difference) -> str:
    """A difference with its interval, as HTML; bold where 0 is outside."""
    if not found.pairs:
        return "no image in common"
    text = f"{found.mean:+.4f} &plusmn; {found.half:.4f} ({counted(found.pairs, 'image')})"
    return f"<b>{text}</b>" if abs(found.mean) > found.half else text


# --- curves, pictures, decisions ---------------------------------------------------------------------------


def _curves(runs: Sequence[Run]) -> str:
    """A radio button for each axis, and the charts of that which is chosen (no script)."""
    buttons, panels = [], []
    for number, axis in enumerate(_AXES):
        checked = " checked" if number == 0 else ""
        buttons.append(f'<input type="radio" name="axis" id="axis{number}"{checked}>')
        buttons.append(f'<label for="axis{number}">{axis}</label>')
        charts = "".join(
            line_chart(title, {run.name: _moved(run, points[run.name], axis) for run in runs}, log=log)
            for title, points, log in _quantities(runs)
        )
        panels.append(f'<div class="charts of{number}">{charts}</div>')
    return f'<div class="axes">By {"".join(buttons)}{"".join(panels)}</div>'


def _moved(run: Run, points: Iterable[tuple[float, float]], axis: str) -> list[tuple[float, float]]:
    return [(run.at(step, axis), value) for step, value in points]


def _quantities(runs: Sequence[Run]) -> Iterable[tuple[str, dict[str, list[tuple[float, float]]], bool]]:
    def of(kind: str, run: Run) -> list[Record]:
        return [record for record in run.records.metrics if record.get("kind") == kind]

    validations = [record for run in runs for record in of("val", run)]
    for data, metric in dict.fromkeys((r["set"], m) for r in validations for m in r["metrics"]):
        yield (
            f"{data}: {metric}",
            {
                run.name: series_of([r for r in of("val", run) if r["set"] == data], "metrics", metric)
                for run in runs
            },
            False,
        )
    yield "loss, total", {run.name: series_of(of("train", run), "loss", "total") for run in runs}, True
    yield "learning rate", {run.name: series_of(of("train", run), "lr", "g") for run in runs}, True


def _pictures(pairs: Sequence[Pair]) -> str:
    if not pairs:
        return ""
    figures = []
    for names, picture in pairs:
        left, right = map(escape, names)
        figures.append(figure(picture, f"{escape(picture.title)}<br>left {left}, right {right}", left, right))
    return f'<h2>Pictures</h2><div class="charts">{"".join(figures)}</div>'


def _decisions(runs: Sequence[Run]) -> str:
    rows = [
        f"<tr><td>{escape(run.name)}{decision_cells(decision)}"
        for run in runs
        for decision in run.records.decisions
    ]
    if not rows:
        return "<p>None.</p>"
    return table(("run", *DECISION_TITLES), rows)


_STYLE = """
.axes > .charts { display: none; margin-top: .7em; } .axes label { margin: 0 1em 0 .2em; }
#axis0:checked ~ .of0, #axis1:checked ~ .of1, #axis2:checked ~ .of2 { display: flex; }
"""
