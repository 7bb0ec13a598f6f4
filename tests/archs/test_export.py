"""Networks exported to ONNX with free batch, height and width compute the same in onnxruntime."""

import pytest
import torch
from small_networks import assert_close, build, noise

onnxruntime = pytest.importorskip("onnxruntime")

CASES = [
    ("compact", {}),
    ("span", {}),
    ("realplksr", {}),
    ("realplksr", {"layer_norm": False, "upsampler": "dysample"}),
    pytest.param("esrgan", {"scale": 4}, marks=pytest.mark.slow),  # all of it is in the graph of scale 2
    ("esrgan", {"scale": 2}),
]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
@torch.no_grad()
def test_the_exported_network_equals_the_original_at_other_sizes(name, options, tmp_path):
    net = build(name, **options).eval()
    size = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        net,
        (noise(2, 3, 12, 16),),
        dynamo=True,
        opset_version=20,
        input_names=["lq"],
        output_names=["sr"],
        dynamic_shapes=({0: size, 2: size, 3: size},),
        verbose=False,
    )
    program.save(tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    for shape in ((1, 3, 24, 20), (3, 3, 17, 23), (1, 3, 8, 41)):
        image = noise(*shape)
        (out,) = session.run(None, {"lq": image.numpy()})
        assert_close(torch.from_numpy(out), net(image))
