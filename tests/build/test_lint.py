"""Remarks on what is allowed and unwise: each rule speaks where it should, and is silent on a good file."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from traiNNer.build.lint import automation_block, missing, unwise, unwise_data
from traiNNer.data.images.image_io import write_image
from traiNNer.data.paired_dataset import PairedImageDataset
from traiNNer.options import load_options

GOOD = {
    "name": "a",
    "scale": 2,
    "network_g": {"type": "paragonsr2_nano"},
    "datasets": {
        "train": {"dataroot_gt": "a", "dataroot_lq": "b", "batch_size_per_gpu": 8, "lq_size": 8},
        "val": {"dataroot_gt": "c", "dataroot_lq": "d"},
    },
    "train": {
        "total_iter": 10000,
        "ema_decay": 0.999,
        "warmup_iter": 100,
        "optim_g": {"type": "AdamW", "lr": 2e-4},
        "scheduler": {"type": "CosineAnnealingLR", "eta_min": 1e-6},
        "losses": [{"type": "L1Loss"}],
        "training_automations": {
            "enabled": True,
            "IntelligentLearningRateScheduler": {"enabled": True, "plateau_patience": 1000},
            "DynamicBatchSizeOptimizer": {"enabled": True, "max_batch_size": 16},
            "AdaptiveGradientClipping": {"enabled": True},
            "IntelligentEarlyStopping": {"enabled": True, "patience": 2000, "min_iterations": 5000},
        },
    },
    "val": {"val_freq": 1000},
    "logger": {"save_checkpoint_freq": 1000},
}


def options_of(tmp_path: Path, *overrides: str):
    path = tmp_path / "a.yml"
    path.write_text(yaml.safe_dump(GOOD))
    return load_options(path, overrides)


def test_a_good_file_is_left_in_peace(tmp_path):
    options = options_of(tmp_path)
    assert list(unwise(options)) == []
    assert list(missing(options)) == []
    assert automation_block(options) == ""


AUTO = "train.training_automations"
UNWISE = [
    ("train.total_iter=500", "train.ema_decay"),
    ("train.warmup_iter=3000", "train.warmup_iter"),
    ("val.val_freq=20000", "val.val_freq"),
    ("logger.save_checkpoint_freq=20000", "logger.save_checkpoint_freq"),
    ("train.losses=[{type: L1Loss}, {type: MSELoss, start_iter: 10000}]", "train.losses.1.start_iter"),
    ("train.losses=[{type: SSIMLoss}, {type: LumaLoss}]", "train.losses.0"),
    ("train.losses=[{type: L1Loss, disable_after: 8999}, {type: PSNRLoss, toY: true}]", "train.losses.1"),
    ("train.optim_g.lr=0.1", "train.optim_g.lr"),
    ("train.scheduler.eta_min=1e-3", "train.scheduler.eta_min"),
    ("train.scheduler={type: MultiStepLR, milestones: [5000, 20000]}", "train.scheduler.milestones"),
    (f"{AUTO}.IntelligentEarlyStopping.patience=10000", f"{AUTO}.IntelligentEarlyStopping.patience"),
    (
        f"{AUTO}.IntelligentEarlyStopping.min_iterations=10000",
        f"{AUTO}.IntelligentEarlyStopping.min_iterations",
    ),
    (
        f"{AUTO}.IntelligentLearningRateScheduler.plateau_patience=5000",
        f"{AUTO}.IntelligentLearningRateScheduler.plateau_patience",
    ),
    (
        f"{AUTO}.DynamicBatchSizeOptimizer.max_batch_size=4",
        f"{AUTO}.DynamicBatchSizeOptimizer.max_batch_size",
    ),
]


@pytest.mark.parametrize(("override", "place"), UNWISE, ids=[place for _, place in UNWISE])
def test_what_works_against_itself_is_named(override, place, tmp_path):
    remarks = [".".join(map(str, remark.path)) for remark in unwise(options_of(tmp_path, override))]
    assert place in remarks


@pytest.mark.parametrize(
    "losses",
    [
        "[{type: PSNRLoss, toY: true}, {type: PSNRLoss}]",
        "[{type: SSIMLoss, test_y_channel: false}]",
        "[{type: L1Loss, loss_weight: 1, target_iter: 10000, target_weight: 0}, {type: LumaLoss}]",
        "[{type: L1Loss, disable_after: 3, start_iter: 5}, {type: LumaLoss}]",
    ],
    ids=[
        "beside all channels",
        "of all channels",
        "until the end",
        "in the wrong order, which is said elsewhere",
    ],
)
def test_losses_that_hold_the_colours_are_left_in_peace(losses, tmp_path):
    assert list(unwise(options_of(tmp_path, f"train.losses={losses}"))) == []


def test_photographs_that_nothing_shrinks_are_remarked(tmp_path):
    alone = ["datasets.train={type: SingleGtDataset, dataroot_gt: a, batch_size_per_gpu: 8, lq_size: 8}"]
    assert list(unwise(options_of(tmp_path, *alone))) == []
    (remark,) = unwise(options_of(tmp_path, *alone, "scale=1", "network_g={type: nafnet}"))
    assert "LQ the same as GT" in remark.text


def test_an_automation_that_is_off_is_not_judged(tmp_path):
    off = [
        f"{AUTO}.IntelligentEarlyStopping.enabled=false",
        f"{AUTO}.IntelligentEarlyStopping.patience=20000",
    ]
    assert list(unwise(options_of(tmp_path, *off))) == []


def test_a_batch_of_one_is_remarked_only_with_batch_normalisation(tmp_path):
    one = ["datasets.train.batch_size_per_gpu=1"]
    assert list(unwise(options_of(tmp_path, *one))) == []
    span = [*one, "network_g={type: span, norm: false}"]
    assert list(unwise(options_of(tmp_path, *span))) == []


@pytest.mark.parametrize(
    ("override", "place"),
    [
        ("val.val_enabled=false", "datasets.val"),
        ("train.ema_decay=0", "train.ema_decay"),
        (f"{AUTO}={{}}", f"{AUTO}.AdaptiveGradientClipping"),
    ],
)
def test_what_a_training_should_have_is_missed(override, place, tmp_path):
    remarks = [".".join(map(str, remark.path)) for remark in missing(options_of(tmp_path, override))]
    assert place in remarks


def test_the_proposed_block_switches_on_what_is_not_mentioned(tmp_path):
    options = options_of(tmp_path, f"{AUTO}={{AdaptiveGradientClipping: {{enabled: true}}}}")
    block = yaml.safe_load(automation_block(options))["train"]["training_automations"]
    assert block.pop("enabled") is True
    assert set(block) == set(GOOD["train"]["training_automations"]) - {"enabled", "AdaptiveGradientClipping"}
    assert all(spec == {"enabled": True} for spec in block.values())


def images(folder: Path, count: int, size: int, seed: int) -> PairedImageDataset:
    random = np.random.default_rng(seed)
    for index in range(count):
        gt = random.integers(0, 256, (2 * size, 2 * size, 3), dtype=np.uint8)
        write_image(folder / "HR" / f"{index}.png", gt)
        write_image(folder / "LR" / f"{index}.png", gt[::2, ::2].copy())
    return PairedImageDataset([folder / "HR"], [folder / "LR"], 2)


def test_images_in_both_sets_small_images_and_unseen_ones_are_named(tmp_path):
    for name in ("train/HR", "train/LR", "val/HR", "val/LR"):
        (tmp_path / name).mkdir(parents=True)
    train, other = images(tmp_path / "train", 3, 8, 0), images(tmp_path / "val", 2, 8, 1)
    options = options_of(tmp_path)
    assert list(unwise_data(options, {"train": train, "val": other})) == []
    copied = tmp_path / "val/HR/1.png"
    copied.write_bytes((tmp_path / "train/HR/2.png").read_bytes())
    (shared,) = unwise_data(options, {"train": train, "val": other})
    assert (shared.path, str(copied) in shared.text) == (("datasets", "val"), True)
    tight = options_of(
        tmp_path,
        "datasets.train.lq_size=9",
        "train.total_iter=2",
        "train.warmup_iter=-1",
        "datasets.train.batch_size_per_gpu=1",
    )
    paths = [remark.path for remark in unwise_data(tight, {"train": train})]
    assert paths == [("datasets", "train", "lq_size"), ("train", "total_iter")]


def test_what_becomes_of_a_validation_without_ground_truth_is_said(tmp_path):
    data = {**GOOD["datasets"], "val": {"name": "photos", "dataroot_lq": "d"}}

    def said(*overrides, **more):
        file = tmp_path / "bare.yml"
        file.write_text(json.dumps({**GOOD, "datasets": {**data, **more}}))
        return [r.text for r in unwise(load_options(file, overrides)) if r.path == ("datasets", "val")]

    (text,) = said()
    for words in (
        "photos: images",
        "left out: psnr, ssim",
        "Nothing is measured",
        "val.save_img: true keeps",
    ):
        assert words in text
    (text,) = said("val.save_img=true")
    assert "Nothing is measured" in text
    assert "save_img" not in text
    (text,) = said(val_2=GOOD["datasets"]["val"])
    assert text.endswith("left out: psnr, ssim")
    assert "Nothing" not in said("val.metrics.niqe.type=niqe")[0]
    assert said("val.val_enabled=false") == []
