"""LPIPS as a loss."""

from __future__ import annotations

from torch import Tensor

from traiNNer.archs.lpips_dists import LPIPS_NETWORK, LPIPS_TAPS, Layer, Lpips, LpipsNet
from traiNNer.archs.vgg_features import shared_network
from traiNNer.losses import LOSSES, Loss, LossInputs


@LOSSES.register("LPIPSLoss", "lpips")
class LPIPSLoss(Loss):
    """Learned perceptual image patch similarity; Zhang et al. 2018, version 0.1. 0 to about 1.

    Args:
        net: `vgg` trains best by the authors' account, `alex` is the cheaper one that is reported.
        pretrained: False takes random activations, weighted alike.
        weights: A file with the network's weights (alexnet or vgg16); torchvision's download by default.
        linear_weights: A file with the weights of LPIPS itself; the authors', downloaded, by default.
    """

    def __init__(
        self,
        *,
        net: LpipsNet = "vgg",
        pretrained: bool = True,
        weights: str | None = None,
        linear_weights: str | None = None,
    ) -> None:
        super().__init__()
        self.taps = LPIPS_TAPS[net]
        self.network = shared_network(LPIPS_NETWORK[net], self.taps, pretrained=pretrained, weights=weights)
        self.distance = Lpips(net, pretrained=pretrained, linear_weights=linear_weights)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, 0 at equality."""
        output, gt = inputs.features(self.network, self.taps)
        return self.distance(Layer(output[tap], gt[tap]) for tap in self.taps).mean()
