"""The tables of docs/benchmarks.md, in Markdown, from the finished runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from automation_experiments import splits
from automation_experiments.plans import (
    RATES,
    SEEDS,
    SHARE,
    clipping,
    converged,
    interaction,
    learning_rate,
    loss_scheduling,
    perceptual_training,
)
from automation_experiments.replay import End, replayed, replayed_ends
from automation_experiments.results import Results, mean_of
from automation_experiments.settings import GOOD_RATE, HEALTHY, LEARNING_RATE, Setting

EARLY = 0.3  # share of a run in which a healthy one must not be cut


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Markdown; the first column is text, the others numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def learning_rate_table(results: Results) -> str:
    """Rates with a cosine schedule: alone, and with the scheduler."""
    conditions = learning_rate()
    rows: list[list[object]] = []
    for name, arm in conditions.pop("sweep").items():
        rows.append([f"{name}", *_row(results, arm, HEALTHY), "", "", "", ""])
    for condition, arms in conditions.items():
        rate = f"{arms['off'].lr:g} ({condition} the best)"
        if arms["off"].lr not in RATES:
            rows.append([rate, *_row(results, arms["off"], HEALTHY), "", "", "", ""])
        on = arms["on"]
        rows.append(
            [
                f"{rate}, scheduler",
                *_row(results, on, HEALTHY),
                results.difference(on, arms["off"]),
                _recovered(results, arms["off"], on),
                f"{results.count(on, _is_cut):.1f}, {results.count(on, _is_return):.1f}",
                f"{results.count(on, _is_early_cut):.1f}",
            ]
        )
    header = [
        "rate",
        "runs",
        "PSNR",
        f"against {GOOD_RATE:g}",
        "against the same rate without",
        "gap recovered",
    ]
    return table([*header, "cuts, returns a run", f"cuts in the first {EARLY:.0%}"], rows)


def _row(results: Results, arm: Setting, base: Setting) -> list[object]:
    difference = "" if arm.key == base.key else results.difference(arm, base)
    return [len(results.of(arm)), results.shown(arm), difference]


def _is_cut(decision: Sequence[Any]) -> bool:
    return decision[1] == LEARNING_RATE and decision[4] < decision[3] and not _is_return(decision)


def _is_early_cut(decision: Sequence[Any]) -> bool:
    return _is_cut(decision) and decision[0] <= EARLY * HEALTHY.steps


def _is_return(decision: Sequence[Any]) -> bool:
    return decision[1] == LEARNING_RATE and decision[5].startswith("blow-up")


def _recovered(results: Results, off: Setting, on: Setting) -> str:
    share = results.recovered(off, on, HEALTHY)
    return f"{share:.0%}" if off.lr > GOOD_RATE and math.isfinite(share) else ""


def clipping_table(results: Results) -> str:
    """Corrupted batches without clipping, with the best fixed threshold, and with the adaptive one."""
    rows: list[list[object]] = []
    for case, arms in clipping().items():
        if not results.of(arms["on"]):
            continue
        off, on = arms["off"], arms["on"]
        fixed = {name: arm for name, arm in arms.items() if name.startswith("fixed") and results.of(arm)}
        best = results.best(fixed) if fixed else ""
        rows.append(
            [
                case,
                len(results.of(on)),
                results.shown(off),
                f"{results.shown(fixed[best])} ({best.removeprefix('fixed ')})" if best else "",
                results.shown(on),
                results.difference(on, off),
                results.difference(on, fixed[best]) if best else "",
                touched(results, on, "corrupted"),
                touched(results, on, "healthy"),
                results.difference(arms["low start"], off),
                results.difference(arms["low start"], fixed[best]) if best else "",
            ]
        )
    header = ["loss x weight, batches", "runs", "no clipping", "best fixed (threshold)", "adaptive"]
    header += ["adaptive - none", "adaptive - best fixed", "corrupted steps caught", "healthy steps clipped"]
    header += ["low start - none", "low start - best fixed"]
    return table(header, rows)


def fixed_table(results: Results) -> str:
    """The fixed thresholds one by one."""
    rows: list[list[object]] = []
    for case, arms in clipping().items():
        for name, arm in arms.items():
            if name.startswith("fixed") and results.of(arm):
                share = touched(results, arm, "healthy")
                rows.append(
                    [
                        f"{case}, {name}",
                        results.shown(arm),
                        results.difference(arm, arms["off"]),
                        share,
                    ]
                )
    return table(["loss x weight, threshold", "PSNR", "against none", "healthy steps clipped"], rows)


def touched(results: Results, arm: Setting, kind: str) -> str:
    """Share of the corrupted or healthy steps of all runs whose gradient was limited or skipped."""
    counts = [run["clipped"] for run in results.of(arm).values()]
    total = sum(count[kind] for count in counts)
    return f"{sum(count[f'{kind}_clipped'] for count in counts) / total:.1%}" if total else ""


def interaction_table(results: Results) -> str:
    """Differences to everything off, for each automation alone and for all together."""
    faults = interaction()
    names = list(dict.fromkeys(name for arms in faults.values() for name in arms if name != "off"))
    rows: list[list[object]] = []
    for fault, arms in faults.items():
        alone = {name: arm for name, arm in arms.items() if name not in ("off", "all") and results.of(arm)}
        cells = [results.difference(arms[name], arms["off"]) if name in arms else "" for name in names]
        best = results.difference(arms["all"], arms[results.best(alone)]) if alone else ""
        row = [fault, len(results.of(arms["all"])), results.shown(arms["off"]), *cells, best]
        rows.append([*row, _decisions(results, arms["all"])])
    return table(["fault", "runs", "all off", *names, "all - best alone", "decisions of all, a run"], rows)


def _decisions(results: Results, arm: Setting) -> str:
    """Which automation has decided how often, in the mean."""
    runs = results.of(arm).values()
    counts = Counter(decision[1] for run in runs for decision in run["decisions"])
    return ", ".join(f"{name} {count / len(runs):.1f}" for name, count in sorted(counts.items()))


def loss_table(results: Results) -> str:
    """An auxiliary loss in wrong units: a static weight against the share that the automation sets."""
    conditions = loss_scheduling()
    grid = conditions.pop("grid")
    best = grid[results.best(grid) or "L1 alone"]
    rows: list[list[object]] = [
        [
            name,
            len(results.of(arm)),
            results.shown(arm),
            results.difference(arm, best),
            _share(results, arm),
        ]
        for name, arm in grid.items()
        if results.of(arm)
    ]
    for condition, arms in conditions.items():
        for name, arm in arms.items():
            if not results.of(arm):
                continue
            label = {"off": "static", "on": "ratio mode", "hold": "hold mode"}[name]
            cells = [len(results.of(arm)), results.shown(arm), results.difference(arm, best)]
            rows.append([f"{condition}, {label}", *cells, _share(results, arm)])
    header = ["auxiliary loss", "runs", "PSNR", "against the best static weight"]
    return table([*header, f"its share ({SHARE:g} was asked for)"], rows)


def perceptual_table(results: Results) -> str:
    """Perceptual and adversarial losses: a static weight against the share that the automation sets."""
    rows: list[list[object]] = [
        [f"{condition}, {label}", len(results.of(arm)), results.shown(arm), _share(results, arm)]
        for condition, arms in perceptual_training().items()
        for label, arm in zip(("static", "ratio mode"), arms.values(), strict=True)
        if results.of(arm)
    ]
    return table(["second loss", "runs", "PSNR", f"its share ({SHARE:g} was asked for)"], rows)


def _share(results: Results, arm: Setting) -> str:
    """Mean of the share in the second half of the runs, and the range of the means of quarters of it."""
    shares = [
        [s for step, s in run["shares"] if step > arm.steps / 2]
        for run in results.of(arm).values()
        if "shares" in run
    ]
    if not any(shares):
        return ""
    parts = [fmean(q) for s in shares for q in quarters(s)]
    return f"{fmean(fmean(s) for s in shares):.3g} ({min(parts):.3g} to {max(parts):.3g})"


def quarters(values: Sequence[float]) -> list[Sequence[float]]:
    """The values in four parts, the rest of the division left out."""
    size = max(1, len(values) // 4)
    return [values[i * size : (i + 1) * size] for i in range(4) if values[i * size : (i + 1) * size]]


def stopping_table(results: Results) -> str:
    """By rule: what stopping cost and saved on the recorded curves."""
    lines = _stopping_rows(replayed(results), "PSNR, dB")
    automation = list(replayed(results, lower_is_better=True).items())[:1]
    lines += _stopping_rows(dict(automation), "error, grey levels")
    header = ["rule", "on", "stopped", "mean regret", "worst", "iterations saved", "stopped at a new best"]
    return table([*header, "stops by schedule"], lines)


def _stopping_rows(rules: Mapping[str, Mapping[str, list[End]]], unit: str) -> list[list[object]]:
    lines: list[list[object]] = []
    for rule, curves in rules.items():
        ends = [end for found in curves.values() for end in found]
        if not ends:
            continue
        lines.append(
            [
                rule,
                unit,
                f"{sum(end.stopped for end in ends)} of {len(ends)}",
                f"{fmean(end.regret for end in ends):.3f}",
                f"{max(end.regret for end in ends):.3f}",
                f"{fmean(end.saved for end in ends):.0%}",
                sum(end.at_new_best for end in ends),
                ", ".join(f"{name} {sum(e.stopped for e in found)}" for name, found in curves.items()),
            ]
        )
    return lines


def converged_table(results: Results) -> str:
    """By kind of run and rule: what stopping cost and saved where nothing was left to gain."""
    return stops_by_kind(replayed_ends(results, converged()["curves"]))


def stops_by_kind(ends_of: Mapping[str, Mapping[str, Sequence[End]]]) -> str:
    """By kind of run and rule: what stopping cost and saved."""
    lines: list[list[object]] = []
    for rule, kinds in ends_of.items():
        for kind, ends in kinds.items():
            if not ends:
                continue
            regret, saved = mean_of([e.regret for e in ends]), mean_of([100 * e.saved for e in ends])
            stopped = f"{sum(end.stopped for end in ends)} of {len(ends)}"
            worst = max((end.regret for end in ends), default=math.nan)
            percent = f"{saved.value:.0f} ± {saved.reach:.0f}" if len(ends) > 1 else f"{saved.value:.0f}"
            bests = sum(end.at_new_best for end in ends)
            lines.append([kind, rule, stopped, percent, str(regret), f"{worst:.3f}", bests])
    header = ["run", "rule", "stopped", "steps saved, %", "mean regret, dB", "worst", "stopped at a new best"]
    return table(header, sorted(lines, key=lambda line: str(line[0])))


def splits_table(results: Results) -> str:
    """Largest relative differences of weights over the seeds, by rate."""
    found = [results.by_key[key] for key in map(splits.key, SEEDS) if key in results.by_key]
    rates = list(found[0]) if found else []
    rows = [
        [f"{case}, against {'pieces of 4' if case == splits.FIRST else '16 at once'}"]
        + [f"{max(run[rate][case] for run in found):.1g}" for rate in rates]
        for case in (found[0][rates[0]] if found else ())
    ]
    return table([f"50 steps, {len(found)} seeds", *(f"rate {rate}" for rate in rates)], rows)
