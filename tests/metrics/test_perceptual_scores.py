"""LPIPS and DISTS against what their authors' packages say; see record_perceptual_scores.py."""

import json
from pathlib import Path

import pytest
import torch
from perceptual_pairs import pairs, plain_weights

from traiNNer.metrics import METRICS

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "perceptual_scores.json"
DISTS_FILE = Path(torch.hub.get_dir()) / "checkpoints" / "dists_weights-f5e65c96.pt"


@pytest.fixture(scope="module")
def recorded():
    return json.loads(GOLDEN.read_text())["scores"]


def assert_scores(metric, data_root, recorded):
    found = {name: metric(sr, gt).item() for name, sr, gt in pairs(data_root)}
    assert found == pytest.approx(recorded, abs=1e-6)


@pytest.mark.parametrize(("net", "network"), [("alex", "alexnet"), ("vgg", "vgg16")])
def test_lpips_of_photographs_is_that_of_its_authors(data_root, recorded, net, network):
    files = {
        "weights": str(data_root / f"weights/{network}_features_imagenet_fp16.safetensors"),
        "linear_weights": str(data_root / f"weights/lpips_lin_{network}.safetensors"),
    }
    assert_scores(METRICS.build({"type": "lpips", "net": net, **files}), data_root, recorded[f"lpips_{net}"])


def test_dists_of_photographs_is_that_of_its_authors(data_root, recorded, tmp_path):
    torch.save(plain_weights(), tmp_path / "plain.pt")
    files = {
        "weights": str(data_root / "weights/vgg16_features_imagenet_fp16.safetensors"),
        "dists_weights": str(tmp_path / "plain.pt"),
    }
    metric = METRICS.build({"type": "dists", **files})
    assert_scores(metric, data_root, recorded["dists_plain_weights"])


def test_dists_with_the_weights_of_its_authors_too(data_root, recorded):
    if not DISTS_FILE.is_file():
        pytest.skip(f"no {DISTS_FILE}, which the first use of the metric downloads")
    weights = str(data_root / "weights/vgg16_features_imagenet_fp16.safetensors")
    assert_scores(METRICS.build({"type": "dists", "weights": weights}), data_root, recorded["dists"])


def test_lpips_vgg_is_lpips_through_vgg():
    named = METRICS.build({"type": "lpips_vgg", "pretrained": False, "crop_border": 4})
    assert named == METRICS.build({"type": "LPIPS", "net": "vgg", "pretrained": False, "crop_border": 4})


@pytest.mark.parametrize("name", ["lpips", "dists"])
def test_a_distance_says_what_it_measures(name):
    """The record of a run compares this text to know whether two scores are of the same kind."""
    one, two = (METRICS.build({"type": name, "pretrained": False, "crop_border": 2}) for _ in range(2))
    assert repr(one) == repr(two) != repr(METRICS.build({"type": name, "pretrained": False}))
    assert "0x" not in repr(one)
