"""`export --ncnn`: files for ncnn compute what the network computes, and what cannot be one is said."""

import json

import pytest
import torch
from safetensors.torch import save_file

from traiNNer.archs import build_network
from traiNNer.cli.export import main
from traiNNer.release.ncnn import compare_ncnn

pytest.importorskip("ncnn")
pytest.importorskip("pnnx")


def saved(path, **spec):
    torch.manual_seed(0)
    net = build_network({"scale": 2, **spec}).eval()
    said = {"architecture": spec["type"], "options": json.dumps(net.options), "scale": "2"}
    save_file(net.state_dict(), path, said)
    return net


def test_the_files_are_the_network_in_both_precisions_and_damage_is_seen(tmp_path, capsys):
    net = saved(tmp_path / "Small.safetensors", type="compact", num_feat=4, num_conv=1)
    assert (
        main([str(tmp_path / "Small.safetensors"), "--ncnn", "--fp16", "--output", str(tmp_path / "out")])
        == 0
    )
    said = capsys.readouterr().out
    assert said.count("differs from the network by") == 6
    full, half = (tmp_path / f"out/2x-Small{mark}.param" for mark in ("", "_fp16"))
    assert half.with_suffix(".bin").stat().st_size < 0.7 * full.with_suffix(".bin").stat().st_size
    names = full.read_text().split()
    assert "data" in names
    assert "output" in names
    entry = json.loads((tmp_path / "out/2x-Small.json").read_text())
    assert {resource["platform"] for resource in entry["resources"]} == {"pytorch"}
    assert "## ncnn" in (tmp_path / "out/README.md").read_text()
    weights = bytearray(full.with_suffix(".bin").read_bytes())
    weights[-2] ^= 0x40
    full.with_suffix(".bin").write_bytes(weights)
    (problem, *_) = compare_ncnn(full, net, net.facts, dtype=torch.float32)[1]
    assert "differs from the network" in problem or "not finite" in problem


def test_a_network_with_an_operation_that_ncnn_has_not_is_left_out_in_words(tmp_path, capsys):
    saved(tmp_path / "Other.safetensors", type="esrgan", num_feat=8, num_block=1)
    assert main([str(tmp_path / "Other.safetensors"), "--ncnn", "--output", str(tmp_path / "out")]) == 1
    assert "ncnn has no operation for a part of this network (" in capsys.readouterr().err
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".json", ".md", ".safetensors"]
