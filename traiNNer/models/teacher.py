"""The network that a generator learns from beside the ground truth; it learns nothing itself."""

from __future__ import annotations

from torch import Tensor, nn

from traiNNer.models.precision import Precision


class Teacher:
    """A frozen network in evaluation mode, under the precision of the run.

    Args:
        net: With its weights, on the device of the run; of the scale of the generator.
        precision: Device and precision.
    """

    def __init__(self, net: nn.Module, precision: Precision) -> None:
        self.net = net.eval().requires_grad_(requires_grad=False)
        self._precision = precision

    def __call__(self, lq: Tensor) -> Tensor:
        """(n, 3, h, w) to (n, 3, h * scale, w * scale), RGB, clamped to 0 to 1 as an image that it writes."""
        return self._precision.infer(self.net, lq).clamp(0, 1)
