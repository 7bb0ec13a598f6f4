"""Show that a run killed at random moments and resumed ends in the bits of one that was never stopped.

Trains a configuration twice: once in peace, once killed by SIGKILL again and again at random moments (while
starting, stepping, validating or writing) and resumed with `--auto_resume`. Then it compares every tensor of
the final training state, the best and the averaged weights byte by byte, and the records line by line.

    python scripts/benchmarks/prove_resume.py -opt options/2x_ParagonSR2_Nano.yml --kills 10 train.total_iter=300
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from traiNNer.options import load_options
from traiNNer.tracking.jsonl import read_records
from traiNNer.training.checkpoint import read_state

ROOT = Path(__file__).resolve().parents[2]

TIMES = {"seconds", "speed", "data_wait", "memory_peak"}
"""What two runs cannot share."""


def main() -> int:
    """Run both and compare; 0 when they are equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-opt", required=True, help="the configuration to train")
    parser.add_argument("--kills", type=int, default=10, help="SIGKILLs that must have hit the second run")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value")
    args = parser.parse_args()
    name = load_options(args.opt, args.overrides).name
    with tempfile.TemporaryDirectory() as folder:
        peaceful, disturbed = Path(folder) / "peaceful", Path(folder) / "disturbed"
        began = time.monotonic()
        finish(start(args, peaceful))
        seconds = time.monotonic() - began
        print(f"undisturbed run: {seconds:.0f} s")
        kills = train_under_fire(args, disturbed, seconds)
        differences = list(compare(peaceful / name, disturbed / name))
    for line in differences:
        print(f"DIFFERENT: {line}")
    verdict = f"{len(differences)} differences" if differences else "equal in every bit and every record"
    print(f"{kills} kills: {verdict}")
    return 1 if differences or kills < args.kills else 0


def start(args: argparse.Namespace, root: Path) -> subprocess.Popen[bytes]:
    """One `train.py` in a process group of its own."""
    command = [sys.executable, str(ROOT / "train.py"), "-opt", args.opt, "--auto_resume", *args.overrides]
    command.append(f"path.experiments_root={root}")
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for a good end."""
    if process.wait():
        raise SystemExit(f"train.py ended with status {process.returncode}")


def train_under_fire(args: argparse.Namespace, root: Path, seconds: float) -> int:
    """Kill and restart until the kills are spent, then let it end; returns the kills that hit."""
    draw = random.Random(args.seed)
    for kill in range(args.kills):
        process = start(args, root)
        # from "still importing" to well into the training; starting again costs so much of each share that the
        # run is not over before the last kill
        delay = draw.uniform(0.2, 2.8) * seconds / args.kills
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            print(f"kill {kill + 1} after {delay:.1f} s: {progress_of(root)}")
            continue
        print(f"the run ended before kill {kill + 1}; give it more steps")
        return kill
    finish(start(args, root))
    return args.kills


def progress_of(root: Path) -> str:
    """The newest training state, in words."""
    steps = [int(path.stem) for path in root.glob("*/training_states/*.state")]
    return f"newest state at step {max(steps)}" if steps else "no state yet"


def compare(left: Path, right: Path) -> Iterator[str]:
    """What differs between two finished runs."""
    names = {path.name for run in (left, right) for path in (run / "models").iterdir()}
    for name in sorted(names):
        one, other = left / "models" / name, right / "models" / name
        if not one.exists() or not other.exists() or one.read_bytes() != other.read_bytes():
            yield f"models/{name}"
    newest = max((left / "training_states").glob("*.state"), key=lambda path: int(path.stem)).name
    states = [dict(leaves(read_state(run / "training_states" / newest))) for run in (left, right)]
    for path in sorted(states[0].keys() | states[1].keys()):
        values = [state.get(path) for state in states]
        if not same(*values) and not TIMES & set(path.split(".")) and ".lengths." not in path:
            yield f"training_states/{newest}: {path}"
    for name in ("metrics.jsonl", "decisions.jsonl", "events.jsonl"):
        if records(left / name) != records(right / name):
            yield name


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value and tensor of nested containers, with its path."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, f"{path}.{key}")
    else:
        yield path, value


def same(one: Any, other: Any) -> bool:
    """Equal, tensors bit for bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one.nan_to_num(1e30), other.nan_to_num(1e30))
    return one == other


def records(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal without what is measured by the clock."""
    return [{key: value for key, value in line.items() if key not in TIMES} for line in read_records(path)]


if __name__ == "__main__":
    sys.exit(main())
