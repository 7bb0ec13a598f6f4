"""Measure the quality for a time: one network and data set under several recipes, each for the same CPU minutes.

    python scripts/benchmarks/benchmark_quality.py --template Compact_fidelity.yml --gt HR --lq LRx2 \\
        --bench BENCH --out docs/data/quality_for_time.jsonl --work FOLDER --minutes 10

The first recipe is traiNNer-redux's training template for Compact as it stands, read by this program as by that
one; its milestones are scaled to the length of the run, and what names data, network, scale and mixed precision is
set. Each of the others adds one thing to the one before. Every run is a `train.py` of its own with one thread and
no worker; before the first, the CPU time of a step is measured for all recipes in turn, and each gets as many
steps as its minutes hold. Scores are those of the last step (EMA), PSNR and SSIM of luma and PSNR of all channels
(`psnr_rgb`); they choose nothing.

Runs that are finished are JSON lines and are skipped; one that was interrupted is resumed. The table comes last.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import resource
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from whole_runs import SETS, bench_sets, finished, train

NETWORKS: dict[str, dict[str, Any]] = {
    "compact": {"type": "compact", "num_feat": 32, "num_conv": 8},
    "span": {"type": "span", "feature_channels": 16},
}
ARMS = (
    "template",
    "patches of 32, batch 8",
    "rate 2e-3, cosine",
    "linear_start",
    "half of the loss on luma",
    "PSNRLoss for the last fifth",
    "Muon",
    "half of PSNRLoss on colours",
)
MUON = {
    "type": "Muon",
    "lr": 5e-3,
    "weight_decay": 0,
    "adamw_lr": 2e-3,
    "adamw_betas": [0.9, 0.99],
    "adamw_wd": 0,
}
COSTS = (0, 1, 1, 1, 4, 4, 6, 6)
"""The recipe whose step is measured for each: the others' steps do the same work."""
_SHORT = 4
_MORE = {
    0: 12,
    1: 100,
    4: 100,
    6: 100,
}  # steps by which the longer of two runs is longer; their difference is what counts


