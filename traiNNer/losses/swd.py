"""The multi-scale sliced Wasserstein distance: differences of colour, whatever moved."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from traiNNer.losses import LOSSES, Loss, LossInputs
from traiNNer.losses.precision import at_least_float32

_BLUR = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)  # Burt and Adelson 1983
# sRGB to CIE XYZ over the white of D65 (IEC 61966-2-1), so that white is (1, 1, 1)
_XYZ = (
    (0.4124564 / 0.95047, 0.3575761 / 0.95047, 0.1804375 / 0.95047),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339 / 1.08883, 0.1191920 / 1.08883, 0.9503041 / 1.08883),
)
_KNEE = 6 / 29  # of the cube root in CIELAB


@LOSSES.register("MSSWDLoss", "msswd")
class MSSWDLoss(Loss):
    """Mean distance of sorted random projections of CIELAB patches, over scales; He et al. 2024.

    In units of CIELAB, in which 1 to 2 can just be seen; a network near 30 dB has about 0.1. The projections are
    drawn from the seed of the step, so micro-batches of a step share them. Patches that are too small for a scale
    are not compared at it.

    Args:
        num_scale: Scales, halved each time.
        num_proj: Projections at each scale; the paper takes 128, fewer are noisier and cheaper.
        patch_size: Side of the projected patches in pixels, odd.
    """

    coloured = True

    def __init__(self, *, num_scale: int = 3, num_proj: int = 24, patch_size: int = 11) -> None:
        super().__init__()
        if num_scale < 1 or num_proj < 1:
            raise ValueError(
                f"MSSWDLoss needs a num_scale and a num_proj of at least 1 (got {num_scale}, {num_proj})"
            )
        if patch_size < 1 or patch_size % 2 == 0:
            raise ValueError(f"MSSWDLoss needs an odd patch_size (got {patch_size})")
        self.num_scale, self.num_proj, self.patch_size = num_scale, num_proj, patch_size

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, 0 at equality.

        Raises:
            ValueError: If the images are too small for the first scale.
        """
        output, gt = at_least_float32(inputs.output), at_least_float32(inputs.gt)
        smallest = self.patch_size // 2 + 1  # what can be mirrored
        if min(gt.shape[2:]) < smallest:
            size = tuple(gt.shape[2:])
            raise ValueError(f"MSSWDLoss needs patches of {smallest} pixels or more, got {size}")
        generator = torch.Generator().manual_seed(torch.initial_seed())  # of the step
        terms: list[Tensor] = []
        with torch.autocast(gt.device.type, enabled=False):
            for _ in range(self.num_scale):
                terms.append(self._distance(_lab(output), _lab(gt), generator))
                output, gt = _halved(output), _halved(gt)
                if min(gt.shape[2:]) < max(smallest, 3):
                    break
        return torch.stack(terms).mean()

    def _distance(self, output: Tensor, gt: Tensor, generator: torch.Generator) -> Tensor:
        drawn = torch.randn(self.num_proj, 3 * self.patch_size**2, generator=generator, dtype=torch.float64)
        directions = drawn / torch.linalg.vector_norm(drawn, dim=1, keepdim=True)
        # a blocking copy would wait for all that the device has yet to do
        filters = directions.to(gt.device, gt.dtype, non_blocking=True)
        filters = filters.view(self.num_proj, 3, self.patch_size, self.patch_size)
        margin = self.patch_size // 2
        sorted_output, sorted_gt = (
            F.conv2d(_mirrored(image, margin), filters).flatten(2).sort(2).values for image in (output, gt)
        )
        return (sorted_output - sorted_gt).abs().mean()


def _mirrored(image: Tensor, margin: int) -> Tensor:
    """Reflected at its edges, by slices: the gradient of torch's own reflection is not deterministic on CUDA."""
    if not margin:
        return image
    rows = torch.cat(
        (image[:, :, 1 : margin + 1].flip(2), image, image[:, :, -margin - 1 : -1].flip(2)), dim=2
    )
    return torch.cat((rows[..., 1 : margin + 1].flip(3), rows, rows[..., -margin - 1 : -1].flip(3)), dim=3)


def _halved(image: Tensor) -> Tensor:
    """Blurred, and every second row and column of it."""
    for axis in (2, 3):
        padded = _mirrored(image, 2)
        inner = padded[:, :, :, 2:-2] if axis == 2 else padded[:, :, 2:-2]
        length = image.shape[axis]
        image = sum(
            (inner.narrow(axis, i, length) * tap for i, tap in enumerate(_BLUR)), torch.zeros_like(image)
        )
    return image[:, :, ::2, ::2]


def _lab(image: Tensor) -> Tensor:
    """CIELAB (n, 3, h, w) of sRGB (n, 3, h, w), 0 to 1; monotonic beyond."""
    bright = ((image.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    linear = torch.where(image > 0.04045, bright, image / 12.92)
    red, green, blue = linear.split(1, dim=1)
    x, y, z = (red * r + green * g + blue * b for r, g, b in _XYZ)
    x, y, z = _cube_root(x), _cube_root(y), _cube_root(z)
    return torch.cat((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim=1)


def _cube_root(value: Tensor) -> Tensor:
    """The cube root, continued by a line below the knee, where its slope would grow without limit."""
    root = value.clamp_min(_KNEE**3) ** (1 / 3)
    return torch.where(value > _KNEE**3, root, value / (3 * _KNEE**2) + 4 / 29)
