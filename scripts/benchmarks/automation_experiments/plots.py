"""Plots of the experiments, as small SVG files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from automation_experiments.plans import interaction, learning_rate
from automation_experiments.results import LOWEST, Mean, Results, mean_of

COLOURS = ("#555555", "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e")
_WIDTH, _LEFT, _ROW = 760, 190, 22


def learning_rate_plot(results: Results) -> str:
    """PSNR over the learning rate, without and with the scheduler."""
    points: dict[str, list[tuple[float, Mean]]] = {"cosine alone": [], "with the scheduler": []}
    conditions = learning_rate()
    plain = [*conditions.pop("sweep").values(), *(arms["off"] for arms in conditions.values())]
    for arm in {arm.lr: arm for arm in plain}.values():
        points["cosine alone"].append((arm.lr, mean_of(list(results.psnr(arm).values()))))
    for arms in conditions.values():
        points["with the scheduler"].append((arms["on"].lr, mean_of(list(results.psnr(arms["on"]).values()))))
    shown = {name: sorted(pair for pair in pairs if pair[1].seeds > 1) for name, pairs in points.items()}
    every = [pair for pairs in shown.values() for pair in pairs]
    if not every:
        return _svg([], 60)
    low = max(LOWEST, math.floor(min(mean.value - mean.reach for _, mean in every)))
    high = math.ceil(max(mean.value + mean.reach for _, mean in every))
    rates = sorted({rate for rate, _ in every})

    def x(rate: float) -> float:
        return 70 + 560 * math.log(rate / rates[0]) / math.log(rates[-1] / rates[0])

    def y(psnr: float) -> float:
        return 300 - 260 * (max(psnr, low) - low) / (high - low)

    parts = [_line(60, y(level), 650, y(level), "#dddddd") for level in range(int(low), high + 1)]
    parts += [_text(54, y(level) + 4, f"{level} dB", "end") for level in range(int(low), high + 1)]
    parts += [_text(x(rate), 320, f"{rate:g}", "middle") for rate in rates]
    for pairs, colour in zip(shown.values(), COLOURS[1:], strict=False):
        parts.append(_path([(x(rate), y(mean.value)) for rate, mean in pairs], colour))
        parts += [_interval_upright(x(rate), y, mean, colour) for rate, mean in pairs]
    for row, (name, colour) in enumerate(zip(shown, COLOURS[1:], strict=False)):
        parts.append(_text(90, 220 + 18 * row, name, "start", colour))
    parts.append(
        _text(350, 342, "learning rate (AdamW, cosine); means over the seeds, 95 % intervals", "middle")
    )
    return _svg(parts, 355)


def interaction_plot(results: Results) -> str:
    """Difference to everything off, with its 95 % interval, for each fault and arm."""
    rows = [
        (fault, name, results.difference(arm, arms["off"]))
        for fault, arms in interaction().items()
        for name, arm in arms.items()
        if name != "off"
    ]
    rows = [row for row in rows if row[2].seeds > 1]
    if not rows:
        return _svg([], 60)
    low = min(0.0, *(mean.value - mean.reach for _, _, mean in rows))
    high = max(0.0, *(mean.value + mean.reach for _, _, mean in rows))

    def x(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - 30) * (value - low) / (high - low)

    names = list(dict.fromkeys(name for _, name, _ in rows))
    parts, top, before = [], 20.0, ""
    for fault, name, mean in rows:
        if fault != before:
            top += 0.8 * _ROW
            parts.append(_text(10, top + 4, fault, "start"))
            before, top = fault, top + _ROW
        colour = COLOURS[names.index(name) % len(COLOURS)]
        parts.append(_text(_LEFT - 10, top + 4, name, "end", colour))
        parts.append(_line(x(mean.value - mean.reach), top, x(mean.value + mean.reach), top, colour))
        parts.append(f'<circle cx="{x(mean.value):.1f}" cy="{top:.1f}" r="4" fill="{colour}"/>')
        top += _ROW
    axis = [_line(x(level), 14, x(level), top, "#dddddd") for level in _levels(low, high)]
    axis += [_text(x(level), top + 16, f"{level:+g}", "middle") for level in _levels(low, high)]
    axis.append(_text((_LEFT + _WIDTH) / 2, top + 36, "dB against all off, 95 % intervals", "middle"))
    return _svg([*axis, *parts], top + 48)


def _levels(low: float, high: float) -> list[float]:
    step = next(step for step in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0) if (high - low) / step <= 8)
    return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _interval_upright(x: float, y: Callable[[float], float], mean: Mean, colour: str) -> str:
    line = _line(x, y(mean.value - mean.reach), x, y(mean.value + mean.reach), colour)
    return f'{line}<circle cx="{x:.1f}" cy="{y(mean.value):.1f}" r="4" fill="{colour}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="2"/>'
    )


def _path(points: Sequence[tuple[float, float]], colour: str) -> str:
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{corners}" fill="none" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#222222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _svg(parts: Sequence[str], height: float) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height:.0f}" '
    head += 'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>'
    return "\n".join([head, *parts, "</svg>\n"])