def recipe(template: dict[str, Any], arm: str, network: dict[str, Any], steps: int) -> dict[str, Any]:
    """The configuration of an arm: the template, and what all arms up to this one change."""
    tree = copy.deepcopy(template)
    reached = ARMS.index(arm)
    tree["network_g"] = dict(network)
    tree.update(scale=2, use_amp=False, use_channels_last=False, num_gpu=0)
    learning, data = tree["train"], tree["datasets"]["train"]
    data["num_worker_per_gpu"] = 0
    whole = learning["total_iter"]
    learning["scheduler"]["milestones"] = [
        round(m * steps / whole) for m in learning["scheduler"]["milestones"]
    ]
    learning["total_iter"] = steps
    if reached >= 1:
        data.update(lq_size=32, batch_size_per_gpu=8)
    if reached >= 2:
        learning["optim_g"]["lr"] = 2e-3
        learning["scheduler"] = {"type": "CosineAnnealingLR", "eta_min": 1e-6}
        learning.update(warmup_iter=min(100, steps // 10), grad_clip=True, grad_clip_max_norm=1.0)
    if reached >= 3:
        tree["network_g"]["linear_start"] = True
    if reached >= 4:
        learning["losses"] = _losses(reached, steps)
    if reached >= 6:
        learning["optim_g"] = dict(MUON)
    return tree


def _losses(reached: int, steps: int) -> list[dict[str, Any]]:
    losses: list[dict[str, Any]] = [
        {"type": "L1Loss", "loss_weight": 0.5},
        {"type": "LumaLoss", "loss_weight": 0.5},
    ]
    if reached < 5:
        return losses
    turn = round(0.8 * steps)
    last = {"type": "PSNRLoss", "toY": True, "eps": 1e-6, "loss_weight": 0.01, "start_iter": turn}
    first = [{**loss, "disable_after": turn - 1} for loss in losses]
    if reached < 7:
        return [*first, last]
    return [*first, *({**last, "loss_weight": 0.005, "toY": luma} for luma in (True, False))]


def run(
    args: argparse.Namespace, tree: dict[str, Any], seed: int, folder: Path
) -> tuple[dict[str, Any], float]:
    """Scores of a training after its last step, and the CPU seconds of its process."""
    folder.mkdir(parents=True, exist_ok=True)
    steps = tree["train"]["total_iter"]
    luma = {"crop_border": 2, "test_y_channel": True}
    data = {**tree["datasets"]["train"], "dataroot_gt": str(args.gt), "dataroot_lq": str(args.lq)}
    tree = {
        **tree,
        "manual_seed": seed,
        "datasets": {"train": data, **bench_sets(args.bench)},
        "val": {
            "val_enabled": True,
            "val_freq": steps,
            "metrics": {
                "psnr": {"type": "psnr", **luma},
                "ssim": {"type": "ssim", **luma},
                "psnr_rgb": {"type": "psnr", "crop_border": 2},
            },
        },
        "logger": {"print_freq": 500, "save_checkpoint_freq": 2000, "use_tb_logger": False},
    }
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    scores = train(tree, folder)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    return {
        name: {metric: round(value, 4) for metric, value in of.items()} for name, of in scores.items()
    }, seconds


def step_seconds(args: argparse.Namespace, template: dict[str, Any], network: str) -> dict[str, float]:
    """CPU seconds of a step of each recipe, measured in turns and kept beside the runs."""
    kept = args.work / f"seconds_{network}.json"
    seconds = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    places = {place for arm, place in zip(ARMS, COSTS, strict=True) if arm not in seconds}
    found: dict[int, list[float]] = {place: [] for place in sorted(places)}
    for turn in range(args.turns):
        for place, times in found.items():
            spent = []
            for steps in (_SHORT, _SHORT + _MORE[place]):
                tree = recipe(template, ARMS[place], NETWORKS[network], steps)
                folder = args.work / f"time_{network}_{place}_{turn}_{steps}"
                spent.append(run(args, tree, 0, folder)[1])
            times.append((spent[1] - spent[0]) / _MORE[place])
    medians = {place: statistics.median(times) for place, times in found.items()}
    for arm, place in zip(ARMS, COSTS, strict=True):
        seconds.setdefault(arm, medians.get(place))
    kept.write_text(json.dumps(seconds, indent=1), encoding="utf-8")
    return seconds


def table(runs: list[dict[str, Any]]) -> str:
    """Markdown: steps, scores by seed, gain over the recipe of the row above, seed by seed; NaN: not measured."""
    lines = [
        "| network | minutes | recipe | steps | CPU minutes | Set5 | Set14 | gained on Set5 | gained on Set14 "
        "| all channels, Set5 | all channels, Set14 |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for network, minutes in sorted({(run["network"], run["minutes"]) for run in runs}):
        above: dict[int, dict[str, Any]] = {}
        for arm in ARMS:
            key = {"network": network, "minutes": minutes, "recipe": arm}
            found = {run["seed"]: run for run in runs if key.items() <= run.items()}
            if not found:
                continue
            scores = [_by_seed(_psnr(run, name) for _, run in sorted(found.items())) for name in SETS]
            both = sorted(found.keys() & above.keys())
            gains = [
                _by_seed((_psnr(found[seed], name) - _psnr(above[seed], name) for seed in both), "+")
                for name in SETS
            ]
            colours = [
                _by_seed(run["scores"][name].get("psnr_rgb", math.nan) for _, run in sorted(found.items()))
                for name in SETS
            ]
            spent = statistics.mean(run["seconds"] for run in found.values()) / 60
            steps = found[min(found)]["steps"]
            cells = [network, f"{minutes:g}", arm, f"{steps:,}", f"{spent:.1f}", *scores, *gains, *colours]
            lines.append(f"| {' | '.join(cells)} |")
            above = found
    return "\n".join(lines)


def _psnr(run: dict[str, Any], name: str) -> float:
    return run["scores"][name]["psnr"]


def _by_seed(values: Iterable[float], sign: str = "") -> str:
    return ", ".join(f"{value:{sign}.2f}" for value in values)


def main() -> None:
    """Runs what is missing, then prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--template", type=Path, required=True, help="traiNNer-redux's Compact_fidelity.yml")
    parser.add_argument("--gt", type=Path, required=True, help="folder of training photographs")
    parser.add_argument("--lq", type=Path, required=True, help="the same at half the size")
    parser.add_argument(
        "--bench", type=Path, required=True, help="folder with Set5 and Set14, each HR and LRx2"
    )
    parser.add_argument("--out", type=Path, required=True, help="file of JSON lines, one a finished run")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for the runs, which are resumed there"
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--recipes", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--turns", type=int, default=3, help="measurements of the time of a step")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    template = YAML(typ="safe").load(args.template)
    for network in args.networks:
        seconds = step_seconds(args, template, network)
        for seed in args.seeds:
            for arm in args.recipes:
                key = {"network": network, "recipe": arm, "seed": seed, "minutes": args.minutes}
                if any(key.items() <= line.items() for line in finished(args.out)):
                    continue
                steps = round(60 * args.minutes / seconds[arm])
                tree = recipe(template, arm, NETWORKS[network], steps)
                folder = args.work / f"{network}_{ARMS.index(arm)}_{seed}_{args.minutes:g}"
                scores, spent = run(args, tree, seed, folder)
                result = {**key, "steps": steps, "scores": scores, "seconds": round(spent)}
                with args.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(result) + "\n")
    print(table(finished(args.out)))


if __name__ == "__main__":
    main()
