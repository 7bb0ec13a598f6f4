"""Runs of one channel, from the data to the enlarged picture: `color: y` and `color: grey`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import small_run
import torch
from safetensors.torch import save_file

from traiNNer.archs import build_network
from traiNNer.archs.loading import load_with_metadata
from traiNNer.cli import export, upscale
from traiNNer.cli.blend import main as blend
from traiNNer.cli.test import main as measure
from traiNNer.data.images.image_io import read_image, write_image
from traiNNer.inference.picture import read_picture
from traiNNer.metrics import psnr

ONE = {"type": "compact", "num_feat": 4, "num_conv": 1, "num_in_ch": 1, "num_out_ch": 1}


def options(data: Path, folder: Path, color: str = "y", **changes: object) -> dict:
    configuration = small_run.options(
        data, total_iter=4, losses=[{"type": "L1Loss"}, {"type": "SSIMLoss", "loss_weight": 0.1}]
    )
    configuration["datasets"]["train"]["color"] = color
    configuration["network_g"] = {**ONE, "linear_start": True}
    configuration["path"] = {"experiments_root": str(folder)}
    configuration["val"] = {"val_freq": 4, "save_img": True, "metrics": {"psnr_y": {}, "psnr": {}}}
    return {**configuration, **changes}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small_run.write_data(folder := tmp_path_factory.mktemp("data"))
    torch.save(build_network({"type": "compact", "scale": 2, "num_feat": 4}).state_dict(), folder / "rgb.pth")
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has seen luma; `said` in it is what it printed."""
    folder = tmp_path_factory.mktemp("runs")
    done = small_run.train(small_run.write_options(folder, options(data, folder)))
    assert done.returncode == 0, done.stderr
    (folder / "small/said").write_text(done.stdout)
    return folder / "small"


def weights(run: Path) -> Path:
    return run / "models/net_g_best.safetensors"


def test_a_run_says_what_it_sees_and_so_does_its_file(run: Path):
    said = (run / "said").read_text()
    assert "color: y: networks see one channel, Y of YCbCr (BT.601, 16 to 235 of 255)" in said
    assert (run / "report.html").read_text().count("data:image/png") == 4
    loaded = load_with_metadata(weights(run))
    assert (loaded.metadata["color"], loaded.net.facts.channels) == ("y", 1)


def test_an_enlarged_picture_is_what_test_and_validation_show_and_score(
    data: Path, run: Path, tmp_path: Path
):
    """The picture's Y is the network's, so its score is that of the plane within the rounding to 8 bits."""
    configuration = options(data, tmp_path)
    configuration["path"] = {
        "results_root": str(tmp_path / "results"),
        "pretrain_network_g": str(weights(run)),
    }
    del configuration["datasets"]["train"], configuration["train"]
    configuration["datasets"]["val"]["color"] = "y"
    assert measure(["-opt", str(small_run.write_options(tmp_path, configuration))]) == 0
    lq, gt = (data / "demo/val" / kind for kind in ("LRx2", "HR"))
    assert upscale.main([str(weights(run)), str(lq), str(tmp_path / "up")]) == 0
    scores = json.loads((tmp_path / "results/small/metrics.json").read_text())["val"]["images"]
    for name, score in scores.items():
        enlarged = read_image(tmp_path / f"up/{name}.png")
        (shown,) = (tmp_path / "results/small").rglob(f"{name}*.png")
        (kept,) = (run / "visualization").rglob(f"{name}_4.png")
        assert (enlarged == read_image(shown)).all() and (enlarged == read_image(kept)).all()
        assert enlarged.std(axis=2).max() > 0  # in colour
        images = enlarged, read_image(gt / f"{name}.png")
        pair = (torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255 for image in images)
        assert psnr(*pair, crop_border=2, y_channel=True).item() == pytest.approx(score["psnr_y"], abs=0.05)


def test_a_grey_picture_stays_one_channel(data: Path, run: Path, tmp_path: Path):
    write_image(tmp_path / "grey.png", read_image(next((data / "demo/val/LRx2").iterdir()))[..., :1])
    assert upscale.main([str(weights(run)), str(tmp_path / "grey.png"), str(tmp_path / "up.png")]) == 0
    assert read_picture(tmp_path / "up.png").grey


def test_a_release_says_one_channel_everywhere(run: Path, tmp_path: Path):
    assert export.main([str(weights(run)), "--name", "Y", "--output", str(tmp_path / "out")]) == 0
    entry = json.loads((tmp_path / "out/2x-Y.json").read_text())
    assert (entry["inputChannels"], entry["outputChannels"]) == (1, 1)
    card = (tmp_path / "out/README.md").read_text()
    assert "one channel: Y of YCbCr" in card and "chaiNNer loads" in card
    assert load_with_metadata(tmp_path / "out/2x-Y.safetensors").metadata["color"] == "y"


