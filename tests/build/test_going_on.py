"""What is said when a run goes on: other data, other settings, another network, a state of another run."""

import copy
import random
import shutil

import pytest
import small_run
import torch

from traiNNer.build.origin import changes
from traiNNer.training.checkpoint import read_state, write_state


@pytest.fixture
def begun(tmp_path):
    small_run.write_data(tmp_path)
    tree = small_run.options(tmp_path, total_iter=6)
    tree["network_g"] = {"type": "compact", "num_feat": 3, "num_conv": 1}
    file = small_run.write_options(tmp_path, tree)
    assert small_run.train(file).returncode == 0
    return file, tree, tmp_path


def test_nothing_is_said_where_nothing_changed(begun):
    file, _, _ = begun
    done = small_run.train(file, "--auto_resume", "logger.print_freq=2")
    assert done.returncode == 0
    for words in (
        "differ from the state's",
        "exact continuation",
        "learning rate of network",
        "is of the run",
    ):
        assert words not in done.stdout


def test_settings_that_differ_are_listed_in_one_line_and_a_rate_that_jumps_is_said(begun):
    file, tree, folder = begun
    tree["train"]["losses"] = [{"type": "L1Loss"}, {"type": "MSELoss"}]
    tree["train"]["optim_g"]["lr"] = 5e-4
    tree["train"]["total_iter"] = 12
    done = small_run.train(small_run.write_options(folder, tree), "--auto_resume")
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "differ from the state's" in line]
    for words in ("train.optim_g.lr 0.001 -> 0.0005", "train.total_iter 6 -> 12", "-MSSIMLoss", "+MSELoss"):
        assert words in line
    assert "The learning rate of network g goes from" in done.stdout
    assert "so CosineAnnealingLR over 12 iterations stands at this step" in done.stdout
    assert "exact continuation" not in done.stdout


@pytest.mark.parametrize("change", ["removed", "renamed", "rewritten", "torch"])
def test_other_data_or_versions_withdraw_the_promise(begun, change):
    file, _, folder = begun
    image = sorted((folder / "demo/val/HR").iterdir())[0]
    low = folder / "demo/val/LRx2" / image.name
    if change == "removed":
        image.unlink(), low.unlink()
    elif change == "renamed":
        image.rename(image.with_name("a.png")), low.rename(low.with_name("a.png"))
    elif change == "rewritten":
        shutil.copy(sorted((folder / "demo/val/HR").iterdir())[1], image)
    else:
        path = folder / "experiments/small/training_states/6.state"
        parts = read_state(path)
        parts["origin"]["machine"]["torch"] = "1.0"
        write_state(path, parts)
    done = small_run.train(file, "--auto_resume", "train.total_iter=7")
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "not the exact continuation" in line]
    named = f"torch 1.0 -> {torch.__version__}" if change == "torch" else "datasets.val.dataroot_gt[0]: "
    assert named in line
    assert ("-> " in line) == (change != "renamed")


def test_another_network_is_refused_by_its_options_before_any_file_is_touched(begun):
    file, tree, folder = begun
    run = folder / "experiments/small"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    done = small_run.train(file, "--auto_resume", "network_g.num_feat=4")
    assert done.returncode == 2
    assert "network_g.num_feat was 3 there, is 4 here" in done.stderr
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_state_of_another_run_is_recognised(begun):
    file, _, folder = begun
    state = folder / "experiments/small/training_states/6.state"
    done = small_run.train(file, "name=other", f"path.resume_state={state}", "train.total_iter=7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The state is of the run small; this one is other" in done.stdout


def test_weights_that_are_given_for_a_state_are_told_where_they_belong(begun):
    file, _, folder = begun
    weights = folder / "experiments/small/models/net_g_6.safetensors"
    done = small_run.train(file, "name=other", f"path.resume_state={weights}")
    assert done.returncode == 2
    assert f"{weights}: holds weights, which path.pretrain_network_g takes" in done.stderr


def test_a_state_that_says_nothing_of_its_origin_goes_on(begun):
    file, _, folder = begun
    path = folder / "experiments/small/training_states/6.state"
    parts = read_state(path)
    del parts["origin"], parts["learning_rates"], parts["progress"]["skipped"]
    write_state(path, parts)
    done = small_run.train(file, "--auto_resume", "train.total_iter=7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "differ from the state's" not in done.stdout
    refused = small_run.train(file, "--auto_resume", "train.total_iter=8", "network_g.num_feat=4")
    assert refused.returncode == 2


def test_every_change_of_a_tree_is_found_and_nothing_else():
    rng = random.Random(2)
    base = {
        "name": "a",
        "settings": {"scale": 2, "train": {"lr": 1e-3, "losses": [{"type": "L1"}], "g": {"x": None}}},
        "data": {"gt": {"files": 3, "bytes": 10, "checksum": "a"}},
        "machine": {"torch": "2", "threads": "1"},
    }
    places = [
        ("settings", "scale"),
        ("settings", "train", "lr"),
        ("settings", "train", "g", "x"),
        ("settings", "new"),
    ]
    ground = [("data", "gt", "checksum"), ("data", "gt", "files"), ("machine", "torch"), ("machine", "cv2")]
    for _ in range(200):
        chosen = rng.sample(places, rng.randint(0, 4)), rng.sample(ground, rng.randint(0, 4))
        now = copy.deepcopy(base)
        for place in (*chosen[0], *chosen[1]):
            at = now
            for key in place[:-1]:
                at = at[key]
            at[place[-1]] = rng.randint(100, 999)
        found = changes(base, now)
        assert len(found.settings) == len(chosen[0])
        assert len(found.ground) == len({place[:2] for place in chosen[1]})
        assert not found.run
