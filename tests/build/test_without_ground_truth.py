"""Validation and test of LQ images alone: enlarged, saved, and measured by what needs no ground truth."""

import collections
import json
import re

import pytest
import small_run
import torch
from safetensors.torch import save_file

from traiNNer.archs import build_network
from traiNNer.cli.test import main as run_test
from traiNNer.data.images.image_io import read_image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bare")
    small_run.write_data(path)
    return path


def configuration(folder, **val):
    options = small_run.options(folder, total_iter=2, losses=[{"type": "L1Loss"}])
    del options["datasets"]["val"]["dataroot_gt"]
    return options | {"val": {"val_freq": 2, **val}}


def train(folder, options, *words):
    return small_run.train(small_run.write_options(folder, options), *words)


def test_images_are_enlarged_and_saved_and_what_is_left_out_is_said(folder):
    ended = train(folder, configuration(folder, save_img=True))
    assert ended.returncode == 0, ended.stderr
    said = r"val: images without ground truth are enlarged; .* left out: psnr, ssim\. Nothing is measured: "
    assert len(re.findall(said, ended.stdout + ended.stderr)) == 1
    saved = sorted((folder / "experiments/small/visualization/val").rglob("*.png"))
    assert [read_image(path).shape for path in saved] == [(64, 64, 3)] * 2
    summary = json.loads((folder / "experiments/small/summary.json").read_text())
    assert (summary["status"], summary["best"]["value"]) == ("completed", None)


def test_check_says_it_and_asks_for_a_place_to_keep_the_images(folder):
    ended = train(folder, configuration(folder), "--check")
    assert ended.returncode == 0, ended.stderr
    assert "left out: psnr, ssim" in ended.stdout + ended.stderr
    assert "val.save_img: true keeps the enlarged images" in ended.stdout + ended.stderr


def test_a_set_without_ground_truth_follows_one_with_it(folder):
    options = configuration(folder, save_img=True)
    demo = folder / "demo/val"
    options["datasets"] |= {
        "val": {"type": "SingleImageDataset", "dataroot_lq": str(demo / "LRx2")},
        "val_2": {"dataroot_gt": str(demo / "HR"), "dataroot_lq": str(demo / "LRx2")},
    }
    ended = train(folder, options)
    assert ended.returncode == 0, ended.stderr
    summary = json.loads((folder / "experiments/small/summary.json").read_text())
    assert summary["best"]["metric"] == "val_2/psnr"
    assert "Validation val_2, iter 2: psnr" in ended.stdout + ended.stderr


def test_going_on_enlarges_the_images_again(folder):
    options = configuration(folder, save_img=True) | {"name": "again"}
    assert train(folder, options).returncode == 0
    options["train"]["total_iter"] = 4
    ended = train(folder, options, "--auto_resume")
    assert ended.returncode == 0, ended.stderr
    assert "Going on from" in ended.stdout
    assert enlarged(folder / "experiments/again") == {2: 2, 4: 2}


def enlarged(run):
    """How many images there are of each validation."""
    return collections.Counter(
        int(path.stem.split("_")[-1]) for path in run.rglob("visualization/val/*/*.png")
    )


@pytest.mark.slow
@pytest.mark.parametrize("mixed", [False, True])
def test_two_processes_enlarge_and_go_on(folder, mixed):
    name = f"two{mixed}"
    options = configuration(folder, save_img=True) | {"name": name}
    if mixed:
        whole = {
            key: str(folder / "demo/val" / part)
            for key, part in (("dataroot_gt", "HR"), ("dataroot_lq", "LRx2"))
        }
        options["datasets"]["val_2"] = whole
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    for total in (4, 8):
        options["train"]["total_iter"] = total
        file = small_run.write_options(folder, options)
        ended = small_run.train_by(torchrun, file, "--launcher", "pytorch", "--auto_resume")
        assert ended.returncode == 0, ended.stdout + ended.stderr
    run = folder / "experiments" / name
    assert json.loads((run / "summary.json").read_text())["status"] == "completed"
    assert enlarged(run) == dict.fromkeys((2, 4, 6, 8), 2)


def test_training_needs_ground_truth(folder):
    options = configuration(folder)
    options["datasets"]["train"] |= {"type": "SingleImageDataset"}
    ended = train(folder, options)
    assert ended.returncode == 2
    assert (
        "datasets.train: type: SingleImageDataset has no ground truth to train towards"
        in ended.stdout + ended.stderr
    )


@pytest.mark.parametrize("metric", ["niqe", "psnr"])
def test_a_test_measures_what_needs_no_ground_truth(folder, metric, tmp_path, capsys):
    torch.manual_seed(0)
    net = build_network({"type": "compact", "scale": 2, "num_feat": 4, "num_conv": 1})
    metadata = {"architecture": "compact", "options": json.dumps(net.options), "scale": "2"}
    save_file(net.state_dict(), tmp_path / "net.safetensors", metadata)
    options = {
        "name": "bare",
        "scale": 2,
        "num_gpu": 0,
        "path": {
            "results_root": str(tmp_path),
            "pretrain_network_g": str(tmp_path / "net.safetensors"),
        },
        "datasets": {"test_1": {"name": "lq", "dataroot_lq": str(folder / "demo/train/HR")}},
        "val": {"metrics": {metric: {"type": metric, "crop_border": 0}}},
    }
    file = tmp_path / "test.yml"
    file.write_text(json.dumps(options))
    assert run_test(["-opt", str(file)]) == 0
    scores = json.loads((tmp_path / "bare/metrics.json").read_text())["lq"]
    assert list(scores["mean"]) == ([metric] if metric == "niqe" else [])
    assert all(value > 0 for value in scores["mean"].values())
    assert len(list((tmp_path / "bare/visualization/lq").glob("*.png"))) == 6
