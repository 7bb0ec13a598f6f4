"""What ends a run on its way is said, with what and where; summary.json tells it; nothing half written stays."""

import json
import os
import random
import shutil

import pytest
import small_run

from traiNNer.build import run_end
from traiNNer.training import checkpoint, trainer
from traiNNer.training.checkpoint import read_state


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    small_run.write_data(path)
    return path


def configured(folder, name, **train):
    return small_run.write_options(folder, {**small_run.options(folder, **train), "name": name})


def ended(folder, name):
    return json.loads((folder / "experiments" / name / "summary.json").read_text())


def whole(folder, name):
    run = folder / "experiments" / name
    assert not [path for path in run.rglob("*") if path.suffix in (".part", ".partial")]


@pytest.mark.parametrize("rate", [1e10, 1e30])
def test_a_run_that_learned_nothing_fails_and_says_why(folder, rate):
    optimizer = {"type": "AdamW", "lr": rate}
    done = small_run.train(configured(folder, f"nothing{rate:g}", total_iter=40, optim_g=optimizer))
    assert done.returncode == 1
    summary = ended(folder, f"nothing{rate:g}")
    assert summary["status"] == "failed"
    for words in ("of 40 steps were skipped", "loss l1", "learning rate", "first step "):
        assert words in summary["reason"]


def test_check_fails_on_what_is_not_finite(folder):
    file = configured(folder, "checked", losses=[{"type": "L1Loss", "loss_weight": 1e39}])
    done = small_run.train(file, "--check")
    assert done.returncode == 1
    assert "Not finite after one step: the loss total is inf" in done.stdout
    assert "went through" not in done.stdout
    assert small_run.train(configured(folder, "checked"), "num_gpu=0", "--check", "scale=2").returncode == 0


def test_a_report_that_fails_fails_no_run(folder, monkeypatch):
    from traiNNer.build import report

    for at, fault in (("run_pictures", KeyError("x")), ("write_report", MemoryError())):

        def broken(*arguments, fault=fault):
            raise fault

        monkeypatch.setattr(report, at, broken)
        assert small_run.train(configured(folder, f"report_{at}", total_iter=2)).returncode == 0
        assert ended(folder, f"report_{at}")["status"] == "completed"


@pytest.mark.parametrize("part", ["score_table", "diagnosis_table", "try_report"])
def test_nothing_that_is_shown_at_the_end_fails_a_run(folder, monkeypatch, part):
    if part != "try_report":
        monkeypatch.setattr(run_end, part, lambda *a: 1 / 0)
    assert small_run.train(configured(folder, f"end_{part}", total_iter=2)).returncode == 0


def test_a_data_folder_that_goes_ends_the_run_in_words(folder):
    mine = folder / "going"
    shutil.copytree(folder / "demo", mine)
    tree = {**small_run.options(folder, total_iter=2000), "name": "gone"}
    for key, part in (("dataroot_gt", "HR"), ("dataroot_lq", "LRx2")):
        tree["datasets"]["train"][key] = str(mine / "train" / part)
    tree["datasets"]["train"]["cache"] = "off"
    tree["val"] = {"val_enabled": False}
    step = trainer.Trainer.advance

    def advance(self):
        if self.progress.step == 20:
            shutil.rmtree(mine, ignore_errors=True)
        step(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.Trainer, "advance", advance)
        done = small_run.train(small_run.write_options(folder, tree))
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr
    summary = ended(folder, "gone")
    assert summary["status"] == "failed" and "could not be read" in summary["reason"]
    newest = max((folder / "experiments/gone/training_states").iterdir(), key=lambda p: int(p.stem))
    assert int(newest.stem) == summary["iterations"]
    read_state(newest)


@pytest.mark.parametrize("seed", range(6))
def test_a_disk_that_fails_is_named_and_leaves_nothing_half_written(folder, monkeypatch, seed):
    """One writing of a state, weights or record fails as a full, read-only or vanished disk would."""
    rng = random.Random(seed)
    errno = rng.choice([28, 30, 5, 122])
    name, after, write = f"disk{seed}", rng.randint(0, 3), checkpoint.write_state
    calls = []

    def fails(path, parts):
        calls.append(path)
        if len(calls) > after:
            raise OSError(errno, os.strerror(errno), str(path))
        write(path, parts)

    monkeypatch.setattr(checkpoint, "write_state", fails)
    done = small_run.train(configured(folder, name, total_iter=20))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    summary = ended(folder, name)
    assert summary["status"] == "failed"
    assert os.strerror(errno) in summary["reason"] and str(calls[after]) in summary["reason"]
    whole(folder, name)


def test_a_run_folder_that_is_deleted_ends_the_run_in_words(folder):
    run = folder / "experiments/deleted"
    step = trainer.Trainer.advance

    def advance(self):
        if self.progress.step == 9:
            shutil.rmtree(run)
        step(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.Trainer, "advance", advance)
        done = small_run.train(configured(folder, "deleted", total_iter=20))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert ended(folder, "deleted")["status"] == "failed"
    assert str(run) in ended(folder, "deleted")["reason"]


@pytest.mark.parametrize("kind", ["file", "long"])
def test_an_impossible_root_is_said_before_anything_runs(folder, kind):
    root = folder / "a_file"
    root.write_text("")
    where = str(root) if kind == "file" else str(folder / ("x" * 300))
    done = small_run.train(configured(folder, f"root_{kind}"), f"path.experiments_root={where}")
    assert done.returncode in (1, 2)
    assert where[:60] in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
