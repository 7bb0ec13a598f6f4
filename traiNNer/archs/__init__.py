"""Networks. Each module holds one architecture or family; the registry imports them all.

A generator takes `(n, 3, h, w)` RGB in 0..1 and returns `(n, 3, h * scale, w * scale)`, not clamped (both with one
channel where `facts.channels` says so: luma or grey); a discriminator returns logits. Every network carries
`facts`, what others must know to run it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import nn

from traiNNer.registry import Registry

NETWORKS: Registry[nn.Module] = Registry("network", package=__name__)


class OnnxForm(NamedTuple):
    """How a network becomes an ONNX file, and what that file takes."""

    exporter: Literal["export", "trace"] = "export"
    """`export`: torch.export. `trace`: torch's older exporter, which takes seconds for windows of attention where
    the other takes minutes, and cannot go around decisions made in Python."""
    free: Literal["batch and size", "size", "nothing"] = "batch and size"
    """What of an input may differ from that of the example: `size` is that of one image at a time."""
    pads: bool = False
    """Whether it fills up the last windows of an image by itself, as the network does, and so takes any size."""
    refused: str = ""
    """Why there can be no such file at all, in words; empty: there can."""


@dataclass(frozen=True)
class NetworkFacts:
    """What a caller must know about a network; an instance is the attribute `facts` of each network."""

    kind: Literal["generator", "discriminator"]
    scale: int = 1
    """Height and width of the output over those of the input."""
    min_size: int = 1
    """Smallest height and width of an input, in pixels."""
    multiple_of: int = 1
    """Height and width of an input must be multiples of this (the caller pads by reflection)."""
    window: int = 1
    """Side of the windows of a network that fills up the last ones by itself: any size can be run, but tiles begin
    at multiples of this."""
    tile_margin: int | None = 0
    """LQ pixels around a tile beyond which nothing matters to it; None: tiles change the result a little, or a lot
    of pixels matter."""
    channels: int = 3
    """Of the images that it takes: 3 for RGB, 1 for luma or grey."""
    trains_alone: bool = True
    """Whether a batch of one sample can be trained; normalisation over a batch may need two."""
    onnx: OnnxForm = OnnxForm()
    """How it is written as ONNX."""

    @property
    def unit(self) -> int:
        """What sides of tiles, and of images for an ONNX file, are multiples of."""
        return max(self.multiple_of, self.window)


def recorded(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a constructor out of its `locals()`, as metadata can hold them."""
    return {name: value for name, value in arguments.items() if name not in ("self", "__class__")}


def build_network(spec: Mapping[str, Any]) -> nn.Module:
    """The network that `spec` describes: `{"type": name, "scale": int, **parameters}`; names ignore case.

    Raises:
        ConfigError: For an unknown type or parameter, with the nearest name.
    """
    return NETWORKS.build(spec)


def list_networks() -> list[str]:
    """The names of all networks, generators and discriminators."""
    return NETWORKS.names()


def load_network(path: str | Path, **overrides: Any) -> nn.Module:
    """The network that a file of weights belongs to, with those weights, in evaluation mode.

    See `traiNNer.archs.loading.load_network`, which this is; reading files is imported when first used.
    """
    from traiNNer.archs import loading

    return loading.load_network(path, **overrides)
