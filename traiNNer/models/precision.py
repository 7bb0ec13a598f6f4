"""How a step computes: device, precision, memory layout, and the channels that its images have."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from traiNNer.models.colour import Color, in_color


@dataclass(frozen=True)
class Precision:
    """Device, precision, memory layout and channels of a step."""

    device: torch.device
    autocast_dtype: torch.dtype | None = None
    """bfloat16 or float16 inside the network; None computes in `dtype` throughout."""
    dtype: torch.dtype = torch.float32
    """The type of weights, images and losses."""
    channels_last: bool = False
    color: Color = "rgb"
    """What the networks see of the pixels, which are RGB until here."""

    @property
    def channels(self) -> int:
        """Of the images that the networks see."""
        return 3 if self.color == "rgb" else 1

    @property
    def name(self) -> Literal["fp32", "bf16", "fp16"]:
        """The short name of the precision inside the network."""
        if self.autocast_dtype is None:
            return "fp32"
        return "bf16" if self.autocast_dtype == torch.bfloat16 else "fp16"

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which a network runs while training."""
        return torch.autocast(self.device.type, self.autocast_dtype) if self.autocast_dtype else nullcontext()

    def seed(self, seed: int) -> None:
        """Seed what a step draws from: the host and this device.

        `torch.manual_seed` seeds every kind of device, and for those that are not there it writes down the stack
        of the caller, a tenth of the time of a small step.
        """
        torch.default_generator.manual_seed(seed)
        if self.device.type != "cpu":
            getattr(torch, self.device.type).manual_seed(seed)  # torch.cuda, torch.mps, torch.xpu

    def images(self, pixels: Tensor) -> Tensor:
        """(n, h, w, 3) integers to (n, `channels`, h, w), 0 to 1, on the device."""
        return in_color(self.rgb(pixels), self.color)

    def rgb(self, pixels: Tensor) -> Tensor:
        """(n, h, w, 3) integers to (n, 3, h, w), RGB, 0 to 1, on the device."""
        white = 65535.0 if pixels.dtype == torch.uint16 else 255.0
        order = torch.channels_last if self.channels_last else torch.contiguous_format
        if pixels.dtype == torch.uint16 and self.device.type == "mps":
            pixels = pixels.to(torch.int32)  # Apple's devices have no unsigned words
        planes = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        return planes.to(self.dtype, memory_format=order).div_(white)

    @torch.no_grad()
    def infer(self, net: nn.Module, lq: Tensor) -> Tensor:
        """What a network that is not trained makes of an image, without gradient, in `dtype`."""
        with self.autocast():
            output: Tensor = net(lq)
        return output.to(self.dtype)
