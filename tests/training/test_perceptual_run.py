"""Runs whose losses and scores look through networks."""

import json
import shutil

import pytest
import small_run
import torch

from traiNNer.archs.weights_file import read_weights

LOSSES = [
    {"type": "L1Loss"},
    {"type": "PerceptualLoss", "pretrained": False, "layers": ["relu1_2"], "loss_weight": 0.1},
    {"type": "ContextualLoss", "pretrained": False, "layers": ["conv2_1"], "loss_weight": 0.1},
    {"type": "MSSWDLoss", "loss_weight": 0.01},  # draws at random
    {"type": "FocalFrequencyLoss"},
    {"type": "LQConsistencyLoss"},
]
LPIPS = {"pretrained": False}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run of 20 steps in two micro-batches each, led by LPIPS, with all its states."""
    folder = tmp_path_factory.mktemp("perceptual")
    small_run.write_data(folder)
    stopping = {"IntelligentEarlyStopping": {"monitor_metric": "val/lpips", "min_iterations": 5}}
    options = small_run.options(folder, losses=LOSSES, training_automations={"enabled": True, **stopping})
    options["datasets"]["train"] |= {"batch_size_per_gpu": 2, "accum_iter": 2}
    options["val"] |= {"val_freq": 4, "metrics": {"lpips": LPIPS, "psnr": {}}}
    printed = small_run.train(small_run.write_options(folder, options))
    assert printed.returncode == 0, printed.stdout + printed.stderr
    return folder


def test_the_best_weights_are_those_of_the_lowest_lpips(finished):
    run = finished / "experiments/small"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    scores = {line["iter"]: line["metrics"]["lpips"] for line in lines if line["kind"] == "val"}
    assert len(set(scores.values())) == 5
    best = min(scores, key=scores.get)
    assert read_weights(run / "models/net_g_best.safetensors")[1]["iteration"] == str(best)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["automations"] == {"IntelligentEarlyStopping": "active"}


def test_a_run_with_random_projections_resumes_to_the_same_weights(finished):
    again = finished / "again"
    shutil.copytree(finished / "experiments/small", again / "small")
    for state in (again / "small/training_states").glob("*.state"):
        if state.stem != "12":
            state.unlink()
    (again / "small/models/net_g_20.safetensors").unlink()
    where = f"path.experiments_root={again}"
    printed = small_run.train(finished / "run.yml", "--auto_resume", where)
    assert "Going on from" in printed.stdout, printed
    whole, resumed = (
        read_weights(root / "small/models/net_g_20.safetensors")[0]
        for root in (finished / "experiments", again)
    )
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
