"""Feature matching: what the discriminator sees in the output should be what it sees in the ground truth."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from traiNNer.losses import LOSSES, Loss, LossInputs
from traiNNer.losses.criteria import Criterion, mean_error
from traiNNer.losses.precision import at_least_float32
from traiNNer.registry import ConfigError, did_you_mean


@LOSSES.register("FeatureMatchingLoss", "featurematching")
class FeatureMatchingLoss(Loss):
    """Mean error of the discriminator's maps; T.-C. Wang et al. 2018 (arXiv 1711.11585), equation 4.

    The paper sums over maps where this averages. Moves the generator alone. Needs a discriminator (`network_d`).

    Args:
        layers: Names of maps, each with weight 1, such as `conv3` of unetdiscriminatorsn; all by default.
        layer_weights: Weights by name, instead; their mean is 1 whatever they are.
        criterion: How a difference becomes a number.
    """

    adversarial: ClassVar[bool] = True

    def __init__(
        self,
        *,
        layers: list[str] | None = None,
        layer_weights: dict[str, float] | None = None,
        criterion: Criterion = "l1",
    ) -> None:
        super().__init__()
        if layers is not None and layer_weights is not None:
            raise ValueError("layers and layer_weights say the same thing; leave one out")
        self.weights = dict.fromkeys(layers, 1.0) if layers is not None else layer_weights
        if self.weights is not None and not sum(self.weights.values()) > 0:
            raise ValueError("FeatureMatchingLoss: no layer has a weight")
        self.criterion: Criterion = criterion

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, 0 at equality."""
        output, gt = inputs.discriminator_on_output.taps, inputs.discriminator_on_gt.taps
        weights = dict.fromkeys(output, 1.0) if self.weights is None else self.weights
        for name in weights:
            if name not in output:
                hint = did_you_mean(name, output) or f"; it has {', '.join(output)}"
                raise ConfigError(f"FeatureMatchingLoss: the discriminator has no map {name!r}{hint}")
        errors = [
            weight * mean_error(at_least_float32(output[name]) - at_least_float32(gt[name]), self.criterion)
            for name, weight in weights.items()
        ]
        return torch.stack(errors).sum() / sum(weights.values())
