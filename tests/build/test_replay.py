"""`scripts/replay.py` on the records of a real run."""

import importlib.util
import json

import pytest
import small_run

SCRIPT = small_run.ROOT / "scripts/replay.py"


@pytest.fixture(scope="module")
def main():
    spec = importlib.util.spec_from_file_location("replay_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def run(tmp_path):
    """The folder of a run with all automations, interrupted and resumed, and its configuration."""
    small_run.write_data(tmp_path)
    scheduling = {"enabled": True, "auto_calibrate": True}
    automations = {"training_automations": True, "dynamic_loss_scheduling": scheduling, "total_iter": 40}
    file = small_run.write_options(tmp_path, small_run.options(tmp_path, **automations))
    for steps in (25, 40):
        assert small_run.train(file, "--auto_resume", f"train.total_iter={steps}").returncode == 0
    return tmp_path / "experiments/small", file


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
