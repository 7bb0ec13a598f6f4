"""`l1_gt_usm`, `percep_gt_usm` and `gan_gt_usm`: which losses see sharpened ground truth."""

import json

import numpy as np
import pytest
import small_run
import torch

from traiNNer.data.degradations.blur import sharpen as sharpen_levels
from traiNNer.data.synthetic import dead_leaves
from traiNNer.losses.sharpening import sharpen


def test_it_is_the_mask_of_the_data_but_for_its_three_boxes():
    image = dead_leaves(96, 0, 1).astype(np.float32)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    ours = 255 * sharpen(tensor)[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - sharpen_levels(image)).mean() < 1
    assert np.abs(ours - image).mean() > 2


def first_losses(folder, **chain):
    """The losses that the first window of a run records, by label."""
    small_run.write_data(folder)
    options = small_run.options(
        folder,
        total_iter=10,
        losses=[
            {"type": "L1Loss"},
            {"type": "MSSIMLoss", "loss_weight": 0.1},
            {"type": "GANLoss", "gan_type": "ragan", "loss_weight": 0.01},
        ],
    )
    train = options["datasets"]["train"]
    train |= {"type": "RealESRGANDataset", "lq_size": 32}
    del train["dataroot_lq"]
    options |= {"network_d": {"type": "unetdiscriminatorsn", "num_feat": 4},
                "degradation": {"preset": "weak", **chain}}  # fmt: skip
    options["val"] = {"val_enabled": False}
    options["logger"]["print_freq"] = 10
    printed = small_run.train(small_run.write_options(folder, options))
    assert printed.returncode == 0, printed.stderr
    lines = (folder / "experiments/small/metrics.jsonl").read_text().splitlines()
    record = json.loads(lines[0])
    return record["loss"] | record["discriminator"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return first_losses(tmp_path_factory.mktemp("plain"))


MOVED = [("l1_gt_usm", "l1"), ("percep_gt_usm", "mssim"), ("gan_gt_usm", "out_d_real")]


@pytest.mark.parametrize(("option", "moved"), MOVED)
def test_each_option_moves_the_target_of_its_losses(plain, tmp_path, option, moved):
    found = first_losses(tmp_path, **{option: True})
    moves = {key: abs(found[key] / plain[key] - 1) for _, key in MOVED}
    assert moves[moved] > 0.002 and moves[moved] > 3 * max(v for key, v in moves.items() if key != moved)
