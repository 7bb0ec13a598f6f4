"""The U-Net discriminator of Real-ESRGAN: one logit a pixel.

X. Wang et al., Real-ESRGAN, ICCVW 2021 (arXiv 2107.10833), section 3.4; the idea is E. Schoenfeld's et al., CVPR
2020. Names of weights are those of its published files, such as `RealESRGAN_x4plus_netD.pth`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from traiNNer.archs import NETWORKS, NetworkFacts, recorded
from traiNNer.archs.detectors import Guess, recognises
from traiNNer.archs.spectral import SpectralConv2d
from traiNNer.archs.weights_file import Weights

# N: batch, C: channels, H, W: height and width

SLOPE = 0.2
"""Negative slope of the leaky ReLUs."""


@NETWORKS.register("unetdiscriminatorsn", "UNetDiscriminatorSN", "unet")
class UNetDiscriminatorSN(nn.Module):
    """Three halvings and three bilinear upsampling steps, all but the ends spectrally normalised.

    The original takes sides that are multiples of 8; others are resized to the map on the way down.

    Args:
        num_in_ch: 3 for RGB.
        num_feat: Channels at full resolution; twice, four and eight times as many below.
        skip_connection: Add the maps on the way down to those on the way up.
    """

    def __init__(self, *, num_in_ch: int = 3, num_feat: int = 64, skip_connection: bool = True) -> None:
        super().__init__()
        self.options = recorded(locals())
        self.facts = NetworkFacts(kind="discriminator", min_size=8, tile_margin=None, channels=num_in_ch)
        self.skip_connection = skip_connection
        self.conv0 = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        self.conv1 = _halving(num_feat, num_feat * 2)
        self.conv2 = _halving(num_feat * 2, num_feat * 4)
        self.conv3 = _halving(num_feat * 4, num_feat * 8)
        self.conv4 = _same(num_feat * 8, num_feat * 4)
        self.conv5 = _same(num_feat * 4, num_feat * 2)
        self.conv6 = _same(num_feat * 2, num_feat)
        self.conv7 = _same(num_feat, num_feat)
        self.conv8 = _same(num_feat, num_feat)
        self.conv9 = nn.Conv2d(num_feat, 1, 3, padding=1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` in 0..1 to logits `(n, 1, h, w)`, high for real."""
        return self.forward_features(x_NCHW)["logits"]

    def forward_features(self, x_NCHW: Tensor) -> dict[str, Tensor]:
        """The logits and the maps before them by the name of their convolution, `conv0` to `conv8`."""
        taps = {"conv0": F.leaky_relu(self.conv0(x_NCHW), SLOPE)}
        taps["conv1"] = F.leaky_relu(self.conv1(taps["conv0"]), SLOPE)
        taps["conv2"] = F.leaky_relu(self.conv2(taps["conv1"]), SLOPE)
        taps["conv3"] = rising = F.leaky_relu(self.conv3(taps["conv2"]), SLOPE)
        for conv, name, skip in (
            (self.conv4, "conv4", taps["conv2"]),
            (self.conv5, "conv5", taps["conv1"]),
            (self.conv6, "conv6", taps["conv0"]),
        ):
            enlarged = F.interpolate(rising, skip.shape[-2:], mode="bilinear", align_corners=False)
            taps[name] = F.leaky_relu(conv(enlarged), SLOPE)
            rising = taps[name] + skip if self.skip_connection else taps[name]
        taps["conv7"] = F.leaky_relu(self.conv7(rising), SLOPE)
        taps["conv8"] = F.leaky_relu(self.conv8(taps["conv7"]), SLOPE)
        return {**taps, "logits": self.conv9(taps["conv8"])}


def _halving(in_channels: int, out_channels: int) -> SpectralConv2d:
    return SpectralConv2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False)


def _same(in_channels: int, out_channels: int) -> SpectralConv2d:
    return SpectralConv2d(in_channels, out_channels, 3, padding=1, bias=False)


@recognises(lambda weights: {"conv1.weight_orig", "conv8.weight_orig", "conv9.weight"} <= weights.keys())
def _infer(weights: Weights) -> Guess:
    width, channels = weights["conv0.weight"].shape[:2]
    options = {"num_in_ch": channels, "num_feat": width}
    return Guess("unetdiscriminatorsn", options, assumed={"skip_connection": True})
