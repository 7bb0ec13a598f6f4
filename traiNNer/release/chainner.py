"""Whether programs built on spandrel, such as chaiNNer, load a released file and compute the same with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from traiNNer.archs import NetworkFacts
from traiNNer.archs.padding import allowed_size
from traiNNer.archs.published import FAMILIES

LOADS = "loads"
_SIDE = 24
_TOLERANCE = 1e-3
"""Largest difference that passes, of values from 0 to 1: a quarter of a step of 8 bits."""

_UNKNOWN = ("paragonsr2", "spanplus", "mosrv2", "rtmosr")
"""How names of networks begin that spandrel has not."""
_TAKEN_FOR: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "compact": {"act_type": ("prelu",)},
    "esrgan": {"num_grow_ch": (32,), "scale": (1, 2, 4, 8)},
    "span": {"img_range": (255.0,), "rgb_mean": ((0.4488, 0.4371, 0.404),)},
}
"""By how names begin: options that spandrel does not read out of weights, and the values that it assumes."""
_ASSUMED = ("img_range", "conv_scale")
"""Options of other authors' networks that no file tells, for which it assumes the authors' defaults."""


def outlook(kind: str, options: Mapping[str, Any]) -> str:
    """Why chaiNNer will not load weights of a network, as far as its name and options tell; empty where it will.

    Asks no spandrel, so that a training can say it at its start.

    Args:
        kind: A name of the registry.
        options: What the network was built with, defaults included.
    """
    if kind.startswith(_UNKNOWN):
        return "does not know this network"
    taken_for = next((table for name, table in _TAKEN_FOR.items() if kind.startswith(name)), {})
    if kind.startswith("span") and not options["norm"]:  # then the range and the mean are of no use
        taken_for = {}
    family = next((f for f in FAMILIES.values() if kind == f.name or kind in f.presets), None)
    if family:
        taken_for = {name: (family.options[name],) for name in _ASSUMED if name in family.asks}
    other = [f"{name}: {options[name]}" for name, values in taken_for.items() if options[name] not in values]
    return f"does not know this network with {', '.join(other)}" if other else ""


def chainner_verdict(path: Path, kind: str, net: nn.Module, facts: NetworkFacts) -> str:
    """`loads`, or why not, for a file of weights and the network in evaluation mode that they are of.

    `kind`: its name in the registry.
    """
    reason = outlook(kind, cast(Mapping[str, Any], net.options))
    return f"{reason}; give it the .onnx" if reason else asked_of_spandrel(path, net, facts)


def asked_of_spandrel(path: Path, net: nn.Module, facts: NetworkFacts) -> str:
    """The same verdict, by letting spandrel load the file and comparing what it computes."""
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
    lq = torch.rand(1, facts.channels, side, side, generator=torch.Generator().manual_seed(0))
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
