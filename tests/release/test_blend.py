"""`python scripts/blend.py`: the weights between two networks, and no others."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from traiNNer.archs import build_network, load_network
from traiNNer.cli.blend import main


def saved(path, seed, **spec):
    torch.manual_seed(seed)
    net = build_network({"scale": 2, **spec}).eval()
    about = {"architecture": spec["type"], "options": json.dumps(net.options)}
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, path, about)
    return net


@pytest.mark.parametrize(
    "spec", [{"type": "compact", "num_feat": 4}, {"type": "span", "feature_channels": 4}]
)
def test_a_blend_has_weights_in_between(spec, tmp_path):
    one, other = (saved(tmp_path / f"{seed}.safetensors", seed, **spec) for seed in (0, 1))
    files = [str(tmp_path / f"{seed}.safetensors") for seed in (0, 1)]
    assert main([*files, "--alpha", "0.25", "--output", str(tmp_path / "mix.safetensors")]) == 0
    mixed = load_network(tmp_path / "mix.safetensors")
    for name, found in mixed.named_parameters():
        if found.requires_grad:  # others are computed from these
            a, b = one.get_parameter(name), other.get_parameter(name)
            torch.testing.assert_close(found, 0.75 * a + 0.25 * b)
    with safe_open(tmp_path / "mix.safetensors", "pt") as file:
        assert file.metadata()["blend"] == "0.75 0.safetensors, 0.25 1.safetensors"


@pytest.mark.parametrize(
    ("second", "alpha", "said"),
    [
        ({"type": "span", "feature_channels": 4}, "0.5", "only one kind can be blended"),
        ({"type": "compact", "num_feat": 8}, "0.5", "differ in num_feat (4 and 8)"),
        ({"type": "compact", "num_feat": 4}, "1.5", "should be from 0 to 1"),
    ],
)
def test_what_cannot_be_blended_is_refused(second, alpha, said, tmp_path, capsys):
    saved(tmp_path / "a.safetensors", 0, type="compact", num_feat=4)
    saved(tmp_path / "b.safetensors", 1, **second)
    assert main([str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors"), "--alpha", alpha]) == 2
    assert said in capsys.readouterr().err


def test_counts_of_batches_are_no_difference_and_what_is_said_of_one_file_is_not_of_the_blend(tmp_path):
    for seed in (0, 1):
        net = build_network({"type": "swiftsrgan", "scale": 2, "num_channels": 4, "num_blocks": 1})
        for name, buffer in net.named_buffers():
            if name.endswith("num_batches_tracked"):
                buffer.fill_(100 + seed)
        about = {"architecture": "swiftsrgan", "options": json.dumps(net.options), "best_score": "30.0"}
        save_file(net.state_dict(), tmp_path / f"{seed}.safetensors", about)
    files = [str(tmp_path / f"{seed}.safetensors") for seed in (0, 1)]
    assert main([*files, "--alpha", "0.5", "--output", str(tmp_path / "mix.safetensors")]) == 0
    with safe_open(tmp_path / "mix.safetensors", "pt") as file:
        assert "best_score" not in file.metadata()


@pytest.mark.parametrize(
    ("output", "said"), [("a.safetensors", "is one of the two"), ("c.onnx", "should end with")]
)
def test_where_a_blend_would_be_lost_or_lose_is_refused_before_anything_is_read(
    output, said, tmp_path, capsys
):
    files = [str(tmp_path / name) for name in ("a.safetensors", "b.safetensors", output)]
    assert main([*files[:2], "--output", files[2]]) == 2
    assert said in capsys.readouterr().err
