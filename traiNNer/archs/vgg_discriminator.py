"""The discriminator of SRGAN and ESRGAN: one logit an image, of one size.

C. Ledig et al., SRGAN, CVPR 2017 (arXiv 1609.04802), section 2.1.2, as BasicSR has it, with its names of weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

from traiNNer.archs import NETWORKS, NetworkFacts, recorded
from traiNNer.archs.detectors import Guess, recognises
from traiNNer.archs.weights_file import Weights
from traiNNer.registry import ConfigError

# N: batch, C: channels, H, W: height and width

InputSize: TypeAlias = Literal[32, 64, 128, 256, 512]

SLOPE = 0.2
"""Negative slope of the leaky ReLUs."""
LAST = 4
"""Height and width of the last map, in pixels."""
HIDDEN = 100
"""Values between the last map and the logit."""


@NETWORKS.register("vggstylediscriminator", "VGGStyleDiscriminator", "VGGStyleDiscriminator128")
class VGGStyleDiscriminator(nn.Module):
    """Convolutions with batch normalisation that halve the image to 4 x 4 pixels, then two linear layers.

    Batch normalisation lets the images of a micro-batch see each other: with micro-batches of 1 its statistics
    are those of one image.

    Args:
        num_in_ch: 3 for RGB.
        num_feat: Channels at full resolution; doubled by the first three halvings.
        input_size: Height and width of every image, in pixels: the gt_size of the training set. BasicSR has 128
            and 256.
    """

    def __init__(self, *, num_in_ch: int = 3, num_feat: int = 64, input_size: InputSize = 128) -> None:
        super().__init__()
        self.options = recorded(locals())
        self.facts = NetworkFacts(
            kind="discriminator", min_size=input_size, tile_margin=None, channels=num_in_ch
        )
        self.input_size = input_size
        self.halvings = (input_size // LAST).bit_length() - 1
        before = num_in_ch
        for level in range(self.halvings):
            width = num_feat * 2 ** min(level, 3)
            self.add_module(f"conv{level}_0", nn.Conv2d(before, width, 3, padding=1, bias=level == 0))
            if level:
                self.add_module(f"bn{level}_0", nn.BatchNorm2d(width))
            self.add_module(f"conv{level}_1", nn.Conv2d(width, width, 4, 2, padding=1, bias=False))
            self.add_module(f"bn{level}_1", nn.BatchNorm2d(width))
            before = width
        self.linear1 = nn.Linear(before * LAST**2, HIDDEN)
        self.linear2 = nn.Linear(HIDDEN, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, input_size, input_size)` in 0..1 to logits `(n, 1)`, high for real."""
        return self.forward_features(x_NCHW)["logits"]

    def forward_features(self, x_NCHW: Tensor) -> dict[str, Tensor]:
        """The logits and the maps before them by the name of their convolution, from `conv0_0` on."""
        size = tuple(x_NCHW.shape[-2:])
        if size != (self.input_size, self.input_size):
            raise ConfigError(
                f"vggstylediscriminator judges {self.input_size} x {self.input_size} pixels and got "
                f"{size[0]} x {size[1]}: set its input_size to the gt_size of the training set (32, 64, "
                "128, 256 or 512), or take another discriminator, such as unetdiscriminatorsn"
            )
        taps: dict[str, Tensor] = {}
        x = x_NCHW
        for name, conv, norm in self._layers():
            x = conv(x) if norm is None else norm(conv(x))
            x = taps[name] = F.leaky_relu(x, SLOPE)
        hidden = F.leaky_relu(self.linear1(x.flatten(1)), SLOPE)
        return {**taps, "logits": self.linear2(hidden)}

    def _layers(self) -> Iterator[tuple[str, nn.Module, nn.Module | None]]:
        parts = dict(self.named_children())
        for level in range(self.halvings):
            for half in (0, 1):
                yield f"conv{level}_{half}", parts[f"conv{level}_{half}"], parts.get(f"bn{level}_{half}")


@recognises(lambda weights: {"conv0_0.weight", "bn0_1.weight", "linear2.weight"} <= weights.keys())
def _infer(weights: Weights) -> Guess:
    width, channels = weights["conv0_0.weight"].shape[:2]
    halvings = sum(re.fullmatch(r"conv\d+_0\.weight", name) is not None for name in weights)
    options = {"num_in_ch": channels, "num_feat": width, "input_size": LAST * 2**halvings}
    return Guess("vggstylediscriminator", options)
