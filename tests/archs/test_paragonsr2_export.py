"""The ParagonSR2 families exported to ONNX with free batch, height and width, run by onnxruntime."""

import pytest
import torch
from small_networks import assert_close, build, noise

from traiNNer.archs.fuse import fuse

onnxruntime = pytest.importorskip("onnxruntime")

DEEP = {"num_feat": 16, "num_groups": 1, "num_blocks": 2}
CASES = [
    ("paragonsr2", {"num_blocks": 1}),
    ("paragonsr2_realtime", {"upsampler_alpha": 0.3, "detail_gain": 1.0}),
    ("paragonsr2_realtime", {"base": "bicubic", "padding": "replicate", "detail_gain": 1.0}),
    ("paragonsr2_dual", {**DEEP, "block": "stream", "detail_gain": 1.0}),
    ("paragonsr2_dual", {**DEEP, "block": "photo", "detail_gain": 1.0}),
    ("paragonsr2_dual", {**DEEP, "block": "pro", "detail_gain": 1.0}),
]


def run(net, path, shapes):
    """Images of the given shapes through the exported network."""
    size = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        net,
        (noise(2, 3, 36, 40),),
        dynamo=True,
        input_names=["lq"],
        output_names=["sr"],
        dynamic_shapes=({0: size, 2: size, 3: size},),
        verbose=False,
    )
    program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [torch.from_numpy(session.run(None, {"lq": noise(*shape).numpy()})[0]) for shape in shapes]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
@torch.no_grad()
def test_the_exported_network_equals_the_original_below_at_and_above_a_window(name, options, tmp_path):
    net = build(name, **options).eval()
    with torch.no_grad():
        for key, parameter in net.named_parameters():
            if key.endswith("gamma"):  # attention that does nothing would hide an error
                parameter.fill_(0.5)
    shapes = [(1, 3, 24, 20), (2, 3, 33, 17), (1, 3, 71, 45)]
    for shape, ours in zip(shapes, run(net, tmp_path / "net.onnx", shapes), strict=True):
        assert_close(ours, net(noise(*shape)))


@torch.no_grad()
def test_a_fused_network_exports_too_and_is_smaller(tmp_path):
    net = build("paragonsr2_magic").eval()
    shapes = [(1, 3, 24, 20), (2, 3, 33, 17), (1, 3, 71, 45)]
    for path, candidate in ((tmp_path / "net.onnx", net), (tmp_path / "fused.onnx", fuse(net))):
        for shape, ours in zip(shapes, run(candidate, path, shapes), strict=True):
            assert_close(ours, net(noise(*shape)))
    assert (tmp_path / "fused.onnx").stat().st_size < (tmp_path / "net.onnx").stat().st_size
