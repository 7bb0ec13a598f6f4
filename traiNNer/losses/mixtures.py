"""Losses of traiNNer-redux that mix or narrow others: cosine of colours, Sobel edges of luma, MS-SSIM with L1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from traiNNer.losses import LOSSES, Loss, LossInputs
from traiNNer.losses.colour import luma
from traiNNer.losses.precision import at_least_float32

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, finest first
_C1, _C2 = 0.01**2, 0.03**2
_LEVEL = 1 / 255


@LOSSES.register("CosimLoss", "cosim")
class CosimLoss(Loss):
    """Angle between the colours of output and target: `cosim_lambda` times one minus the mean cosine.

    Values are clamped to 0..1. It does not see brightness. The angle of a colour darker than a level of 8 bits
    turns at the least change: the gradient there is no longer than at that level (in traiNNer-redux 1 over the
    colour's length).

    Args:
        cosim_lambda: Factor.
    """

    coloured = True

    def __init__(self, *, cosim_lambda: float = 5.0) -> None:
        super().__init__()
        self.cosim_lambda = cosim_lambda

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, 0 at equality."""
        output, gt = (at_least_float32(x).clamp(1e-12, 1) for x in (inputs.output, inputs.gt))
        length = output.detach().norm(dim=1, keepdim=True)
        output = torch.lerp(output.detach(), output, (length / _LEVEL).clamp_max(1))  # the same values
        return self.cosim_lambda * (1 - F.cosine_similarity(output, gt, dim=1, eps=1e-20).mean())


@LOSSES.register("SobelEdgeLoss", "sobeledge")
class SobelEdgeLoss(Loss):
    """Mean squared difference of the Sobel derivatives of luma, divided by 4; beyond the edge is black."""

    luma_alone = True

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, 0 at equality."""
        difference = luma(at_least_float32(inputs.output) - at_least_float32(inputs.gt))
        padded = F.pad(difference, (1, 1, 1, 1))
        across, down = padded[..., 2:] - padded[..., :-2], padded[:, :, 2:] - padded[:, :, :-2]
        horizontal = across[:, :, :-2] + 2 * across[:, :, 1:-1] + across[:, :, 2:]
        vertical = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
        return (horizontal.square().mean() + vertical.square().mean()) / 32


@LOSSES.register("MSSSIML1Loss", "msssiml1")
class MSSSIML1Loss(Loss):
    """`alpha` of one minus MS-SSIM, the rest of blurred Charbonnier; after Zhao et al. 2017, as in traiNNer-redux.

    MS-SSIM by Gaussians of `gaussian_sigmas` instead of smaller images: the product over scales and channels of
    the contrast terms, with the weights of Wang et al. 2003, times the luminance of the widest. A contrast term
    below 1e-6 counts as that and gives no gradient.

    Args:
        alpha: Share of MS-SSIM.
        gaussian_sigmas: Five deviations, finest first, in pixels.
    """

    taps: Tensor
    weights: Tensor

    def __init__(
        self,
        *,
        alpha: float = 0.05,
        gaussian_sigmas: tuple[float, ...] = (0.1, 1.0, 2.0, 4.0, 8.0),
    ) -> None:
        super().__init__()
        if len(gaussian_sigmas) != len(_WEIGHTS):
            raise ValueError(f"MSSSIML1Loss needs five gaussian_sigmas (got {len(gaussian_sigmas)})")
        self.alpha = alpha
        radius = int(2 * gaussian_sigmas[-1])
        axis = torch.arange(-radius, radius + 1).float()
        taps = torch.stack([torch.exp(-axis.square() / (2 * sigma**2)) for sigma in gaussian_sigmas])
        self.register_buffer("taps", taps / taps.sum(1, keepdim=True), persistent=False)
        weights = torch.tensor(_WEIGHTS).view(1, 1, -1, 1, 1)
        self.register_buffer("weights", weights, persistent=False)  # on the device, or the host waits for it

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, near 0 at equality."""
        x, y = at_least_float32(inputs.output), at_least_float32(inputs.gt)
        with torch.autocast(x.device.type, enabled=False):
            means_x, means_y = self._blurred(x), self._blurred(y)
            square = self._blurred(x * x) - means_x.square() + self._blurred(y * y) - means_y.square()
            product = self._blurred(x * y) - means_x * means_y
            widest_x, widest_y = means_x[:, :, -1], means_y[:, :, -1]
            luminance = (2 * widest_x * widest_y + _C1) / (widest_x.square() + widest_y.square() + _C1)
            contrast = ((2 * product + _C2) / (square + _C2)).clamp_min(1e-6)
            weighted = contrast ** self.weights.to(contrast.dtype)
            similarity = luminance.prod(1) * weighted.flatten(1, 2).prod(1)
            error = self._blurred(((x - y).square() + 1e-12).sqrt())[:, :, -1].mean(1)
        return (self.alpha * (1 - similarity) + (1 - self.alpha) * error).mean()

    def _blurred(self, image: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, 5, h, w); the border is repeated outwards."""
        n, c, height, width = image.shape
        scales, size = self.taps.shape
        edge = size // 2
        planes = image.repeat_interleave(scales, dim=1)
        rows = (planes[:, :, :1].expand(-1, -1, edge, -1), planes, planes[:, :, -1:].expand(-1, -1, edge, -1))
        tall = torch.cat(rows, dim=2)
        wide = (tall[..., :1].expand(-1, -1, -1, edge), tall, tall[..., -1:].expand(-1, -1, -1, edge))
        taps = self.taps.to(image.dtype).repeat(c, 1)
        down = F.conv2d(torch.cat(wide, dim=3), taps[:, None, :, None], groups=c * scales)
        return F.conv2d(down, taps[:, None, None, :], groups=c * scales).view(n, c, scales, height, width)
