"""ESRGAN's RRDBNet: residual-in-residual dense blocks, then upscaling by repetition and convolution.

X. Wang et al., ESRGAN, ECCVW 2018 (arXiv 1809.00219), with the pixel-unshuffle of Real-ESRGAN (ICCVW 2021)
for small factors. State-dict keys are those of BasicSR and Real-ESRGAN.
"""

from __future__ import annotations

import re
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from traiNNer.archs import NETWORKS, NetworkFacts, recorded
from traiNNer.archs.detectors import Guess, recognises
from traiNNer.archs.variants import variant
from traiNNer.archs.weights_file import Weights, renames

# N: batch, C: channels, H, W: low-resolution height and width, f: unshuffle factor

RESIDUAL = 0.2
"""Residual scaling of dense blocks and of their groups (section 3.1 of the paper)."""
INIT = 0.1
"""Factor on the He-normal weights of the dense blocks (section 3.1: smaller initialisation)."""


def _lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)


class DenseBlock(nn.Module):
    """Five convolutions, each seeing the outputs of all before it; the last is added to the input."""

    def __init__(self, num_feat: int, num_grow_ch: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_grow_ch, 3, padding=1)
        self.conv2 = nn.Conv2d(num_feat + num_grow_ch, num_grow_ch, 3, padding=1)
        self.conv3 = nn.Conv2d(num_feat + 2 * num_grow_ch, num_grow_ch, 3, padding=1)
        self.conv4 = nn.Conv2d(num_feat + 3 * num_grow_ch, num_grow_ch, 3, padding=1)
        self.conv5 = nn.Conv2d(num_feat + 4 * num_grow_ch, num_feat, 3, padding=1)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            nn.init.kaiming_normal_(conv.weight)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            with torch.no_grad():
                conv.weight.mul_(INIT)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` to the same."""
        features = x_NCHW
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            features = torch.cat([features, _lrelu(conv(features))], dim=1)
        return x_NCHW + RESIDUAL * self.conv5(features)


class RRDB(nn.Module):
    """Residual in residual dense block: three dense blocks, added to their input."""

    def __init__(self, num_feat: int, num_grow_ch: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(num_feat, num_grow_ch)
        self.rdb2 = DenseBlock(num_feat, num_grow_ch)
        self.rdb3 = DenseBlock(num_feat, num_grow_ch)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` to the same."""
        return x_NCHW + RESIDUAL * self.rdb3(self.rdb2(self.rdb1(x_NCHW)))


def _factors(scale: int, use_pixel_unshuffle: bool) -> tuple[int, list[int]]:
    """By how much the input is unshuffled, and the upscaling steps after the body, in order."""
    if use_pixel_unshuffle and scale < 3:
        return 4 // scale, [2, 2]
    return 1, [3] if scale == 3 else [2] * (scale.bit_length() - 1)


@NETWORKS.register("esrgan", "RRDBNet")
class ESRGAN(nn.Module):
    """RRDBNet with the initialisation of its paper.

    Args:
        scale: Resolution factor.
        num_feat: Channels of the trunk.
        num_block: Residual-in-residual blocks: 23 in ESRGAN, 6 in Real-ESRGAN's anime model.
        num_grow_ch: Channels that each convolution of a dense block adds.
        use_pixel_unshuffle: For scale 1 and 2, fold 4x4 or 2x2 pixels into channels and upscale by four, as
            Real-ESRGAN does (faster by that factor squared); off, the trunk runs at the input's size.
        num_in_ch: Channels of the input.
        num_out_ch: Channels of the output.
    """

    def __init__(
        self,
        *,
        scale: Literal[1, 2, 3, 4, 8] = 4,
        num_feat: int = 64,
        num_block: int = 23,
        num_grow_ch: int = 32,
        use_pixel_unshuffle: bool = True,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
    ) -> None:
        super().__init__()
        self.options = recorded(locals())
        self.unshuffle, self.factors = _factors(scale, use_pixel_unshuffle)
        # 15 convolutions a block, two around the trunk, at most two on each finer grid, two at the end
        margin = (15 * num_block + 4) * self.unshuffle
        self.facts = NetworkFacts(
            kind="generator",
            scale=scale,
            min_size=self.unshuffle,
            multiple_of=self.unshuffle,
            tile_margin=margin,
            channels=num_in_ch,
        )
        self.conv_first = nn.Conv2d(num_in_ch * self.unshuffle**2, num_feat, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(num_feat, num_grow_ch) for _ in range(num_block)))
        self.conv_body = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        for index in range(1, len(self.factors) + 1):
            self.add_module(f"conv_up{index}", nn.Conv2d(num_feat, num_feat, 3, padding=1))
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` to `(n, c, h * scale, w * scale)`."""
        height, width = x_NCHW.shape[-2:]
        features = self.conv_first(self._fold(x_NCHW))
        features = features + self.conv_body(self.body(features))
        for index, factor in enumerate(self.factors, start=1):
            larger = F.interpolate(features, scale_factor=float(factor), mode="nearest")
            features = _lrelu(self.get_submodule(f"conv_up{index}")(larger))
        out = self.conv_last(_lrelu(self.conv_hr(features)))
        return out[..., : height * self.facts.scale, : width * self.facts.scale]

    def _fold(self, x_NCHW: Tensor) -> Tensor:
        """Pixels into channels, after mirroring up to a whole number of f x f cells."""
        f = self.unshuffle
        if f == 1:
            return x_NCHW
        height, width = x_NCHW.shape[-2:]
        mirrored = F.pad(x_NCHW, (0, -width % f, 0, -height % f), mode="reflect")
        return F.pixel_unshuffle(mirrored, f)


