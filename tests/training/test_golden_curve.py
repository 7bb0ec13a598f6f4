"""The first thirty losses of the smallest run, as recorded: data, step, schedule and average together."""

import json
from pathlib import Path

import pytest
from tiny import make_trainer

from traiNNer.runtime.signals import StopSignal

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "tiny_curve.json"


def losses_of_a_run(folder):
    make_trainer(folder, total=30).fit(StopSignal())
    events = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    return [value for event in events if event["kind"] == "WindowEvent" for value in event["total"]]


def test_the_loss_curve_is_the_recorded_one(tmp_path):
    """Written by `python tests/training/test_golden_curve.py`; a change here is a change of every training."""
    assert losses_of_a_run(tmp_path) == pytest.approx(json.loads(GOLDEN.read_text())["losses"], rel=1e-6)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        values = losses_of_a_run(Path(folder))
    made = "30 steps of tests/tiny.py in float64 on a CPU, by running tests/training/test_golden_curve.py"
    GOLDEN.write_text(json.dumps({"made": made, "losses": values}, indent=1) + "\n")
