"""How long a run takes from the start of its process to the end of its first step."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FIRST_STEP = """
import sys, time
from traiNNer.cli import train as launch
from traiNNer.training.open_run import OutputSettings, open_run
from traiNNer.training.parts import Parts
from traiNNer.training.trainer import Trainer
advance = Trainer.advance
def first(self):
    advance(self)
    print("first step after", time.time() - {began}, flush=True)
    raise KeyboardInterrupt
Trainer.advance = first
launch.train(["-opt", {file!r}])
"""


def startup_seconds(file: Path) -> float:
    """From the start of the process to the end of the first step."""
    program = _FIRST_STEP.format(began=time.time(), file=str(file))
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    (line,) = [line for line in printed.stdout.splitlines() if line.startswith("first step after")]
    return float(line.split()[-1])
