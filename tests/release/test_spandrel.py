"""The plug-in: spandrel loads our files, and computes with them what we compute."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from spandrel import MAIN_REGISTRY, ModelLoader, UnsupportedModelError
from torch import nn

from traiNNer.archs import build_network
from traiNNer.release.chainner import asked_of_spandrel
from traiNNer.release.spandrel import install, load_from_file
from traiNNer.release.weights import write_weights

HYBRID = {"type": "paragonsr2_nano", "scale": 2, "upsampler_alpha": 0.3}
SPECS = [
    HYBRID,
    {"type": "paragonsr2_realtime", "scale": 2, "upsampler_alpha": 0.7},
    {"type": "paragonsr2_stream", "scale": 2, "num_feat": 8, "upsampler_alpha": 0.0},
    {"type": "paragonsr2_magic_nano", "scale": 3, "upsampler_alpha": 0.4},
    {"type": "spanplus", "scale": 2, "feature_channels": 8},
    {"type": "mosrv2", "scale": 2, "dim": 8, "n_block": 1},
    {"type": "rtmosr", "scale": 2, "dim": 8, "n_blocks": 1},
]


def loader(**told: Any) -> ModelLoader:
    """As after `install()`, which no other test notices."""
    registry = MAIN_REGISTRY.copy()
    install(registry, told=told)
    install(registry)  # changes nothing
    return ModelLoader("cpu", registry)


def saved(spec: dict[str, Any], path: Path) -> nn.Module:
    torch.manual_seed(0)
    net = build_network(spec).eval()
    about = {"architecture": spec["type"], "options": json.dumps(net.options), "scale": str(spec["scale"])}
    write_weights(path, net.state_dict(), about)
    return net


def assert_same_function(one: nn.Module, other: nn.Module) -> None:
    lq = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(one.eval()(lq), other(lq))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["type"])
def test_a_released_file_computes_the_same_in_spandrel(spec: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    net = saved(spec, path)
    with pytest.raises(UnsupportedModelError):
        ModelLoader("cpu").load_from_file(path)
    found = load_from_file(path)  # with what its metadata tell
    assert (found.architecture.id, found.scale) == ("traiNNer", spec["scale"])
    assert_same_function(found.model, net)


@pytest.mark.parametrize("spec", SPECS[:3] + SPECS[4:], ids=lambda spec: spec["type"])
def test_any_loader_takes_our_files_once_it_knows_what_tensors_do_not_tell(
    spec: dict[str, Any], tmp_path: Path
) -> None:
    net = saved(spec, tmp_path / "net.pth")
    found = loader(upsampler_alpha=spec.get("upsampler_alpha")).load_from_file(tmp_path / "net.pth")
    assert found.scale == spec["scale"]
    assert_same_function(found.model, net)


def test_what_tensors_do_not_tell_is_asked_for_and_not_guessed(tmp_path: Path) -> None:
    saved(HYBRID, tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match=r"do not tell upsampler_alpha: read the file by .*load_from_file"):
        loader().load_from_file(tmp_path / "net.safetensors")


def test_spandrel_takes_its_own_networks_as_before(tmp_path: Path) -> None:
    saved({"type": "span", "scale": 2, "feature_channels": 8}, tmp_path / "span.safetensors")
    assert loader().load_from_file(tmp_path / "span.safetensors").architecture.id == "SPAN"


def test_chainner_does_not_load_a_file_because_this_process_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = saved(SPECS[4], tmp_path / "net.safetensors")
    for name in ("_architectures", "_ordered", "_by_id"):  # given back afterwards
        monkeypatch.setattr(MAIN_REGISTRY, name, getattr(MAIN_REGISTRY, name))
    install()
    assert ModelLoader("cpu").load_from_file(tmp_path / "net.safetensors").architecture.id == "traiNNer"
    verdict = asked_of_spandrel(tmp_path / "net.safetensors", net, net.facts)  # type: ignore[arg-type]
    assert verdict == "does not know this network; give it the .onnx"


def test_a_network_of_one_channel_is_described_as_such(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    spec = {"type": "spanplus", "scale": 2, "feature_channels": 8, "num_in_ch": 1, "num_out_ch": 1}
    net = saved(spec, path)
    found = load_from_file(path)
    assert (found.input_channels, found.output_channels) == (1, 1)
    lq = torch.rand(1, 1, 8, 9)
    assert torch.equal(found(lq), net(lq).clamp(0, 1))
