"""A real run that is over in seconds: six drawn photographs, a very small network, the real command line."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from traiNNer.cli import train as launch
from traiNNer.data.synthetic import make_demo_data

ROOT = Path(__file__).resolve().parents[1]


def write_data(folder: Path) -> None:
    """`folder/demo` with six training and two validation pairs, x2."""
    make_demo_data(folder / "demo", scales=(2,), sets={"train": (6, 96), "val": (2, 64)})


def options(folder: Path, **train: object) -> dict:
    """A complete configuration over the data of `write_data`; `train` goes into its section."""
    demo = folder / "demo"
    return {
        "name": "small",
        "scale": 2,
        "num_gpu": 0,
        "path": {"experiments_root": str(folder / "experiments")},
        "datasets": {
            "train": {
                "dataroot_gt": str(demo / "train/HR"),
                "dataroot_lq": str(demo / "train/LRx2"),
                "lq_size": 16,
                "batch_size_per_gpu": 4,
                "num_worker_per_gpu": 0,
            },
            "val": {"dataroot_gt": str(demo / "val/HR"), "dataroot_lq": str(demo / "val/LRx2")},
        },
        "network_g": {"type": "compact", "num_feat": 4, "num_conv": 1},
        "train": {
            "total_iter": 20,
            "optim_g": {"type": "AdamW", "lr": 1e-3},
            "scheduler": {"type": "CosineAnnealingLR"},
            "ema_decay": 0.9,
            "losses": [{"type": "L1Loss"}, {"type": "MSSIMLoss", "loss_weight": 0.1}],
            **train,
        },
        "val": {"val_freq": 8},
        "logger": {"print_freq": 5, "save_checkpoint_freq": 6, "use_tb_logger": False},
    }


def write_options(folder: Path, configuration: dict) -> Path:
    """The configuration as a file (JSON is YAML)."""
    path = folder / "run.yml"
    path.write_text(json.dumps(configuration, indent=1))
    return path


class Printed(NamedTuple):
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def train(file: Path, *arguments: str) -> Printed:
    """`python train.py -opt file arguments`, to its end, without the seconds that a new process takes."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        status = launch.train(["-opt", str(file), *arguments])
    return Printed(status, out.getvalue(), err.getvalue())


def train_by(launcher: tuple[str, ...], file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python launcher train.py -opt file arguments` in processes of its own, to its end."""
    command = [sys.executable, *launcher, str(ROOT / "train.py"), "-opt", str(file), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
