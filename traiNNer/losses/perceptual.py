"""Losses of what a network trained on photographs sees: its activations and their correlations."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from traiNNer.archs.vgg_features import FeatureName
from traiNNer.losses import LOSSES, Loss, LossInputs
from traiNNer.losses.criteria import mean_error
from traiNNer.losses.features import WeightedLayers

PerceptualCriterion: TypeAlias = Literal["l1", "l2", "charbonnier", "fro"]

# Real-ESRGAN's (Wang et al. 2021, section 4.1): the last convolution of each block, before its ReLU
_DEFAULTS: dict[FeatureName, dict[str, float]] = {
    "vgg16": {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_3": 1.0, "conv4_3": 1.0, "conv5_3": 1.0},
    "vgg19": {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0},
    "alexnet": {"conv1": 0.1, "conv2": 0.1, "conv3": 1.0, "conv4": 1.0, "conv5": 1.0},
}


@LOSSES.register("PerceptualLoss", "perceptual", "VGGLoss")
class PerceptualLoss(Loss):
    """Error of the activations (Johnson et al. 2016, equation 2) and of their Gram matrices (3 and 4).

    `perceptual_weight` times the sum over layers of weight times mean error, plus the same of the Gram matrices
    times `style_weight`. A Gram matrix is divided by channels, height and width. Options as in BasicSR.

    Args:
        layers: Names of layers, each with weight 1: `conv3_4` before, `relu3_4` after the ReLU, `pool3`.
        layer_weights: Weights by name, instead.
        vgg_type: Which network.
        perceptual_weight: Of the activations.
        style_weight: Of the Gram matrices.
        criterion: `fro` is the Frobenius norm of each sample's error, averaged over samples: it grows with the
            patch (BasicSR's grows with the batch too).
        use_input_norm: Shift and scale RGB as the network was trained.
        range_norm: For networks that make images of -1 to 1.
        pretrained: False draws the network's weights at random.
        weights: A file with the network's weights; torchvision's download by default.
    """

    def __init__(
        self,
        *,
        layers: list[str] | None = None,
        layer_weights: dict[str, float] | None = None,
        vgg_type: FeatureName = "vgg19",
        perceptual_weight: float = 1.0,
        style_weight: float = 0.0,
        criterion: PerceptualCriterion = "l1",
        use_input_norm: bool = True,
        range_norm: bool = False,
        pretrained: bool = True,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if not perceptual_weight and not style_weight:
            raise ValueError("PerceptualLoss computes nothing: perceptual_weight and style_weight are both 0")
        self.layers = WeightedLayers(
            vgg_type,
            layers,
            layer_weights,
            default=_DEFAULTS[vgg_type],
            pretrained=pretrained,
            weights=weights,
            use_input_norm=use_input_norm,
            range_norm=range_norm,
        )
        self.perceptual_weight, self.style_weight = perceptual_weight, style_weight
        self.criterion: PerceptualCriterion = criterion

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, at its minimum at equality."""
        output, gt = inputs.features(self.layers.network, self.layers.weights)
        terms: list[Tensor] = []
        for name, weight in self.layers.weights.items():
            if self.perceptual_weight:
                error = _error(output[name] - gt[name], self.criterion)
                terms.append(self.perceptual_weight * weight * error)
            if self.style_weight:
                error = _error(_gram(output[name]) - _gram(gt[name]), self.criterion)
                terms.append(self.style_weight * weight * error)
        return torch.stack(terms).sum()


def _error(difference: Tensor, criterion: PerceptualCriterion) -> Tensor:
    if criterion == "fro":
        return torch.linalg.vector_norm(difference.flatten(1), dim=1).mean()
    return mean_error(difference, criterion)


def _gram(features: Tensor) -> Tensor:
    """Correlations of the channels, (n, channels, channels)."""
    _, channels, height, width = features.shape
    rows = features.flatten(2)
    with torch.autocast(features.device.type, enabled=False):
        return rows @ rows.mT / (channels * height * width)
