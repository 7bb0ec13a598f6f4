"""What benchmarks of whole trainings share: `train.py` as a process, scores on Set5 and Set14, finished runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SETS = ("Set5", "Set14")


def finished(path: Path) -> list[dict[str, Any]]:
    """The records of a file of JSON lines; none where it does not exist yet."""
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    )


def bench_sets(bench: Path) -> dict[str, dict[str, Any]]:
    """Validation sets of a configuration at scale 2: `SETS` below a folder, each with HR and LRx2."""
    return {
        f"val_{name}": {
            "name": name,
            "type": "PairedImageDataset",
            "dataroot_gt": str(bench / name / "HR"),
            "dataroot_lq": str(bench / name / "LRx2"),
        }
        for name in SETS
    }


def train(configuration: dict[str, Any], folder: Path) -> dict[str, dict[str, float]]:
    """Train by a configuration, or go on with a training in this folder, in a process with one thread.

    Returns:
        The scores of the last validation by set and metric.
    """
    file = folder / "run.yml"
    tree = {**configuration, "name": "run", "path": {"experiments_root": str(folder)}}
    file.write_text(json.dumps(tree), encoding="utf-8")  # JSON is YAML
    subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "-opt", str(file), "--auto_resume"],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    records = finished(folder / "run" / "metrics.jsonl")
    return {record["set"]: record["metrics"] for record in records if record["kind"] == "val"}
