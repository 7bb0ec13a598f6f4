"""LPIPS, the distance that reports of perceptual quality give."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from traiNNer.archs.lpips_dists import LPIPS_NETWORK, LPIPS_TAPS, Lpips, LpipsNet, layers
from traiNNer.archs.vgg_features import FeatureNetwork
from traiNNer.metrics import METRICS, Metric
from traiNNer.metrics.on_device import OnDevice
from traiNNer.metrics.protocol import compared


class _Distance(nn.Module):
    """LPIPS of two images (1, 3, h, w), RGB, 0 to 1; (1,)."""

    def __init__(
        self, net: LpipsNet, pretrained: bool, weights: str | None, linear_weights: str | None
    ) -> None:
        super().__init__()
        self.taps = LPIPS_TAPS[net]
        self.network = FeatureNetwork(LPIPS_NETWORK[net], pretrained=pretrained, weights=weights)
        self.sum = Lpips(net, pretrained=pretrained, linear_weights=linear_weights)

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        return self.sum(layers(self.network, sr, gt, self.taps))


@METRICS.register("lpips", "calculate_lpips")
@dataclass
class LpipsMetric:
    """Learned perceptual image patch similarity, version 0.1; Zhang et al. 2018, equation 1. 0 is equal.

    Whole images in RGB, rounded to 8 bits, edges cropped. In float32; NaN where an image holds NaN.
    """

    higher_is_better: ClassVar[bool] = False

    crop_border: int = 0
    net: LpipsNet = "alex"
    """`alex` is what is usually reported; `vgg` takes twenty times as long and gives other figures."""
    pretrained: bool = True
    """False: random activations, weighted alike."""
    weights: str | None = None
    """A file with the network's weights (alexnet or vgg16); torchvision's download by default."""
    linear_weights: str | None = None
    """A file with the weights of LPIPS itself; the authors', downloaded, by default."""
    _distance: OnDevice = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._distance = OnDevice(_Distance(self.net, self.pretrained, self.weights, self.linear_weights))

    @torch.no_grad()
    def __call__(self, sr: Tensor, gt: Tensor) -> Tensor:
        """Distances (n,) of images (n, 3, h, w), RGB, 0 to 1."""
        return self._distance(*compared(sr, gt, crop_border=self.crop_border, y_channel=False))


@METRICS.register("lpips_vgg")
def lpips_vgg(
    *,
    crop_border: int = 0,
    pretrained: bool = True,
    weights: str | None = None,
    linear_weights: str | None = None,
) -> Metric:
    """The metric `lpips` through VGG16.

    Args:
        crop_border: Pixels left out at each edge.
        pretrained: False: random activations, weighted alike.
        weights: A file with the weights of vgg16; torchvision's download by default.
        linear_weights: A file with the weights of LPIPS itself; the authors', downloaded, by default.
    """
    return LpipsMetric(crop_border, "vgg", pretrained, weights, linear_weights)
