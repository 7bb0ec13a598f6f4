"""A run of a schedule-free optimizer: the average validates, is saved, and goes on after a stop."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_run
import torch
from safetensors.torch import load_file

from traiNNer.options import load_options


@pytest.mark.slow  # importing the package of the optimizer takes seconds
def test_the_average_is_what_is_best_and_resumes_to_the_same_bits(tmp_path: Path) -> None:
    small_run.write_data(tmp_path)
    optimizer = {"type": "adamw_sf", "lr": 1e-2, "betas": [0.9, 0.99], "schedule_free": True}
    configuration = small_run.options(
        tmp_path, total_iter=6, ema_decay=0, optim_g=optimizer, scheduler={"type": "constant"}
    )
    configuration["val"], configuration["logger"]["save_checkpoint_freq"] = {"val_freq": 6}, 3
    file = small_run.write_options(tmp_path, configuration)
    assert load_options(file).train is not None
    done = small_run.train(file)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "experiments/small"
    ends = {name: load_file(run / f"models/net_g_{name}.safetensors") for name in ("6", "ema_6", "best")}
    assert all(torch.equal(ends["best"][key], tensor) for key, tensor in ends["ema_6"].items())
    assert not any(torch.equal(ends["6"][key], tensor) for key, tensor in ends["ema_6"].items())
    (run / "training_states/6.state").unlink()
    assert small_run.train(file, "--auto_resume").returncode == 0
    again = load_file(run / "models/net_g_ema_6.safetensors")
    assert all(torch.equal(again[key], tensor) for key, tensor in ends["ema_6"].items())
    refused = small_run.train(file, "train.ema_decay=0.999")
    assert refused.returncode == 2 and "should be 0: adamw_sf averages the weights itself" in refused.stderr
