"""The tables of the experiments in `verification_plans`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from automation_experiments.plans import SEEDS
from automation_experiments.replay import replayed_ends
from automation_experiments.results import Results, score
from automation_experiments.tables import quarters, stops_by_kind, table
from automation_experiments.verification_plans import SHARE, adversarial_shares, fresh_curves, long_clipping


def long_clipping_table(results: Results) -> str:
    """By network, batches and seed: nothing, each fixed threshold, adaptive clipping, as far as they have run."""
    rows: list[list[object]] = []
    conditions = long_clipping()
    for case, arms in conditions.items():
        for seed in SEEDS:
            runs = {name: found[seed] for name, arm in arms.items() if (found := results.of(arm, [seed]))}
            if runs:
                scores = {name: score(run) for name, run in runs.items()}
                rows.append([f"{case}, seed {seed}", *_cells(list(arms), scores), *_caught(runs.get("on"))])
    names = {"off": "none", "on": "adaptive"}
    arms = [names.get(name, name) for name in next(iter(conditions.values()))]
    header = ["network, batches", *arms, "adaptive - best fixed", "corrupted steps caught"]
    return table([*header, "healthy steps clipped"], rows)


def _cells(arms: Sequence[str], scores: Mapping[str, float]) -> list[str]:
    """The score of each arm, and by how much adaptive clipping is ahead of the best fixed threshold."""
    fixed = [value for name, value in scores.items() if name.startswith("fixed")]
    ahead = f"{scores['on'] - max(fixed):+.3f}" if fixed and "on" in scores else ""
    return [*(f"{scores[name]:.3f}" if name in scores else "" for name in arms), ahead]


def _caught(run: Mapping[str, Any] | None) -> list[str]:
    """Corrupted and healthy steps that were limited or skipped, of how many."""
    counts = run["clipped"] if run else {}
    return [
        f"{counts[f'{kind}_clipped']} of {counts[kind]}" if counts.get(kind) else ""
        for kind in ("corrupted", "healthy")
    ]


def adversarial_shares_table(results: Results) -> str:
    """By game: the share of the adversarial loss in the second half of a run against the one asked for."""
    rows: list[list[object]] = []
    for game, arms in adversarial_shares().items():
        arm = arms["on"]
        late = [[s for step, s in run["shares"] if step > arm.steps / 2] for run in results.of(arm).values()]
        if not late:
            continue
        share = fmean(fmean(shares) for shares in late)
        parts = [fmean(part) for shares in late for part in quarters(shares)]
        span = f"{min(parts):.2f} to {max(parts):.2f}"
        rows.append([game, len(late), results.shown(arm), f"{share:.3f}", f"{share / SHARE - 1:+.0%}", span])
    header = ["game", "runs", "PSNR", f"mean share ({SHARE:g} was asked for)", "off by", "means of quarters"]
    return table(header, rows)


def fresh_curves_table(results: Results) -> str:
    """By kind of run and rule: what stopping cost and saved on curves that no rule was made on."""
    return stops_by_kind(replayed_ends(results, fresh_curves()["curves"]))
