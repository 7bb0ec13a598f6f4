"""What chaiNNer loads: as spandrel answers, and as is foretold at the start of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import options, train, write_data, write_options

from traiNNer.archs import build_network
from traiNNer.release.chainner import LOADS, asked_of_spandrel, chainner_verdict, outlook
from traiNNer.release.weights import write_weights

CASES: list[tuple[dict[str, Any], str]] = [
    ({"type": "compact", "num_feat": 4}, ""),
    ({"type": "compact", "num_feat": 4, "act_type": "relu"}, "act_type: relu"),
    ({"type": "span", "feature_channels": 16}, ""),
    ({"type": "span", "feature_channels": 16, "img_range": 1.0}, "img_range: 1.0"),
    ({"type": "span", "feature_channels": 16, "img_range": 1.0, "norm": False}, ""),
    ({"type": "esrgan", "num_block": 1, "num_grow_ch": 16}, "num_grow_ch: 16"),
    ({"type": "esrgan", "num_block": 1, "scale": 3}, "scale: 3"),
    ({"type": "realplksr", "dim": 16, "n_blocks": 2, "upsampler": "dysample"}, ""),
    ({"type": "swinir_s", "embed_dim": 12, "depths": (2,), "num_heads": (2,)}, ""),
    (
        {"type": "swinir_s", "embed_dim": 12, "depths": (2,), "num_heads": (2,), "img_range": 0.5},
        "img_range: 0.5",
    ),
    ({"type": "paragonsr2_nano"}, "does not know this network"),
    ({"type": "spanplus_s", "feature_channels": 8}, "does not know this network"),
]


@pytest.mark.parametrize(("spec", "said"), CASES)
def test_what_is_foretold_is_what_spandrel_answers(spec: dict[str, Any], said: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = build_network({"scale": 4, **spec}).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape), alpha=0.02)
    write_weights(tmp_path / "net.safetensors", net.state_dict(), {})
    foretold = outlook(spec["type"], net.options)  # type: ignore[arg-type]
    assert said in foretold and bool(said) == bool(foretold)
    verdict = asked_of_spandrel(tmp_path / "net.safetensors", net, net.facts)  # type: ignore[arg-type]
    assert (verdict == LOADS) == (not foretold)
    exported = chainner_verdict(tmp_path / "net.safetensors", spec["type"], net, net.facts)  # type: ignore[arg-type]
    assert exported == (f"{foretold}; give it the .onnx" if foretold else LOADS)


def test_a_training_says_at_its_start_where_its_weights_will_not_load(tmp_path: Path) -> None:
    write_data(tmp_path)
    file = write_options(tmp_path, options(tmp_path, total_iter=1))
    line = "chaiNNer does not know this network with act_type: relu: use the .onnx that `python scripts/export.py"
    assert line in train(file, "--check", "network_g.act_type=relu").stdout
    assert "chaiNNer" not in train(file, "--check").stdout
