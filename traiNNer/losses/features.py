"""How users choose layers of a feature network, for the losses that compare activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from traiNNer.archs.vgg_features import FeatureName, shared_network


class WeightedLayers(nn.Module):
    """A shared feature network and the weight of each layer that is compared.

    Args:
        vgg_type: Which network.
        layers: Names that get a weight of 1 each.
        layer_weights: Weights by name, instead.
        default: Weights by name where neither is given.
        pretrained: False: random weights.
        weights: A file with the network's weights; torchvision's download by default.
        use_input_norm: As the network was trained.
        range_norm: For images of -1 to 1.
    """

    def __init__(
        self,
        vgg_type: FeatureName,
        layers: Sequence[str] | None,
        layer_weights: Mapping[str, float] | None,
        *,
        default: Mapping[str, float],
        pretrained: bool,
        weights: str | None,
        use_input_norm: bool = True,
        range_norm: bool = False,
    ) -> None:
        super().__init__()
        if layers is not None and layer_weights is not None:
            raise ValueError("layers and layer_weights say the same thing; leave one out")
        self.weights = dict.fromkeys(layers, 1.0) if layers is not None else dict(layer_weights or default)
        if not any(self.weights.values()):
            raise ValueError("no layer has a weight")
        self.network = shared_network(
            vgg_type,
            self.weights,
            pretrained=pretrained,
            weights=weights,
            use_input_norm=use_input_norm,
            range_norm=range_norm,
        )
