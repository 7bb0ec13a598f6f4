"""Decisions of automations in a chart: interventions are lines through it, ordinary adjustments ticks below it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from traiNNer.tracking.decisions import intervenes
from traiNNer.wording import counted, shortened

LANE = 7
"""Height of the ticks of one automation."""

_COLOURS = {
    "IntelligentLearningRateScheduler": "#c23b3b",
    "DynamicBatchSizeOptimizer": "#8a6d3b",
    "AdaptiveGradientClipping": "#8e5bd0",
    "IntelligentEarlyStopping": "#d1478c",
    "DynamicLossScheduling": "#2a9d9d",
    "GradientFlowStabilizer": "#6f8f1f",
}
"""None of them is that of one of the first curves of a chart."""
_OTHER = "#6b7280"
_NEAR = 8.0  # units of the drawing; marks nearer to each other are one
_TOLD = 5  # decisions of one mark that are named under the pointer


class Mark(NamedTuple):
    """A decision at one place of the horizontal axis."""

    x: float
    text: str
    automation: str
    intervention: bool
    applied: bool = True


class _Group(NamedTuple):
    """Marks of one kind that lie too near to each other to be told apart."""

    first: float
    last: float
    """In units of the drawing."""
    texts: list[str]


def marks_of(decisions: Iterable[Mapping[str, Any]]) -> list[Mark]:
    """The lines of decisions.jsonl as marks."""
    return [
        Mark(
            d["iter"],
            f"{d['iter']:,} {d['automation']}: {d['parameter']} {d['old']} -> {d['new']}, {d['reason']}",
            d["automation"],
            intervenes(d),
            d.get("applied", True),
        )
        for d in decisions
    ]


def lanes_of(marks: Sequence[Mark]) -> list[str]:
    """Automations that have ticks below the charts, in the order of the lanes."""
    found = {mark.automation for mark in marks if not mark.intervention}
    return [*(name for name in _COLOURS if name in found), *sorted(found - _COLOURS.keys())]


def drawn_marks(
    marks: Sequence[Mark], x: Callable[[float], float], *, top: float, bottom: float, lanes_at: float
) -> list[str]:
    """The marks as pieces of an SVG.

    Args:
        marks: That lie on the axis.
        x: From a place on the axis to units of the drawing.
        top: Of the lines through the chart.
        bottom: Of the same.
        lanes_at: Top of the first lane.
    """
    pieces = []
    for lane, name in enumerate(lanes_of(marks)):
        y = lanes_at + lane * LANE
        own = [mark for mark in marks if mark.automation == name and not mark.intervention]
        for group in _gathered(own, x):
            width = max(2.0, group.last - group.first)
            place = f'x="{group.first - 1:.1f}" y="{y:.1f}" width="{width:.1f}" height="{LANE - 2}"'
            pieces.append(f'<rect {place} fill="{_colour(name)}" class="tick">{_title(group)}</rect>')
    kinds = dict.fromkeys((mark.automation, mark.applied) for mark in marks if mark.intervention)
    for name, applied in kinds:
        own = [m for m in marks if (m.automation, m.applied) == (name, applied) and m.intervention]
        for group in _gathered(own, x):
            look = f'stroke="{_colour(name)}" class="mark{"" if applied else " only"}"'
            width = max(1.5, group.last - group.first)
            at = (group.first + group.last) / 2
            ends = f'x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{bottom}"'
            pieces.append(f'<line {ends} stroke-width="{width:.1f}" {look}>{_title(group)}</line>')
    return pieces


def legend(marks: Sequence[Mark]) -> str:
    """What the marks mean, with the colour of each automation; nothing where there are none."""
    if not marks:
        return ""
    keys = []
    for name in dict.fromkeys([*_COLOURS, *sorted({mark.automation for mark in marks})]):
        own = [mark for mark in marks if mark.automation == name]
        if own:
            count = sum(mark.intervention for mark in own)
            parts = [counted(count, "intervention")] if count else []
            parts += [counted(len(own) - count, "adjustment")] if len(own) > count else []
            key = (
                f'<i class="block" style="background:{_colour(name)}"></i>{escape(name)}: {", ".join(parts)}'
            )
            keys.append(f'<span class="key">{key}</span>')
    text = (
        "Lines are interventions (cuts, returns to earlier weights, emergencies, stops), "
        "ticks below the charts ordinary adjustments"
    )
    more = "; dashed lines were not applied" if any(m.intervention and not m.applied for m in marks) else ""
    return f"<p>{text}{more}. The pointer shows which.<br>{' '.join(keys)}</p>"


def _gathered(marks: Sequence[Mark], x: Callable[[float], float]) -> list[_Group]:
    groups: list[_Group] = []
    for mark in sorted(marks, key=lambda mark: mark.x):
        at = x(mark.x)
        if groups and at - groups[-1].last < _NEAR:
            groups[-1].texts.append(mark.text)
            groups[-1] = groups[-1]._replace(last=at)
        else:
            groups.append(_Group(at, at, [mark.text]))
    return groups


def _title(group: _Group) -> str:
    return f"<title>{escape(chr(10).join(shortened(group.texts, _TOLD)))}</title>"


def _colour(name: str) -> str:
    return _COLOURS.get(name, _OTHER)
