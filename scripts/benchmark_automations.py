"""Show what each training automation brings: hundreds of short trainings, with and without.

Tiny networks on photographs of T91 and General100, trained by the program itself on one thread; arms of a
comparison share their seeds. Every finished run becomes a line of `--out`; runs that are there are skipped, so
the script may be stopped and started again. `--report` writes the tables and plots.

    python scripts/benchmark_automations.py --data DATA      (the folder that holds train/T91 and train/General100)
    python scripts/benchmark_automations.py --report
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from automation_experiments.photographs import prepare
from automation_experiments.plans import EXPERIMENTS, SEEDS, runs
from automation_experiments.runs import Laboratory

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run what is missing, or report what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder that holds train/T91 and train/General100")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/data/automations.jsonl")
    parser.add_argument("--only", nargs="+", default=list(EXPERIMENTS), choices=list(EXPERIMENTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.CRITICAL)  # blow-ups are what the runs are about
    data = args.data or Path(os.environ.get("TRAINNER_DATA", ROOT / "../shared/data"))
    with tempfile.TemporaryDirectory() as folder:
        run_missing(Laboratory(prepare(data, Path(folder))), args.out, tuple(args.only), tuple(args.seeds))


def run_missing(laboratory: Laboratory, out: Path, names: tuple[str, ...], seeds: tuple[int, ...]) -> None:
    """Run every setting that has no line yet."""
    done = finished(out)
    missing = [setting for setting in runs(names, seeds) if setting.key not in done]
    began = time.monotonic()
    for index, setting in enumerate(missing):
        result = laboratory.run(setting)
        with out.open("a") as file:
            file.write(json.dumps({"setting": json.loads(setting.key), "result": result}) + "\n")
        passed = time.monotonic() - began
        print(f"{index + 1} of {len(missing)} runs, {passed / 60:.0f} min: {result['psnr']}", flush=True)


def finished(path: Path) -> dict[str, dict[str, Any]]:
    """The results so far, by the key of their setting."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {json.dumps(line["setting"], sort_keys=True): line["result"] for line in lines}


if __name__ == "__main__":
    main()
