"""`scripts/replay.py` on the records of a real run."""

import importlib.util
import json

import pytest
import small_run
from automations.simulate import controls, drive, window

from traiNNer.automations import Supervisor
from traiNNer.automations.gradients.stabilizer import GradientFlowStabilizer
from traiNNer.control import Clip, from_plain
from traiNNer.events import RunFacts
from traiNNer.options.aliases import ALL_AUTOMATIONS
from traiNNer.training.learned_patterns import store_pattern

SCRIPT = small_run.ROOT / "scripts/replay.py"


@pytest.fixture(scope="module")
def main():
    spec = importlib.util.spec_from_file_location("replay_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def run(tmp_path):
    """The folder of a run with all automations, interrupted and resumed, and its configuration.

    Its store has a pattern of such runs since the interruption, which it did not begin with.
    """
    small_run.write_data(tmp_path)
    scheduling = {"enabled": True, "auto_calibrate": True}
    automations = {
        **dict.fromkeys(["enabled", *ALL_AUTOMATIONS], True),
        "GradientFlowStabilizer": {"enabled": True, "pattern_store": str(tmp_path / "store")},
    }
    settings = {"training_automations": automations, "dynamic_loss_scheduling": scheduling, "total_iter": 40}
    file = small_run.write_options(tmp_path, small_run.options(tmp_path, **settings))
    folder = tmp_path / "experiments/small"
    for steps in (25, 40):
        assert small_run.train(file, "--auto_resume", f"train.total_iter={steps}").returncode == 0
        leave_a_pattern(folder)
    return folder, file


def leave_a_pattern(folder):
    """As runs of more than a thousand calm steps do, this one among them."""
    clipping = controls(clip={"g": Clip(0.05, 0.05)})
    known = from_plain(RunFacts, json.loads((folder / "facts.json").read_text()))
    kept = GradientFlowStabilizer(pattern_store=str(folder.parents[1] / "store"), facts=known)
    drive(kept, [window(10 * k, norms=[0.03, 0.04] * 5) for k in range(1, 101)], clipping)
    store_pattern(Supervisor({kept.name: kept}), known)


def test_a_replay_with_the_settings_of_the_run_decides_the_same_and_says_where_it_does_not(run, main, capsys):
    folder, file = run
    record = folder / "decisions.jsonl"
    lines = record.read_text().splitlines()
    assert {json.loads(line)["automation"] for line in lines} >= {
        "AdaptiveGradientClipping",
        "DynamicLossScheduling",
    }
    assert main([str(folder)]) == 0
    said = capsys.readouterr().out
    assert said.endswith("the same decisions\n") and f"replayed: {len(lines)} decisions" in said

    forged = {**json.loads(lines[1]), "new": 123.0}
    record.write_text("\n".join([lines[0], json.dumps(forged), *lines[2:]]) + "\n")
    assert main([str(folder)]) == 1
    assert "-> 123.0 due to" in capsys.readouterr().out
    record.write_text("\n".join(lines[:-1]) + "\n")
    assert main([str(folder)]) == 1
    assert "and the record\n  nothing more" in capsys.readouterr().out

    block = "train.training_automations.AdaptiveGradientClipping"
    assert (
        main([str(folder), "-opt", str(file), f"{block}.max_threshold=0.001", f"{block}.monitor_only=true"])
        == 0
    )
    said = capsys.readouterr().out
    assert "-> 0.001 due to" in said and "(monitor only)" in said
    assert main([str(folder), "train.dynamic_loss_scheduling.momentun=0.5"]) == 2
    assert "did you mean 'momentum'" in capsys.readouterr().err
