"""From the figures of a card to what to write into the YAML for it, each line with its reason."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Row = Mapping[str, Any]
Parts = Mapping[str, Sequence[Row]]
"""The rows of each part by its name."""

_WORTH = 1.05  # a setting that gains less than this is left as it is
_COMPILING_WORTH = 1.15  # compiling takes a minute at every start
_IDLE = 1.5  # times the time of the smallest batch, below which the largest left the card idle
_ENOUGH = 0.9  # of the highest speed, at the smallest batch that reaches it
_WAITING = 0.05  # share of the time that may go by waiting for data


class Line(NamedTuple):
    """A setting for the YAML, by its dotted path, and why."""

    path: str
    value: str
    reason: str


def _speeds(rows: Iterable[Row], **wanted: Any) -> dict[str, float]:
    """Samples a second by network, of the rows that have the values `wanted`."""
    return {
        row["network"]: row["samples_per_second"]
        for row in rows
        if "samples_per_second" in row and all(row.get(key) == value for key, value in wanted.items())
    }


def gain(rows: Iterable[Row], over: Iterable[Row], new: Mapping[str, Any], old: Mapping[str, Any]) -> float:
    """Median over the networks of the speed with `new` over that with `old`; NaN without any."""
    fast, slow = _speeds(rows, **new), _speeds(over, **old)
    ratios = [fast[name] / slow[name] for name in fast if name in slow]
    return statistics.median(ratios) if ratios else float("nan")


def advise(parts: Parts) -> list[Line]:
    """Settings in the order in which they stand in a file; empty where nothing was measured."""
    rows, idle = parts.get("precision", ()), launch_bound(parts.get("batches", ()))
    busy = [row for row in rows if row["network"] not in idle]
    lines = [*_precision(busy or rows), *_compiling(parts)]
    return [*lines, *_workers(parts.get("workers", ())), *_batch(parts.get("batches", ()))]


def launch_bound(rows: Iterable[Row]) -> set[str]:
    """Networks whose steps take as long with 8 samples as with many: the processor cannot keep the card busy.

    What their steps take says nothing of a precision; a larger batch is for nothing.
    """
    times: dict[str, dict[int, float]] = {}
    for row in rows:
        if "milliseconds" in row:
            times.setdefault(row["network"], {})[row["batch"]] = row["milliseconds"]
    return {
        name
        for name, found in times.items()
        if len(found) > 1 and found[max(found)] < _IDLE * found[min(found)]
    }


def _precision(rows: Sequence[Row]) -> list[Line]:
    plain = {"precision": "fp32", "channels_last": False}
    gains = {
        (precision, layout): gain(rows, rows, {"precision": precision, "channels_last": layout}, plain)
        for precision in ("fp32", "tf32", "bf16", "fp16")
        for layout in (False, True)
    }
    known = {key: value for key, value in gains.items() if value == value}  # no NaN
    if not known:
        return []
    best = max(known, key=lambda key: known[key])
    if best[0] == "fp16" and known[best] < _WORTH * known.get(("bf16", best[1]), 0.0):
        best = ("bf16", best[1])  # as fast, and needs no loss scale
    tf32 = max(known.get(("tf32", layout), 0.0) for layout in (False, True))
    low = best[0] in ("bf16", "fp16") and known[best] > _WORTH * max(1.0, tf32)
    layout = _layout(known, best[0] if low else ("tf32" if tf32 > _WORTH else "fp32"))
    halves = {key: value for key, value in known.items() if key[0] in ("bf16", "fp16")}
    fastest = max(halves, key=lambda key: halves[key], default=best)
    said = f"{fastest[0]} is {known[fastest]:.2f} times as fast as fp32 (median of the networks)"
    lines = [Line("use_amp", str(low).lower(), said)]
    if low:
        lines.append(Line("amp_bf16", str(best[0] == "bf16").lower(), f"the faster is {best[0]}"))
    if tf32:
        lines.append(
            Line("fast_matmul", str(tf32 > _WORTH).lower(), f"TF32 is {tf32:.2f} times as fast as fp32")
        )
    return [*lines, Line("use_channels_last", str(layout[0]).lower(), layout[1])]


def _layout(known: Mapping[tuple[str, bool], float], precision: str) -> tuple[bool, str]:
    both = [known.get((precision, layout), float("nan")) for layout in (False, True)]
    ratio = both[1] / both[0]
    if ratio != ratio:
        return True, "not compared: the default"
    return ratio >= 1 / _WORTH, f"{ratio:.2f} times as fast in {precision} (median; see the table by network)"


def _compiling(parts: Parts) -> list[Line]:
    rows = parts.get("compile", ())
    ratio = gain(rows, parts.get("precision", ()), {}, {"precision": "bf16", "channels_last": True})
    if ratio != ratio:
        return []
    longest = max((row.get("first_seconds", 0.0) for row in rows), default=0.0)
    reason = f"compiled {ratio:.2f} times as fast (median); compiling took up to {longest:.0f} s"
    return [Line("use_compile", str(ratio > _COMPILING_WORTH).lower(), reason)]


def _workers(rows: Sequence[Row]) -> list[Line]:
    found = sorted((row["workers"], row["waiting"]) for row in rows if "waiting" in row)
    if not found:
        return []
    enough = [pair for pair in found if pair[1] <= _WAITING]
    workers, waiting = enough[0] if enough else min(found, key=lambda pair: pair[1])
    reason = f"{waiting:.0%} of the time goes by waiting for data"
    if not enough:
        reason += "; faster storage, smaller images on disk or a larger network would use the card better"
    return [Line("datasets.train.num_worker_per_gpu", str(workers), reason)]


def enough_batch(rows: Iterable[Row]) -> dict[str, int]:
    """By network: the smallest batch that reaches nine tenths of the highest speed."""
    speeds: dict[str, dict[int, float]] = {}
    for row in rows:
        if "samples_per_second" in row:
            speeds.setdefault(row["network"], {})[row["batch"]] = row["samples_per_second"]
    return {
        name: min(batch for batch, speed in found.items() if speed >= _ENOUGH * max(found.values()))
        for name, found in speeds.items()
    }


def _batch(rows: Sequence[Row]) -> list[Line]:
    found = enough_batch(rows)
    if not found:
        return []
    said = ", ".join(f"{name} {batch}" for name, batch in found.items())
    usual = statistics.median_low(found.values())
    reason = f"the smallest at nine tenths of the full speed: {said}"
    return [Line("datasets.train.batch_size_per_gpu", str(usual), reason)]


def memory_per_sample(rows: Iterable[Row]) -> dict[str, float]:
    """MiB that one sample more takes, by network, from the smallest and largest batch measured."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row.get("memory_mib"):
            found.setdefault(row["network"], []).append((row["batch"], row["memory_mib"]))
    slopes = {}
    for name, points in found.items():
        (first, low), (last, high) = min(points), max(points)
        if last > first:
            slopes[name] = (high - low) / (last - first)
    return slopes


def as_yaml(lines: Sequence[Line]) -> str:
    """The settings as a piece of a configuration, the reasons as comments."""
    text: list[str] = []
    open_sections: list[str] = []
    for line in lines:
        *sections, key = line.path.split(".")
        shared = 0
        while shared < min(len(sections), len(open_sections)) and sections[shared] == open_sections[shared]:
            shared += 1
        text += [f"{'  ' * depth}{sections[depth]}:" for depth in range(shared, len(sections))]
        open_sections = sections
        text.append(f"{'  ' * len(sections)}{key}: {line.value}  # {line.reason}")
    return "\n".join(text)
