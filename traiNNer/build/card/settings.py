"""What is measured: networks, precisions, batches, and how long each part may take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from traiNNer.archs import NETWORKS, build_network

TRANSFORMER = "swinir_light"
"""SwinIR lightweight (Liang et al. 2021, arXiv 2108.10257, section 4.1), by spandrel."""
_OURS_ATTEND = ("swinir", "hat", "dat", "srformer", "omnisr")
"""Transformers that the registry may hold, the first of which stands for all."""
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
LAYOUTS = (
    ("fp32", False), ("bf16", True), ("tf32", True), ("fp16", True),
    ("fp32", True), ("bf16", False), ("tf32", False), ("fp16", False),
)  # fmt: skip
"""Precision and channels_last, in the order in which they are measured."""


@dataclass(frozen=True)
class Settings:
    """Everything that the parts need to know."""

    device: str
    """cuda or cpu."""
    tiny: bool
    """Networks, images and times so small that the figures mean nothing: a trial of this program."""
    scale: int = 2

    @property
    def networks(self) -> dict[str, dict[str, Any]]:
        """What to build, by the name that the tables show; what most people train comes first."""
        if self.tiny:
            return {
                "compact": {"type": "compact", "scale": 2, "num_feat": 8, "num_conv": 1},
                "paragonsr2_realtime": {"type": "paragonsr2_realtime", "scale": 2},
            }
        names = ["compact", "span", "paragonsr2_realtime", "realplksr", "paragonsr2_photo", "paragonsr2_nano"]
        found = {name: {"type": name, "scale": self.scale} for name in names}
        return found | {TRANSFORMER: {"type": TRANSFORMER, "scale": self.scale}}

    @property
    def compiled(self) -> tuple[str, ...]:
        """Networks that are compiled too, which takes long."""
        if self.tiny:
            return ("compact",)
        return ("paragonsr2_realtime", "compact", "span", "paragonsr2_nano", "realplksr", "paragonsr2_photo")

    @property
    def trained(self) -> tuple[str, ...]:
        """Networks for which whole runs are timed."""
        return ("compact",) if self.tiny else ("paragonsr2_realtime", "realplksr")

    @property
    def batches(self) -> tuple[int, ...]:
        """Samples of a step; the ends come first, which tell whether a larger batch is for nothing."""
        return (2, 4) if self.tiny else (8, 64, 32, 16)

    @property
    def batch(self) -> int:
        """Samples of a step where precisions are compared."""
        return 2 if self.tiny else 32

    @property
    def lq_size(self) -> int:
        """Side of a patch in LQ pixels."""
        return 16 if self.tiny else 64

    @property
    def seconds(self) -> float:
        """Time for the steps of one case, after those that warm up."""
        return 0.05 if self.tiny else 0.4

    @property
    def images(self) -> dict[str, tuple[int, int]]:
        """Number of synthetic images and their side in pixels, for training and validation."""
        return {"train": (2, 96), "val": (2, 64)} if self.tiny else {"train": (12, 384), "val": (2, 768)}


class Case(NamedTuple):
    """One way to take steps with one network."""

    network: str
    precision: str
    """One of `PRECISIONS`."""
    channels_last: bool
    batch: int
    compiled: bool = False


class Part(NamedTuple):
    """Something to measure in a process of its own."""

    name: str
    title: str
    seconds: float
    """It may take; what it has found until then counts."""
    measure: Callable[[Settings, Report, float], None]
    """Given the settings, what takes its rows, and the `time.monotonic()` by which it should end."""


Report = Callable[[Mapping[str, Any]], None]
"""Takes a row of figures as it comes."""


def build(spec: Mapping[str, Any]) -> nn.Module:
    """A network of `Settings.networks`.

    Raises:
        ImportError: Where spandrel is needed and missing.
    """
    if spec["type"] != TRANSFORMER:
        return build_network(spec)
    for name in _OURS_ATTEND:
        if name in NETWORKS.names():
            return build_network({**spec, "type": name})
    from spandrel.architectures.SwinIR import SwinIR

    return SwinIR(
        img_size=64,
        embed_dim=60,
        depths=[6] * 4,
        num_heads=[6] * 4,
        window_size=8,
        mlp_ratio=2,
        upscale=spec["scale"],
        upsampler="pixelshuffledirect",
    )


def set_matmul(precision: str) -> None:
    """TF32 where `precision` asks for it and in low precisions, as `fast_matmul: true` would set it."""
    fast = precision != "fp32"
    torch.set_float32_matmul_precision("high" if fast else "highest")
    torch.backends.cudnn.allow_tf32 = fast
    torch.backends.cudnn.benchmark = True


def autocast_dtype(precision: str) -> torch.dtype | None:
    """What autocast computes in."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
