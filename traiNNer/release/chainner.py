"""Whether programs built on spandrel, such as chaiNNer, load a released file and compute the same with it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from traiNNer.archs import NetworkFacts
from traiNNer.archs.padding import allowed_size

LOADS = "loads"
_SIDE = 24
_TOLERANCE = 1e-3
"""Largest difference that passes, of values from 0 to 1: a quarter of a step of 8 bits."""


def chainner_verdict(path: Path, net: nn.Module, facts: NetworkFacts) -> str:
    """`loads`, or why not, for a file of weights and the network in evaluation mode that they are of."""
    from spandrel import ModelLoader, UnsupportedModelError  # takes a second, and is rarely needed

    from traiNNer.release.spandrel import without_ours

    try:
        found = ModelLoader("cpu", without_ours()).load_from_file(path)
    except UnsupportedModelError:
        return "does not know this network; give it the .onnx"
    except (RuntimeError, ValueError, KeyError, AssertionError, IndexError, TypeError) as error:
        reason = str(error).strip().split("\n")[0][:120]
        return f"does not load it ({reason}); give it the .onnx"
    side = allowed_size(_SIDE, least=facts.min_size, multiple=facts.multiple_of)
    lq = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        output = found.model.eval()(lq.clone())
        output = output[0] if isinstance(output, tuple) else output
        expected = net(lq)
    if output.shape != expected.shape:
        return f"takes it for another network ({found.architecture.name} x{found.scale}); give it the .onnx"
    difference = (output - expected).abs().max().item()
    if not difference <= _TOLERANCE * max(1.0, expected.abs().max().item()):
        return f"loads it and computes something else (off by {difference:.2g}); give it the .onnx"
    return LOADS
