"""Line charts as SVG text, for pages that must stand alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from traiNNer.tracking.report.marks import LANE, Mark, drawn_marks, lanes_of

Points: TypeAlias = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 26, 12, 34
_COLOURS = ("#3b7dd8", "#d9822b", "#3a9d5d", "#b0479e", "#8a6d3b", "#5e5ce6", "#c23b3b", "#2a9d9d")
_MOST_POINTS = 600


class _Axis(NamedTuple):
    low: float
    high: float
    log: bool

    def share(self, value: float) -> float:
        """0 at the low end, 1 at the high."""
        return (self._at(value) - self._at(self.low)) / (self._at(self.high) - self._at(self.low))

    def _at(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def ticks(self) -> list[float]:
        """About five round values."""
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            decades = [10.0**k for k in range(first, last + 1)]
            if len(decades) > 1:
                return decades[:: math.ceil(len(decades) / 6)]
        step = _round_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        return [step * k for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def line_chart(
    title: str, series: Mapping[str, Points], *, marks: Sequence[Mark] = (), log: bool = False
) -> str:
    """One `<figure>` with a line for each series, points joined by straight lines.

    Args:
        title: What the vertical axis shows, with its unit.
        series: Points (x, y) by name; values that are not finite, and with `log` not positive, are left out.
        marks: Drawn as lines through the chart and ticks below it; their texts show under the pointer.
        log: A logarithmic vertical axis.

    Returns:
        The figure, or nothing where there are no points.
    """
    drawn = {name: _drawable(points, log=log) for name, points in series.items()}
    drawn = {name: points for name, points in drawn.items() if points}
    if not drawn:
        return ""
    xs = [x for points in drawn.values() for x, _ in points]
    ys = [y for points in drawn.values() for _, y in points]
    across, up = _axis(xs, log=False), _axis(ys, log=log, air=0.04)
    inside = [mark for mark in marks if across.low <= mark.x <= across.high]
    body = [*_grid(across, up), *_mark_pieces(inside, across)]
    for colour, (name, points) in zip(_cycle(len(drawn)), drawn.items(), strict=True):
        path = " ".join(f"{_x(across, x):.1f},{_y(up, y):.1f}" for x, y in points)
        x, y = _x(across, points[0][0]), _y(up, points[0][1])
        dot = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
        line = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
        body.append(f"<g><title>{escape(name)}</title>{line if len(points) > 1 else dot}</g>")
    legend = " ".join(
        f'<span class="key"><i style="background:{colour}"></i>{escape(name)}</span>'
        for colour, name in zip(_cycle(len(drawn)), drawn, strict=True)
    )
    height = HEIGHT + LANE * len(lanes_of(inside))
    svg = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">{"".join(body)}</svg>'
    return f"<figure><figcaption>{escape(title)} {legend}</figcaption>{svg}</figure>"


def _drawable(points: Points, *, log: bool) -> list[tuple[float, float]]:
    kept = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y) and (y > 0 or not log)]
    stride = math.ceil(len(kept) / _MOST_POINTS)
    return kept[::stride] + (kept[-1:] if stride > 1 and (len(kept) - 1) % stride else []) if kept else []


def _axis(values: Sequence[float], *, log: bool, air: float = 0.0) -> _Axis:
    low, high = min(values), max(values)
    if log:
        factor = max((high / low) ** air, 1.02)
        return _Axis(low / factor, high * factor, log=True)
    spare = (high - low) * air or (0.0 if high > low else max(abs(high) * 0.05, 0.5))
    return _Axis(low - spare, high + spare, log=False)


def _round_step(rough: float) -> float:
    power = 10 ** math.floor(math.log10(rough))
    return power * next(k for k in (1, 2, 5, 10) if k * power >= rough * 0.999)


def _grid(across: _Axis, up: _Axis) -> list[str]:
    lines = []
    ticks = up.ticks()
    for tick, text in zip(ticks, _labels(ticks), strict=True):
        y = _y(up, tick)
        lines.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        lines.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for tick in across.ticks():
        x = _x(across, tick)
        lines.append(f'<text x="{x:.1f}" y="{HEIGHT - 12}" text-anchor="middle">{tick:,.0f}</text>')
    return lines


def _labels(ticks: Sequence[float]) -> list[str]:
    """Ticks of four digits, or of as many as tell them apart."""
    apart = min((abs(b - a) for a, b in pairwise(ticks)), default=math.inf)
    digits = 4
    while digits < 17 and any(abs(float(f"{tick:.{digits}g}") - tick) > 0.01 * apart for tick in ticks):
        digits += 1
    large = max(map(abs, ticks), default=0.0) >= 10_000  # which would be 5e+04
    return [f"{tick:,.0f}" if large and tick == round(tick) else f"{tick:.{digits}g}" for tick in ticks]


def _mark_pieces(marks: Sequence[Mark], across: _Axis) -> list[str]:
    return drawn_marks(marks, lambda at: _x(across, at), top=_TOP, bottom=HEIGHT - _BOTTOM, lanes_at=HEIGHT)


def _x(axis: _Axis, value: float) -> float:
    return _LEFT + axis.share(value) * (WIDTH - _LEFT - _RIGHT)


def _y(axis: _Axis, value: float) -> float:
    return HEIGHT - _BOTTOM - axis.share(value) * (HEIGHT - _TOP - _BOTTOM)


def _cycle(count: int) -> list[str]:
    return [_COLOURS[k % len(_COLOURS)] for k in range(count)]
