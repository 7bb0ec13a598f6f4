"""A loss whose target is sharpened ground truth."""

from __future__ import annotations

from torch import Tensor, nn

from traiNNer.losses import LossInputs


class SharpTarget(nn.Module):
    """A loss that compares with sharpened ground truth."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, inputs: LossInputs) -> Tensor:
        """What the loss says of the output and the sharpened ground truth."""
        return self.loss(inputs.with_sharp_gt)
