"""The contextual loss, which compares what is in two images and not where."""

from __future__ import annotations

import torch
from torch import Tensor

from traiNNer.archs.vgg_features import FeatureName
from traiNNer.losses import LOSSES, Loss, LossInputs
from traiNNer.losses.features import WeightedLayers

_NEAREST = 1e-5  # added to the smallest distance; the paper's epsilon in equation 2


@LOSSES.register("ContextualLoss", "contextual")
class ContextualLoss(Loss):
    """-log CX, summed over layers; Mechrez et al. 2018, equations 1 to 5, with cosine distances.

    Each position of the output votes for the positions of the target it resembles most; the score is how well
    the target's positions are met. 0 for equal images of varied content, and flat near it; the log of the number
    of positions at worst. Where the paper centres by the mean of one target, so does this, for each sample.

    Args:
        layers: Names of layers, each with weight 1.
        layer_weights: Weights by name, instead.
        vgg_type: Which network; AlexNet has no default layers.
        band_width: h of equation 3; smaller values see the nearest position alone.
        max_1d_size: Larger maps are thinned to every second, third, ... row and column. Memory grows with the
            fourth power: 64 takes about 0.3 GB a sample and layer.
        pretrained: False draws the network's weights at random.
        weights: A file with the network's weights; torchvision's download by default.
    """

    def __init__(
        self,
        *,
        layers: list[str] | None = None,
        layer_weights: dict[str, float] | None = None,
        vgg_type: FeatureName = "vgg19",
        band_width: float = 0.5,
        max_1d_size: int = 64,
        pretrained: bool = True,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if band_width <= 0:
            raise ValueError(f"ContextualLoss needs a band_width above 0 (got {band_width})")
        if max_1d_size < 2:
            raise ValueError(f"ContextualLoss needs a max_1d_size of at least 2 (got {max_1d_size})")
        self.layers = WeightedLayers(
            vgg_type,
            layers,
            layer_weights,
            default={"conv3_2": 1.0, "conv4_2": 1.0},
            pretrained=pretrained,
            weights=weights,
        )
        self.band_width, self.max_1d_size = band_width, max_1d_size

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, at its minimum at equality."""
        output, gt = inputs.features(self.layers.network, self.layers.weights)
        terms = [
            weight * self._contextual(self._thinned(output[name]), self._thinned(gt[name]))
            for name, weight in self.layers.weights.items()
        ]
        return torch.stack(terms).sum()

    def _thinned(self, features: Tensor) -> Tensor:
        """(n, channels, positions)."""
        step = -(-max(features.shape[2:]) // self.max_1d_size)
        return features[:, :, ::step, ::step].flatten(2)

    def _contextual(self, output: Tensor, gt: Tensor) -> Tensor:
        centre = gt.mean(2, keepdim=True)
        with torch.autocast(output.device.type, enabled=False):
            cosine = _unit(output - centre).mT @ _unit(gt - centre)
        distance = ((1 - cosine) / 2).clamp_min(0)  # n, positions of the output, positions of the target
        relative = distance / (distance.amin(2, keepdim=True) + _NEAREST)
        similarity = ((1 - relative) / self.band_width).softmax(2)
        return -similarity.amax(1).mean(1).log().mean()


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True) + 1e-12).sqrt()
