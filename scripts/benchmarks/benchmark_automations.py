"""Show what each training automation brings: hundreds of short trainings, with and without.

Tiny networks on photographs of T91 and General100, trained by the program itself on one thread; arms of a
comparison share their seeds. Every finished run becomes a line of `--out`; runs that are there are skipped, so
the script may be stopped and started again. `--report` writes the tables and plots.

    python scripts/benchmarks/benchmark_automations.py --data DATA  (holds train/T91 and train/General100)
    python scripts/benchmarks/benchmark_automations.py --report
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from automation_experiments import splits
from automation_experiments.photographs import prepare
from automation_experiments.plans import EXPERIMENTS, SEEDS, runs
from automation_experiments.report import write_report
from automation_experiments.results import Results
from automation_experiments.runs import Laboratory

SPLITS = "splits"
ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Run what is missing, or report what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder that holds train/T91 and train/General100")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/data/automations.jsonl")
    parser.add_argument("--only", nargs="+", default=[*EXPERIMENTS, SPLITS], choices=[*EXPERIMENTS, SPLITS])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--report", action="store_true", help="write the tables and plots, run nothing")
    args = parser.parse_args()
    if args.report:
        write_report(Results(args.out), ROOT / "docs")
        return
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.CRITICAL)  # blow-ups are what the runs are about
    data = args.data or Path(os.environ.get("TRAINNER_DATA", ROOT / "../shared/data"))
    alexnet = data / "weights" / "alexnet_features_imagenet_fp16.safetensors"
    with tempfile.TemporaryDirectory() as folder:
        laboratory = Laboratory(prepare(data, Path(folder)), alexnet if alexnet.is_file() else None)
        run_missing(missing_runs(laboratory, args.only, args.seeds, Results(args.out)), args.out)


Run = tuple[str, Callable[[], dict[str, Any]]]
"""The key of a line, and what finds its result."""


def missing_runs(
    laboratory: Laboratory, names: Sequence[str], seeds: Sequence[int], results: Results
) -> list[Run]:
    """Every run of the experiments named that has no line yet."""
    trainings = runs([name for name in names if name != SPLITS], seeds)
    found: list[Run] = [(setting.key, partial(laboratory.run, setting)) for setting in trainings]
    if SPLITS in names:
        found += [(splits.key(seed), partial(splits.measure, laboratory, seed)) for seed in seeds]
    return [(key, find) for key, find in found if key not in results.by_key]


def run_missing(missing: Sequence[Run], out: Path) -> None:
    """Run them one by one, each a line as soon as it is done."""
    out.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    for index, (key, find) in enumerate(missing):
        result = find()
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"setting": json.loads(key), "result": result}) + "\n")
        minutes = (time.monotonic() - began) / 60
        print(f"{index + 1} of {len(missing)} runs, {minutes:.0f} minutes", flush=True)


if __name__ == "__main__":
    main()
