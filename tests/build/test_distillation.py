"""`network_g_teacher`: a run that learns from another network, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_run import options, train, write_data, write_options

from traiNNer.archs import build_network


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    write_data(folder := tmp_path_factory.mktemp("data"))
    teacher = build_network({"type": "safmn", "scale": 2, "dim": 16, "n_blocks": 1})
    torch.save({"params_ema": teacher.state_dict()}, folder / "published.pth")
    torch.save(build_network({"type": "compact", "scale": 4, "num_feat": 4}).state_dict(), folder / "x4.pth")
    return folder


def distilling(data: Path, folder: Path, **path: str) -> Path:
    losses = [{"type": "L1Loss"}, {"type": "L1Loss", "target": "teacher", "loss_weight": 0.5}]
    configuration = options(data, total_iter=4, losses=losses)
    configuration["path"] = {
        "experiments_root": str(folder),
        "pretrain_network_g_teacher": str(data / "published.pth"),
        **path,
    }
    configuration["val"] = {"val_enabled": False}
    configuration["datasets"]["train"]["batch_size_per_gpu"] = 2
    configuration["logger"] |= {"print_freq": 1, "save_checkpoint_freq": 2}
    return write_options(folder, configuration)


def test_a_student_of_any_recognised_file_logs_both_losses_and_resumes_to_the_same_bits(
    data: Path, tmp_path: Path
) -> None:
    file = distilling(data, tmp_path)
    done = train(file)
    assert done.returncode == 0, done.stderr
    assert "network_g_teacher: auto:" in done.stdout and "published.pth is safmn" in done.stdout
    log = (tmp_path / "small/metrics.jsonl").read_text().splitlines()
    loss = json.loads(log[-1])["loss"]
    assert loss["l1"] > 0 and loss["l1_teacher"] > 0 and loss["l1"] != loss["l1_teacher"]
    whole = torch.load(tmp_path / "small/training_states/4.state")["parts"]["model"]["generator"]["net"]
    for path in (tmp_path / "small/training_states").glob("4.state"):
        path.unlink()
    assert train(file, "--auto_resume").returncode == 0
    resumed = torch.load(tmp_path / "small/training_states/4.state")["parts"]["model"]["generator"]["net"]
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    teacher = build_network({"type": "safmn", "scale": 2, "dim": 16, "n_blocks": 1})
    torch.save({"params_ema": teacher.state_dict()}, tmp_path / "other.pth")
    other = f"path.pretrain_network_g_teacher={tmp_path / 'other.pth'}"
    said = train(file, "--auto_resume", "train.total_iter=5", other).stdout
    assert "path.pretrain_network_g_teacher: another file" in said


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["path.pretrain_network_g_teacher=nowhere.pth"], "nowhere.pth: no such file"),
        (["path.pretrain_network_g_teacher={data}/x4.pth"], "upscales by 4, and this run upscales by 2"),
        (["path.pretrain_network_g_teacher=null"], "teacher needs one: name its file in path.pretrain"),
        (["train.losses.1.target=gt"], "no loss asks the teacher: write target: teacher into"),
        (["train.losses.1.target=student"], "target: should be 'gt' or 'teacher'"),
        (["network_g_teacher={type: comqact}"], "did you mean 'compact'"),
        (
            ["network_g_teacher={type: compact}", "path.pretrain_network_g_teacher=null"],
            "needs its weights: name the file in path.pretrain_network_g_teacher",
        ),
    ],
    ids=lambda value: value[0].split("=")[-1] if isinstance(value, list) else "",
)
def test_what_is_no_teacher_is_said_before_anything_starts(
    overrides: list[str], said: str, data: Path, tmp_path: Path
) -> None:
    done = train(
        distilling(data, tmp_path), "--check", *(text.replace("{data}", str(data)) for text in overrides)
    )
    assert done.returncode == 2
    assert said in done.stderr
