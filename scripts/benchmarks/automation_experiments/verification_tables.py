"""The tables of the experiments in `verification_plans`."""

from __future__ import annotations

from statistics import fmean

from automation_experiments.replay import replayed_ends
from automation_experiments.results import Results
from automation_experiments.tables import quarters, stops_by_kind, table, touched
from automation_experiments.verification_plans import SHARE, adversarial_shares, fresh_curves, long_clipping


def long_clipping_table(results: Results) -> str:
    """By network and batches: nothing, each fixed threshold, adaptive clipping, and what that brings."""
    rows: list[list[object]] = []
    header: list[str] = []
    for case, arms in long_clipping().items():
        fixed = {name: arm for name, arm in arms.items() if name.startswith("fixed")}
        header = ["network, batches", "runs", "none", *fixed, "adaptive", "low start", "adaptive - none"]
        header += ["adaptive - best fixed", "low start - best fixed", "corrupted caught", "healthy clipped"]
        if not results.of(arms["on"]):
            continue
        best = arms[results.best(fixed) or "off"]
        rows.append(
            [
                case,
                len(results.of(arms["on"])),
                *(results.shown(arm) for arm in arms.values()),
                *(results.difference(arms["on"], arms[other]) for other in ("off",)),
                results.difference(arms["on"], best),
                results.difference(arms["low start"], best),
                touched(results, arms["on"], "corrupted"),
                touched(results, arms["on"], "healthy"),
            ]
        )
    return table(header, rows)


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
