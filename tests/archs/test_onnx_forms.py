"""ONNX of networks of other authors: what a family promises to be free is free, the rest is refused in words."""

import json

import pytest
import torch
from published_networks import NAMES, build
from safetensors.torch import save_file

from traiNNer.archs.published import FAMILIES
from traiNNer.cli.export import main
from traiNNer.release.onnx import NotForOnnx, compare_onnx, export_onnx, form_of

onnxruntime = pytest.importorskip("onnxruntime")

QUICK = {"seemore", "realcugan"}
"""Families of which an export takes half a second: size free, and both free."""


def cases():
    for name in NAMES:
        form = FAMILIES[name].onnx
        if not form.refused and form.free != "nothing":
            yield pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)


@pytest.mark.parametrize("name", list(cases()))
def test_a_family_computes_the_same_in_onnxruntime_at_every_size_that_its_form_leaves_free(name, tmp_path):
    net, path = build(name).eval(), tmp_path / "net.onnx"
    export_onnx(net, net.facts, path, dtype=torch.float32, metadata={"architecture": name})
    comparisons, problems = compare_onnx(path, net, net.facts, dtype=torch.float32)
    assert problems == []
    assert len({comparison.shape for comparison in comparisons}) > 1
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map["architecture"] == name
    batch, _, *sides = session.get_inputs()[0].shape
    assert all(isinstance(side, str) for side in sides)
    assert isinstance(batch, str) == (net.facts.onnx.free == "batch and size")


def test_the_command_writes_one_size_and_says_why_others_are_left_out(tmp_path, capsys):
    net = build("seemore")
    about = {"architecture": "seemore", "options": json.dumps(net.options), "scale": "2"}
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, tmp_path / "Net.safetensors", about)
    words = [str(tmp_path / "Net.safetensors"), "--output", str(tmp_path / "out"), "--onnx-size"]
    assert main([*words, "24x20"]) == 0
    said = capsys.readouterr().out
    assert "takes (1, 3, 24, 20)\n" in said
    assert "(1, 3, 24, 20): differs from the network by" in said
    session = onnxruntime.InferenceSession(tmp_path / "out/2x-Net_24x20.onnx")
    assert session.get_inputs()[0].shape == [1, 3, 24, 20]
    assert "(1, 3, 24, 20). Compared" in (tmp_path / "out/README.md").read_text()
    assert main([*words, "24x9"]) == 2
    assert "the next size is 24x16" in capsys.readouterr().err
    with pytest.raises(NotForOnnx, match="--onnx-size"):
        form_of(build("uformer").facts, None)
    with pytest.raises(NotForOnnx, match="sorting"):
        form_of(build("atd").facts, (64, 64))
