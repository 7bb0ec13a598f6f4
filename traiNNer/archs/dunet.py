"""DUnet, a U-Net discriminator whose way up is DySample; of the neosr and traiNNer-redux communities, 2025.

Files of traiNNer-redux have spectral norms under the names of torch's newer parametrization, which are taken over.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from traiNNer.archs import NETWORKS, NetworkFacts, recorded
from traiNNer.archs.detectors import Guess, recognises
from traiNNer.archs.dysample import DySample
from traiNNer.archs.spectral import SpectralConv2d
from traiNNer.archs.weights_file import Weights, renames

# N: batch, C: channels, H, W: height and width

_DEPTH = 8
"""How many pixels each way are one at the lowest level."""


def _down(channels: int) -> nn.Sequential:
    return nn.Sequential(SpectralConv2d(channels, channels * 2, 3, stride=2, padding=1), nn.Mish())


def _up(channels: int) -> nn.Sequential:
    return nn.Sequential(
        DySample(channels, channels, scale=2, groups=4, end_conv=False),
        SpectralConv2d(channels, channels // 2, 3, padding=1),
    )


@NETWORKS.register("dunet")
class DUnet(nn.Module):
    """Three halvings and three upsampling steps with a map added at each level, one logit a pixel.

    The original takes sides that are multiples of 8; others are continued at the bottom and right by their border.

    Args:
        num_in_ch: 3 for RGB.
        num_feat: Channels at full resolution, a multiple of 4; twice, four and eight times as many below.
    """

    def __init__(self, *, num_in_ch: int = 3, num_feat: int = 64) -> None:
        super().__init__()
        self.options = recorded(locals())
        self.facts = NetworkFacts(kind="discriminator", min_size=_DEPTH, tile_margin=None, channels=num_in_ch)
        self.in_to_dim = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        self.e_x1, self.e_x2, self.e_x3 = _down(num_feat), _down(num_feat * 2), _down(num_feat * 4)
        self.up1, self.up2, self.up3 = _up(num_feat * 8), _up(num_feat * 4), _up(num_feat * 2)
        self.end_conv = nn.Sequential(
            SpectralConv2d(num_feat, num_feat, 3, padding=1, bias=False),
            nn.Mish(),
            SpectralConv2d(num_feat, num_feat, 3, padding=1, bias=False),
            nn.Mish(),
            nn.Conv2d(num_feat, 1, 3, padding=1),
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` in 0..1 to logits `(n, 1, h, w)`, high for real."""
        return self.forward_features(x_NCHW)["logits"]

    def forward_features(self, x_NCHW: Tensor) -> dict[str, Tensor]:
        """The logits and the maps before them by the name of what makes them, `in_to_dim` to `up3`."""
        height, width = x_NCHW.shape[2:]
        whole = F.pad(x_NCHW, (0, -width % _DEPTH, 0, -height % _DEPTH), mode="replicate")
        x0 = self.in_to_dim(whole)
        x1 = self.e_x1(x0)
        x2 = self.e_x2(x1)
        x3 = self.e_x3(x2)
        up1 = self.up1(x3) + x2
        up2 = self.up2(up1) + x1
        up3 = self.up3(up2) + x0
        logits = self.end_conv(up3)[..., :height, :width]
        return {
            "in_to_dim": x0, "e_x1": x1, "e_x2": x2, "e_x3": x3, "up1": up1, "up2": up2, "up3": up3,
            "logits": logits,
        }  # fmt: skip


@renames(lambda weights: "e_x1.0.parametrizations.weight.original" in weights)
def _from_parametrization(weights: Weights) -> dict[str, Tensor]:
    names = {".original": "_orig", ".0._u": "_u", ".0._v": "_v"}

    def renamed(name: str) -> str:
        for end, own in names.items():
            name = name.replace(f"parametrizations.weight{end}", f"weight{own}")
        return name

    return {renamed(name): tensor for name, tensor in weights.items()}


@recognises(lambda weights: {"in_to_dim.weight", "e_x1.0.weight_orig"} <= weights.keys())
def _infer(weights: Weights) -> Guess:
    width, channels = weights["in_to_dim.weight"].shape[:2]
    return Guess("dunet", {"num_in_ch": channels, "num_feat": width})
