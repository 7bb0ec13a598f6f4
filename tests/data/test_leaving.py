"""A process that leaves while its workers still read."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
SCRIPT = """
from tiny import Waves
from traiNNer.data.loader import TrainLoader
batches = TrainLoader(Waves(), 0, num_workers=1).batches(0, 2, 8)
print(len(next(batches).lq))
"""


def test_a_process_may_end_while_its_workers_still_read():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=90, env=environment
    )
    assert (done.returncode, done.stdout) == (0, "2\n")
    assert "Error" not in done.stderr
