"""DISTS as a loss."""

from __future__ import annotations

from torch import Tensor

from traiNNer.archs.lpips_dists import DISTS_TAPS, Dists, Layer
from traiNNer.archs.vgg_features import shared_network
from traiNNer.losses import LOSSES, Loss, LossInputs
from traiNNer.losses.precision import at_least_float32


@LOSSES.register("DISTSLoss", "dists")
class DISTSLoss(Loss):
    """Deep image structure and texture similarity; Ding et al. 2020. 0 to 1, and tolerant of moved texture.

    Images are compared at their size; the authors shrink large ones before.

    Args:
        pretrained: False takes random activations, weighted alike.
        weights: A file with the weights of VGG16; torchvision's download by default.
        dists_weights: A file with the weights of DISTS itself; the authors', downloaded, by default.
    """

    def __init__(
        self, *, pretrained: bool = True, weights: str | None = None, dists_weights: str | None = None
    ) -> None:
        super().__init__()
        self.network = shared_network(
            "vgg16", DISTS_TAPS, pretrained=pretrained, weights=weights, pooling="l2"
        )
        self.distance = Dists(pretrained=pretrained, dists_weights=dists_weights)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, 0 at equality."""
        output, gt = inputs.features(self.network, DISTS_TAPS)
        images = Layer(at_least_float32(inputs.output), at_least_float32(inputs.gt))
        return self.distance([images, *(Layer(output[tap], gt[tap]) for tap in DISTS_TAPS)]).mean()
