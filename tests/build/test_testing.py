"""`python test.py`: published weights, own weights, and mistakes."""

import json
import subprocess
import sys

import pytest
import small_run
import torch
from safetensors.torch import save_file

from traiNNer.archs import build_network
from traiNNer.cli.test import main
from traiNNer.data.images.image_io import read_image
from traiNNer.metrics import psnr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two demo pairs and the weights of a small network with what they say about themselves."""
    path = tmp_path_factory.mktemp("test")
    small_run.write_data(path)
    torch.manual_seed(0)
    net = build_network({"type": "compact", "scale": 2, "num_feat": 4, "num_conv": 1})
    metadata = {"architecture": "compact", "options": json.dumps(net.options), "scale": "2"}
    save_file(net.state_dict(), path / "net.safetensors", metadata)
    return path


def configuration(folder, **changes):
    """A complete configuration of a test over the data of `folder`, with sections replaced."""
    demo = folder / "demo/val"
    return {
        "name": "measured",
        "scale": 2,
        "num_gpu": 0,
        "path": {
            "results_root": str(folder / "results"),
            "pretrain_network_g": str(folder / "net.safetensors"),
        },
        "datasets": {
            "test_1": {"name": "two", "dataroot_gt": str(demo / "HR"), "dataroot_lq": str(demo / "LRx2")}
        },
        "val": {"metrics": {"psnr": {"type": "psnr", "crop_border": 3}}},
        **changes,
    }


def run(folder, configuration, *overrides):
    file = folder / "test.yml"
    file.write_text(json.dumps(configuration, indent=1))
    return main(["-opt", str(file), *overrides])


def results(folder, name="measured"):
    return json.loads((folder / "results" / name / "metrics.json").read_text())


def test_published_realtime_weights_give_their_published_score_on_set5(data_root, tmp_path, capsys):
    set5 = data_root / "bench/Set5"
    file = tmp_path / "set5.yml"
    weights = data_root / "checkpoints/2xParagonSR2_Realtime_fidelity.safetensors"
    options = configuration(
        tmp_path,
        datasets={
            "val": {"name": "Set5", "dataroot_gt": str(set5 / "HR"), "dataroot_lq": str(set5 / "LRx2")}
        },
        network_g={"type": "ParagonSR2_Realtime", "upsampler_alpha": 0.0},
        path={"results_root": str(tmp_path / "results"), "pretrain_network_g": str(weights)},
        val={"metrics": {"psnr": {"type": "psnr", "test_y_channel": True}}},
    )
    file.write_text(json.dumps(options))
    command = [sys.executable, str(small_run.ROOT / "test.py"), "-opt", str(file)]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert printed.returncode == 0, printed.stderr
    scores = results(tmp_path)["Set5"]
    assert scores["mean"]["psnr"] == pytest.approx(36.64, abs=0.005)
    assert sorted(scores["images"]) == ["baby", "bird", "butterfly", "head", "woman"]
    assert "33.6734" in printed.stdout  # bicubic from the LR files, luma unrounded
    assert f"{scores['mean']['psnr']:.4f}" in printed.stdout


def test_scores_are_those_of_the_written_images(folder):
    assert run(folder, configuration(folder)) == 0
    scores = results(folder)["two"]
    assert len(scores["images"]) == 2
    for name, own in scores["images"].items():
        made = read_image(folder / f"results/measured/visualization/two/{name}.png")
        truth = read_image(folder / f"demo/val/HR/{name}.png")
        again = psnr(planes(made), planes(truth), crop_border=3).item()
        assert own["psnr"] == pytest.approx(again, abs=1e-9)
    mean = sum(own["psnr"] for own in scores["images"].values()) / 2
    assert scores["mean"]["psnr"] == pytest.approx(mean)


def planes(pixels):
    return torch.from_numpy(pixels)[None].permute(0, 3, 1, 2) / 255


def test_a_network_found_out_from_its_file_is_the_one_that_is_named(folder):
    assert run(folder, configuration(folder, name="found")) == 0
    named = {"type": "compact", "num_feat": 4, "num_conv": 1}
    assert run(folder, configuration(folder, name="named", network_g=named)) == 0
    assert results(folder, "found") == results(folder, "named")


def test_tiles_with_enough_overlap_give_the_scores_of_whole_images(folder):
    assert run(folder, configuration(folder, name="whole")) == 0
    assert run(folder, configuration(folder, name="tiled"), "val.tile_size=16", "val.tile_overlap=8") == 0
    whole, tiled = results(folder, "whole")["two"], results(folder, "tiled")["two"]
    assert tiled["mean"]["psnr"] == pytest.approx(whole["mean"]["psnr"], abs=1e-3)


def test_a_training_recipe_measures_its_validation_sets_and_leaves_the_training_alone(folder):
    recipe = small_run.options(folder)
    recipe["datasets"]["train"]["dataroot_gt"] = "nowhere"
    recipe["path"] = configuration(folder)["path"]
    recipe["name"] = "recipe"
    assert run(folder, recipe, "val.val_enabled=false") == 0
    assert list(results(folder, "recipe")) == ["val"]
    assert not (folder / "experiments").exists()


def test_images_are_left_out_where_the_file_says_so_and_named_with_the_suffix(folder):
    assert run(folder, configuration(folder, name="bare"), "val.save_img=false") == 0
    assert not (folder / "results/bare/visualization").exists()
    assert run(folder, configuration(folder, name="ending"), "val.suffix=mine") == 0
    written = [path.stem for path in (folder / "results/ending/visualization/two").iterdir()]
    assert len(written) == 2
    assert all(stem.endswith("_mine") for stem in written)


MISTAKES = {
    "no such file of weights": ({"path": {"pretrain_network_g": "nowhere.pth"}}, "nowhere.pth: no such file"),
    "no weights at all": ({"path": {}}, "path.pretrain_network_g: is required"),
    "no set to measure": ({"datasets": {}}, "datasets: needs a set to measure"),
    "another scale": ({"scale": 4}, "scale: should be 2"),
    "an unknown metric": ({"val": {"metrics": {"psnrr": {}}}}, "did you mean 'psnr'"),
    "an unknown network": ({"network_g": {"type": "compactt"}}, "did you mean 'compact'"),
    "weights of another network": ({"network_g": {"type": "compact"}}, "should be (64, 3, 3, 3)"),
}


@pytest.mark.parametrize(("changes", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_said_in_words_with_status_2(folder, capsys, changes, words):
    assert run(folder, configuration(folder, **changes)) == 2
    assert words in capsys.readouterr().err


def test_two_sets_of_one_name_are_refused(folder, capsys):
    options = configuration(folder)
    options["datasets"]["test_2"] = options["datasets"]["test_1"]
    assert run(folder, options) == 2
    assert "another set is named 'two' already" in capsys.readouterr().err


@pytest.mark.parametrize("network", [{}, {"network_g": {"type": "auto"}}], ids=["by the file", "auto"])
def test_the_weights_of_a_file_are_those_of_the_key(folder, network):
    nets = [build_network({"type": "compact", "scale": 2, "num_feat": 4, "num_conv": 1}) for _ in range(2)]
    file = folder / "two.pth"
    torch.save({key: net.state_dict() for key, net in zip(("params", "params_ema"), nets, strict=True)}, file)
    scores = []
    for key in ("params", "params_ema"):
        path = {"results_root": str(folder / key), "pretrain_network_g": str(file), "param_key_g": key}
        assert run(folder, configuration(folder, path=path, **network)) == 0
        scores.append((folder / key / "measured/metrics.json").read_text())
    assert scores[0] != scores[1]
