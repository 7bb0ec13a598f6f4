"""`network_g: {type: auto}` trains the network of a file, at any scale, and releases what spandrel loads."""

import json
import re
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from small_run import options, train, write_data, write_options
from spandrel import ModelLoader

sys.path.insert(0, "tests/archs")
from published_networks import build, spec_of

from traiNNer.archs import load_network

FINE_TUNED = [("plksr", 2), ("safmn", 2), ("swinir", 2), ("mosr", 4), ("rcan", 4)]
"""Families and the scale of the file; the run's is 2."""
UPSAMPLERS = ("upsampler.", "tail.")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    write_data(folder := tmp_path_factory.mktemp("data"))
    return folder


def written(name, path, **spec):
    net = build(name, **spec).eval()
    torch.save({"params_ema": net.state_dict()}, path)
    return net


def fine_tuning(data, folder, file, *, steps=2, **network):
    configuration = options(data, total_iter=steps)
    configuration["path"] = {"experiments_root": str(folder), "pretrain_network_g": str(file)}
    configuration["network_g"] = {"type": "auto", **network}
    configuration["val"] = {"val_enabled": False}
    configuration["datasets"]["train"]["batch_size_per_gpu"] = 2
    return write_options(folder, configuration)


@pytest.mark.parametrize(("name", "scale"), FINE_TUNED)
def test_a_file_is_recognised_fine_tuned_and_released_for_spandrel(name, scale, data, tmp_path):
    before = written(name, tmp_path / "published.pth", scale=scale)
    done = train(fine_tuning(data, tmp_path, tmp_path / "published.pth"))
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert f"is {name}" in said
    if scale != 2:
        own = set(before.state_dict()) - {key for key in before.state_dict() if key.startswith(UPSAMPLERS)}
        taken, total = map(int, re.search(r"(\d+) of (\d+) tensors; (?:fresh|not used): ", said).groups())
        assert len(own) <= taken <= total
    released = tmp_path / "small/models/net_g_2.safetensors"
    with safe_open(released, "pt") as file:
        metadata = file.metadata()
    assert metadata["architecture"] == name
    assert {k: v for k, v in spec_of(name, scale=2).items() if k != "type"}.items() <= {
        k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(metadata["options"]).items()
    }.items()
    read = ModelLoader(device="cpu").load_from_file(released)
    lq = torch.rand(1, 3, 16, 24)
    with torch.no_grad():
        assert torch.allclose(load_network(released)(lq), read.model.eval()(lq.clone()), atol=1e-5)
    assert read.scale == 2


def test_what_a_file_does_not_tell_is_said_and_can_be_overridden(data, tmp_path):
    written("swinir", tmp_path / "published.pth")
    file = fine_tuning(data, tmp_path, tmp_path / "published.pth", drop_path_rate=0.0, img_range=0.5)
    done = train(file, "--check")
    assert done.returncode == 0, done.stderr
    assert "assumed" not in done.stdout + done.stderr
    done = train(file, "--check", "network_g.img_range=null")
    assert done.returncode == 2
    done = train(fine_tuning(data, tmp_path, tmp_path / "published.pth"), "--check")
    assert "does not tell it: img_range: 1.0" in done.stdout + done.stderr


def test_auto_without_a_file_a_foreign_file_and_a_mistyped_override_are_refused_by_name(data, tmp_path):
    file = fine_tuning(data, tmp_path, "nowhere.pth")
    assert "nowhere.pth: no such file" in train(file).stderr
    assert "name it in path.pretrain_network_g" in train(file, "path.pretrain_network_g=null").stderr
    save_file({"a.weight": torch.ones(1)}, tmp_path / "x.safetensors")
    assert (
        "none of the known networks" in train(fine_tuning(data, tmp_path, tmp_path / "x.safetensors")).stderr
    )
    written("plksr", tmp_path / "published.pth")
    said = train(fine_tuning(data, tmp_path, tmp_path / "published.pth", n_blokcs=3)).stderr
    assert "did you mean 'n_blocks'" in said