def test_what_one_channel_is_comes_from_the_file_or_the_command_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    bare, image = tmp_path / "bare.pth", tmp_path / "in.png"
    torch.save(load_with_metadata(weights(run)).net.state_dict(), bare)
    write_image(image, torch.randint(0, 256, (8, 8, 3), dtype=torch.uint8).numpy())
    made = {}
    for name, words in {"assumed": [], "y": ["--color", "y"], "grey": ["--color", "grey"]}.items():
        assert upscale.main([str(bare), str(image), str(tmp_path / f"{name}.png"), *words]) == 0
        made[name] = read_image(tmp_path / f"{name}.png")
    assert "does not say what its one channel is: taken for luma (--color grey)" in capsys.readouterr().out
    assert (made["assumed"] == made["y"]).all() and (made["y"] != made["grey"]).any()
    loaded = load_with_metadata(weights(run))
    save_file(loaded.net.state_dict(), tmp_path / "grey.safetensors", {**loaded.metadata, "color": "grey"})
    files = [str(weights(run)), str(tmp_path / "grey.safetensors")]
    assert blend([*files, "--output", str(tmp_path / "b.safetensors")]) == 2


@pytest.mark.parametrize(
    "network",
    [
        {"type": "compact", "num_feat": 4, "num_conv": 1, "num_in_ch": 1, "num_out_ch": 1},
        {"type": "swinir", "embed_dim": 12, "depths": [2], "num_heads": [2], "in_chans": 1},
    ],
    ids=lambda network: network["type"],
)
def test_a_file_of_one_channel_is_recognised_and_trained_on(network: dict, data: Path, tmp_path: Path):
    torch.save(build_network({"scale": 2, **network}).state_dict(), tmp_path / "one.pth")
    configuration = options(data, tmp_path, "grey", network_g={"type": "auto"})
    configuration["train"]["total_iter"] = 1
    configuration["val"] = {"val_enabled": False}
    configuration["path"]["pretrain_network_g"] = str(tmp_path / "one.pth")
    done = small_run.train(small_run.write_options(tmp_path, configuration))
    assert done.returncode == 0, done.stderr
    loaded = load_with_metadata(tmp_path / "small/models/net_g_1.safetensors")
    assert (loaded.metadata["color"], loaded.net.facts.channels) == ("grey", 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"network_g": {"type": "compact", "num_feat": 4}},
            "takes images of 3 channels, and color: y",
        ),
        (
            {"color": "rgb"},
            "takes images of 1 channel, and these are RGB: for one channel set color: y (luma)",
        ),
        ({"val": "grey"}, "color: should be that of datasets.train, which is y"),
        (
            {"loss": {"type": "HSLuvLoss"}},
            "HSLuvLoss compares colours, and datasets.train.color: y leaves none",
        ),
        ({"teacher": "rgb.pth"}, "network_g_teacher: takes images of 3 channels"),
        ({"network_d": {"type": "dunet", "num_feat": 4}}, "network_d: takes images of 3 channels"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_does_not_go_together_is_said(changes: dict, said: str, data: Path, tmp_path: Path):
    configuration = options(data, tmp_path, changes.pop("color", "y"))
    losses = configuration["train"]["losses"]
    if "val" in changes:
        configuration["datasets"]["val"]["color"] = changes.pop("val")
    if "loss" in changes:
        losses.append(changes.pop("loss"))
    if "teacher" in changes:
        losses.append({"type": "L1Loss", "target": "teacher"})
        configuration["path"]["pretrain_network_g_teacher"] = str(data / changes.pop("teacher"))
    if "network_d" in changes:
        losses.append({"type": "GANLoss", "loss_weight": 0.1})
    done = small_run.train(small_run.write_options(tmp_path, {**configuration, **changes}))
    assert done.returncode == 2 and said in done.stdout + done.stderr


def test_a_discriminator_of_one_channel_and_degradations_in_colour_train(data: Path, tmp_path: Path):
    configuration = options(data, tmp_path, network_d={"type": "unet", "num_feat": 4, "num_in_ch": 1})
    train = configuration["datasets"]["train"]
    train |= {"type": "RealESRGANDataset"}
    del train["dataroot_lq"]
    configuration["train"]["losses"] += [{"type": "GANLoss", "loss_weight": 0.1}]
    configuration["train"]["total_iter"] = 2
    configuration["val"] = {"val_enabled": False}
    done = small_run.train(small_run.write_options(tmp_path, configuration))
    assert done.returncode == 0, done.stderr
