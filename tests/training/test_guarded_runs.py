"""Real runs whose validation changes or collapses: the alarm is raised, and no automation acts on it."""

import json

import numpy as np
import pytest
import small_run

from traiNNer.data.images.image_io import write_image

AUTOMATIONS = {
    "enabled": True,
    "IntelligentLearningRateScheduler": {"enabled": True},
    "IntelligentEarlyStopping": {"enabled": True},
}


def replace_validation_images(folder, side):
    """Noise under the old names, which no network upscales as well as a photograph."""
    random = np.random.default_rng(0)
    for file in sorted((folder / "demo/val/HR").iterdir()):
        write_image(file, random.integers(0, 256, (side, side, 3), dtype=np.uint8))
        small = folder / "demo/val/LRx2" / file.name
        write_image(small, random.integers(0, 256, (side // 2, side // 2, 3), dtype=np.uint8))


def records(root, name):
    file = root / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def validations(root):
    return [record for record in records(root, "metrics") if record["kind"] == "val"]


def begun(folder):
    """A run of 16 steps that scores a little better than bicubic upscaling; its options."""
    small_run.write_data(folder)
    options = small_run.options(folder, total_iter=16, training_automations=AUTOMATIONS)
    options["network_g"] = {"type": "paragonsr2_realtime", "base": "bicubic", "layer_scale_init": 1e-6}
    file = small_run.write_options(folder, options)
    assert small_run.train(file).returncode == 0
    for record in validations(folder / "experiments/small"):
        assert 0 < record["metrics"]["psnr"] - record["bicubic"]["psnr"] < 0.1
    return file


def resumed(file, *arguments):
    """Its folder after 40 steps."""
    assert small_run.train(file, "--auto_resume", "train.total_iter=40", *arguments).returncode == 0
    return file.parent / "experiments/small"


def test_other_images_raise_the_alarm_and_are_no_reason_to_act(tmp_path):
    file = begun(tmp_path)
    replace_validation_images(tmp_path, 48)  # 64 before
    root = resumed(file)
    log = (root / "train_small.log").read_text()
    assert (
        "ERROR: Metric guard, iter 24: validation does not measure what it measured before (set val: " in log
    )
    assert not records(root, "decisions")
    summary = json.loads((root / "summary.json").read_text())
    assert (summary["status"], summary["iterations"]) == ("completed", 40)
    before, after = validations(root)[1:3]
    assert (before["iter"], after["iter"]) == (16, 24)
    assert after["bicubic"]["psnr"] < before["bicubic"]["psnr"] - 5  # computed again
    assert summary["best"]["iteration"] >= 24 and summary["best"]["value"] < before["metrics"]["psnr"] - 5


def test_a_fall_below_bicubic_raises_the_alarm_and_is_acted_upon_only_if_it_stays(tmp_path):
    file = begun(tmp_path)
    root = resumed(file, "train.optim_g.lr=1.0")
    log = (root / "train_small.log").read_text()
    assert log.count("ERROR: Metric guard, iter 24: val/psnr fell below bicubic enlargement") == 1
    (decision,) = records(root, "decisions")
    assert (decision["iter"], decision["automation"]) == (32, "IntelligentLearningRateScheduler")
    assert "over 3 dB below the best" in decision["reason"]
    start, fallen, still, returned = (record["metrics"]["psnr"] for record in validations(root)[1:])
    assert max(fallen, still) < start - 10 and returned == pytest.approx(start, abs=0.1)
