"""DISTS, a distance that forgives texture for being another texture."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import ClassVar

import torch
from torch import Tensor, nn

from traiNNer.archs.lpips_dists import DISTS_TAPS, Dists, Layer, layers
from traiNNer.archs.vgg_features import FeatureNetwork
from traiNNer.metrics import METRICS
from traiNNer.metrics.on_device import OnDevice
from traiNNer.metrics.protocol import compared


class _Distance(nn.Module):
    """DISTS of two images (1, 3, h, w), RGB, 0 to 1; (1,)."""

    def __init__(self, pretrained: bool, weights: str | None, dists_weights: str | None) -> None:
        super().__init__()
        self.network = FeatureNetwork("vgg16", pretrained=pretrained, weights=weights, pooling="l2")
        self.sum = Dists(pretrained=pretrained, dists_weights=dists_weights)

    def forward(self, sr: Tensor, gt: Tensor) -> Tensor:
        return self.sum(chain([Layer(sr, gt)], layers(self.network, sr, gt, DISTS_TAPS)))


@METRICS.register("dists", "calculate_dists")
@dataclass
class DistsMetric:
    """Deep image structure and texture similarity; Ding et al. 2020. 0 is equal.

    Whole images in RGB, rounded to 8 bits, edges cropped. Not shrunk before, as the authors' figures of data
    sets with large images are. In float32; NaN where an image holds NaN.
    """

    higher_is_better: ClassVar[bool] = False

    crop_border: int = 0
    pretrained: bool = True
    """False: random activations, weighted alike."""
    weights: str | None = None
    """A file with the weights of VGG16; torchvision's download by default."""
    dists_weights: str | None = None
    """A file with the weights of DISTS itself; the authors', downloaded, by default."""
    _distance: OnDevice = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._distance = OnDevice(_Distance(self.pretrained, self.weights, self.dists_weights))

    @torch.no_grad()
    def __call__(self, sr: Tensor, gt: Tensor) -> Tensor:
        """Distances (n,) of images (n, 3, h, w), RGB, 0 to 1."""
        return self._distance(*compared(sr, gt, crop_border=self.crop_border, y_channel=False))
