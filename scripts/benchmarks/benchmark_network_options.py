"""Measure which opt-in options of ParagonSR2 train better: many short runs, each a JSON line.

Every run is a `train.py` of its own with the same data, steps and schedule; only options of the network and the
seed differ. Finished runs are skipped, so the script may be stopped and started again. The table gives PSNR (Y)
on Set5 and Set14 after the last step, mean and spread over the seeds, and the paired difference to the default.

    python scripts/benchmarks/benchmark_network_options.py --gt HR --lq LRx2 --bench bench --out options.jsonl
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from whole_runs import bench_sets, finished, train

BETTER = {"base": "bicubic", "padding": "replicate", "layer_scale_init": 0.5, "icnr": True}
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "base: bicubic": {"base": "bicubic"},
    "padding: replicate": {"padding": "replicate"},
    "layer_scale_init: 0.5": {"layer_scale_init": 0.5},
    "icnr: true": {"icnr": True},
    "base and padding": {"base": "bicubic", "padding": "replicate"},
    "all four": BETTER,
    "contrast_init": {"contrast_init": True, "layer_scale_init": 1.0, "detail_gain": 1.0},
}
REALTIME_ONLY = ("contrast_init",)
NETWORKS: dict[str, dict[str, Any]] = {
    "paragonsr2_realtime": {"upsampler_alpha": 0.0},
    "paragonsr2_nano": {"upsampler_alpha": 0.0, "use_attention": False},
}


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--gt", required=True, help="folder of training photographs")
    parser.add_argument("--lq", required=True, help="folder of the same at half the size")
    parser.add_argument(
        "--bench", required=True, type=Path, help="folder with Set5 and Set14, each HR and LRx2"
    )
    parser.add_argument("--out", required=True, type=Path, help="file of JSON lines, one a finished run")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--lq-size", type=int, default=24)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        for label, options in OPTIONS.items():
            for network in args.networks:
                if label in REALTIME_ONLY and network != "paragonsr2_realtime":
                    continue
                fixed = NETWORKS[network]
                key = {"network": network, "options": label, "seed": seed, "steps": args.steps}
                if not any(key.items() <= run.items() for run in finished(args.out)):
                    result = run_once(args, {"type": network, **fixed, **options}, seed)
                    with args.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps({**key, **result}) + "\n")
    print(table(finished(args.out)))


def run_once(args: argparse.Namespace, network: dict[str, Any], seed: int) -> dict[str, Any]:
    """One training; PSNR and seconds."""
    configuration = {
        "scale": 2,
        "manual_seed": seed,
        "datasets": {
            "train": {
                "dataroot_gt": args.gt,
                "dataroot_lq": args.lq,
                "lq_size": args.lq_size,
                "batch_size_per_gpu": args.batch,
                "num_worker_per_gpu": 0,
            },
            **bench_sets(args.bench),
        },
        "network_g": network,
        "train": {
            "total_iter": args.steps,
            "optim_g": {"type": "AdamW", "lr": args.lr, "weight_decay": 0},
            "scheduler": {"type": "CosineAnnealingLR"},
            "warmup_iter": args.steps // 100,
            "ema_decay": 0.999,
            "grad_clip": True,
            "losses": [{"type": "L1Loss"}],
        },
        "val": {"val_freq": args.steps, "metrics": {"psnr": {"type": "psnr", "test_y_channel": True}}},
        "logger": {"save_checkpoint_freq": args.steps, "use_tb_logger": False},
    }
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        scores = train(configuration, Path(folder))
    return {**{name: of["psnr"] for name, of in scores.items()}, "seconds": round(time.monotonic() - began)}


def table(runs: list[dict[str, Any]]) -> str:
    """Markdown: network, options, Set5, Set14, paired difference to the default."""
    lines = [
        "| network | options | seeds | Set5 | Set14 | gain on Set5 | gain on Set14 |",
        "|---|---|---|---|---|---|---|",
    ]
    for network in NETWORKS:
        for label in OPTIONS:
            mine = {r["seed"]: r for r in runs if r["network"] == network and r["options"] == label}
            base = {r["seed"]: r for r in runs if r["network"] == network and r["options"] == "default"}
            if not mine:
                continue
            cells = [f"{statistics.mean(r[s] for r in mine.values()):.2f}" for s in ("Set5", "Set14")]
            gains = [
                ", ".join(f"{mine[k][s] - base[k][s]:+.2f}" for k in sorted(mine.keys() & base.keys()))
                for s in ("Set5", "Set14")
            ]
            lines.append(f"| {network} | {label} | {len(mine)} | {' | '.join(cells)} | {' | '.join(gains)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
