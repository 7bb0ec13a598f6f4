"""Two networks of one architecture as one: weights in between (X. Wang et al., Deep Network Interpolation, 2019).

What lies between two networks is of use where both come from the same beginning, such as one trained for fidelity
and one that went on from it with a discriminator.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from traiNNer.archs.loading import Loaded, load_weights, load_with_metadata
from traiNNer.registry import ConfigError
from traiNNer.release.weights import write_weights


def blend(one: Path, other: Path, output: Path, *, alpha: float, options: dict[str, Any]) -> nn.Module:
    """Write the network whose weights are (1 - alpha) of one and alpha of the other; returns it.

    Args:
        one: A file of weights.
        other: Another of the same architecture and options.
        output: Where the result goes, `.safetensors` or `.pth`.
        alpha: Share of the other, 0 to 1.
        options: Of both networks, where their files do not tell them.

    Raises:
        ConfigError: For files that cannot be used or are not of one kind, and another alpha.
    """
    if not 0 <= alpha <= 1:
        raise ConfigError(f"--alpha: should be from 0 to 1 (got {alpha})")
    first, second = (load_with_metadata(path, **options) for path in (one, other))
    _refuse_others(one, first, other, second)
    theirs = second.net.state_dict()
    mixed = {}
    for name, tensor in first.net.state_dict().items():
        if tensor.is_floating_point():
            mixed[name] = tensor.lerp(theirs[name], alpha)
        elif not (name.endswith("num_batches_tracked") or tensor.equal(theirs[name])):
            raise ConfigError(f"{other}: {name} differs from that of {one}, and is no number to be mixed")
        else:
            mixed[name] = tensor
    load_weights(first.net, mixed, strict=True)
    metadata = {
        **first.metadata,
        "architecture": first.type,
        "options": json.dumps(first.net.options),
        "blend": f"{1 - alpha:g} {one.name}, {alpha:g} {other.name}",
    }
    for of_one_file in ("iteration", "best_score"):
        metadata.pop(of_one_file, None)
    write_weights(output, first.net.state_dict(), metadata)
    return first.net


def _refuse_others(one: Path, first: Loaded, other: Path, second: Loaded) -> None:
    if first.type != second.type:
        raise ConfigError(
            f"{other} is a {second.type} and {one} a {first.type}: only one kind can be blended"
        )
    colors = {loaded.metadata["color"] for loaded in (first, second) if "color" in loaded.metadata}
    if len(colors) > 1:
        raise ConfigError(f"of {one} and {other} one sees y and one grey: only equal networks can be blended")
    mine, theirs = (json.loads(json.dumps(loaded.net.options)) for loaded in (first, second))
    differing = [f"{key} ({mine[key]} and {theirs[key]})" for key in mine if mine[key] != theirs[key]]
    if differing:
        words = ", ".join(differing)
        raise ConfigError(f"{one} and {other} differ in {words}: only equal networks can be blended")