NETWORKS.register("esrgan_lite")(variant(ESRGAN, num_feat=32, num_block=12))


@recognises(
    lambda weights: (
        {"conv_first.weight", "body.0.rdb1.conv1.weight"} <= weights.keys()
        and "dd_embed.0.weight" not in weights
    )  # MM-RealSR, which is told the degradation
)
def _infer(weights: Weights) -> Guess:
    width, channels = weights["conv_first.weight"].shape[:2]
    out_channels = weights["conv_last.weight"].shape[0]
    doublings = sum(name.startswith("conv_up") and name.endswith(".weight") for name in weights)
    # 4 or 16 times the channels: 2x2 or 4x4 pixels were folded
    folded = {4 * out_channels: 2, 16 * out_channels: 4}.get(channels, 1) if doublings == 2 else 1
    options = {
        "num_feat": width,
        "num_block": len({name.split(".")[1] for name in weights if name.startswith("body.")}),
        "num_grow_ch": weights["body.0.rdb1.conv1.weight"].shape[0],
        "use_pixel_unshuffle": folded > 1 or doublings > 1,
        "num_in_ch": channels // folded**2,
        "num_out_ch": out_channels,
    }
    scale = {"scale": 2**doublings // folded}
    if doublings == 1:  # one upscaling step may be by 3, which only our metadata tells
        return Guess("esrgan", options, assumed=scale)
    return Guess("esrgan", options | scale)


# --- names from before Real-ESRGAN ---------------------------------------------------------------------------


@renames(lambda weights: "RRDB_trunk.0.RDB1.conv1.weight" in weights)
def _from_trunk(weights: Weights) -> dict[str, Tensor]:
    def renamed(name: str) -> str:
        if name.startswith("RRDB_trunk."):
            return name.replace("RRDB_trunk", "body").replace("RDB", "rdb")
        name = name.replace("trunk_conv.", "conv_body.").replace("HRconv.", "conv_hr.")
        return re.sub(r"^upconv(?=[0-9])", "conv_up", name)

    return {renamed(name): tensor for name, tensor in weights.items()}


@renames(lambda weights: "model.1.sub.0.RDB1.conv1.0.weight" in weights)
def _from_numbers(weights: Weights) -> dict[str, Tensor]:
    # model.0, model.1.sub.<blocks>, one layer for each upscaling step, and two more: convolutions in this order
    outer = sorted({int(n.split(".")[1]) for n in weights if re.match(r"model\.[0-9]+\.(weight|bias)$", n)})
    enlargements = [f"conv_up{i}" for i in range(1, len(outer) - 2)]
    parts = dict(zip(outer, ["conv_first", *enlargements, "conv_hr", "conv_last"], strict=True))

    def renamed(name: str) -> str:
        if block := re.match(r"model\.1\.sub\.([0-9]+)\.RDB([123])\.(conv[1-5])\.0\.(.*)", name):
            return "body.{}.rdb{}.{}.{}".format(*block.groups())
        if body := re.match(r"model\.1\.sub\.[0-9]+\.(weight|bias)$", name):
            return f"conv_body.{body[1]}"
        layer = re.match(r"model\.([0-9]+)\.(weight|bias)$", name)
        return f"{parts[int(layer[1])]}.{layer[2]}" if layer else name

    return {renamed(name): tensor for name, tensor in weights.items()}
