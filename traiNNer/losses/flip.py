"""FLIP: the difference that an observer sees when two images alternate.

P. Andersson et al., FLIP: A Difference Evaluator for Alternating Images, HPG 2020.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from traiNNer.losses import LOSSES, Loss, LossInputs
from traiNNer.losses.precision import at_least_float32

# CIE XYZ of linear sRGB with white D65, by rows, and back; white of Lab
_TO_XYZ = (
    (10135552 / 24577794, 8788810 / 24577794, 4435075 / 24577794),
    (2613072 / 12288897, 8788810 / 12288897, 887015 / 12288897),
    (1425312 / 73733382, 8788810 / 73733382, 70074185 / 73733382),
)
_TO_RGB = (
    (3.241003275, -1.537398934, -0.498615861),
    (-0.969224334, 1.875930071, 0.041554224),
    (0.055639423, -0.204011202, 1.057148933),
)
_WHITE = (0.950428545, 1.0, 1.088900371)
# contrast sensitivity, two Gaussians a channel (a1, b1, a2, b2): bright, red-green, blue-yellow (section 4.1.1)
_SENSITIVITY = ((1, 0.0047, 0, 1e-5), (1, 0.0053, 0, 1e-5), (34.1, 0.04, 13.5, 0.025))
_QC, _QF, _PC, _PT = 0.7, 0.5, 0.4, 0.95  # sections 4.1.3 and 4.3
_EDGE = 0.082  # width of the detector of edges and points, degrees of visual angle
_TINY = 1e-15  # below, differences give no gradient


@LOSSES.register("FLIPLoss", "flip")
class FLIPLoss(Loss):
    """Mean FLIP of 8-bit images, 0 to 1: differences of filtered colours, enlarged where edges and points differ.

    Values outside 0 to 1 are clamped.

    Args:
        pixels_per_degree: Of visual angle; the default is a screen of 3840 pixels and 0.7 metres at 0.7 metres.
    """

    coloured = True

    blur: Tensor
    edges: Tensor
    points: Tensor

    def __init__(self, *, pixels_per_degree: float = 3840 * math.pi / 180) -> None:
        super().__init__()
        if pixels_per_degree <= 0:
            raise ValueError(f"FLIPLoss needs pixels_per_degree above 0 (got {pixels_per_degree})")
        self.register_buffer("blur", _blur(pixels_per_degree), persistent=False)
        self.register_buffer("edges", _detector(pixels_per_degree, points=False), persistent=False)
        self.register_buffer("points", _detector(pixels_per_degree, points=True), persistent=False)
        corners = [torch.tensor(rgb).view(1, 3, 1, 1) for rgb in ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0))]
        self.largest = _difference(*(_hunt(_lab(corner)) for corner in corners)).item() ** _QC

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar, near 0 at equality."""
        images = (at_least_float32(x).clamp(0, 1) for x in (inputs.output, inputs.gt))
        with torch.autocast(inputs.output.device.type, enabled=False):
            output, gt = (_opponent(_linear(image)) for image in images)
            colour = self._colour(output, gt)
            return (colour ** (1 - self._features(output, gt))).mean()

    def _colour(self, output: Tensor, gt: Tensor) -> Tensor:
        seen = [_hunt(_lab(_rgb_of_opponent(_filtered(x, self.blur)).clamp(0, 1))) for x in (output, gt)]
        error = _difference(*seen) ** _QC
        knee = _PC * self.largest
        above = _PT + (error - knee) / (self.largest - knee) * (1 - _PT)
        return torch.where(error < knee, error * (_PT / knee), above)

    def _features(self, output: Tensor, gt: Tensor) -> Tensor:
        lightness = [(x[:, :1] + 16) / 116 for x in (output, gt)]
        differences = []
        for kernel in (self.edges, self.points):
            one, other = (
                torch.linalg.vector_norm(_detected(y, kernel), dim=1, keepdim=True) for y in lightness
            )
            differences.append((one - other).abs())
        return (torch.maximum(*differences).clamp_min(_TINY) / math.sqrt(2)) ** _QF


def _blur(pixels_per_degree: float) -> Tensor:
    """(3, 1, k, k): what the eye makes of each opponent channel."""
    widest = max(b for row in _SENSITIVITY for b in row[1::2])
    radius = math.ceil(3 * math.sqrt(widest / (2 * math.pi**2)) * pixels_per_degree)
    axis = torch.arange(-radius, radius + 1, dtype=torch.float64) / pixels_per_degree
    square = axis[:, None].square() + axis.square()
    kernels = []
    for a1, b1, a2, b2 in _SENSITIVITY:
        kernel = sum(
            a * math.sqrt(math.pi / b) * torch.exp(-(math.pi**2) * square / b)
            for a, b in ((a1, b1), (a2, b2))
        )
        assert isinstance(kernel, Tensor)
        kernels.append(kernel / kernel.sum())
    return torch.stack(kernels)[:, None].float()


def _detector(pixels_per_degree: float, *, points: bool) -> Tensor:
    """(2, 1, k, k): first or second derivative of a Gaussian, across and down, each sign of sum 1."""
    deviation = 0.5 * _EDGE * pixels_per_degree
    radius = math.ceil(3 * deviation)
    axis = torch.arange(-radius, radius + 1, dtype=torch.float64)
    gauss = torch.exp(-(axis[:, None].square() + axis.square()) / (2 * deviation**2))
    across = (axis.square() / deviation**2 - 1 if points else -axis) * gauss
    across = torch.where(across < 0, across / -across[across < 0].sum(), across / across[across > 0].sum())
    return torch.stack((across, across.T))[:, None].float()


def _repeated(image: Tensor, edge: int) -> Tensor:
    """The border repeated outwards; by slices, whose gradient is deterministic."""
    rows = (image[:, :, :1].expand(-1, -1, edge, -1), image, image[:, :, -1:].expand(-1, -1, edge, -1))
    tall = torch.cat(rows, dim=2)
    return torch.cat(
        (tall[..., :1].expand(-1, -1, -1, edge), tall, tall[..., -1:].expand(-1, -1, -1, edge)), 3
    )


def _filtered(image: Tensor, kernel: Tensor) -> Tensor:
    return F.conv2d(_repeated(image, kernel.shape[3] // 2), kernel.to(image.dtype), groups=3)


def _detected(lightness: Tensor, kernel: Tensor) -> Tensor:
    # a convolution by channels, which torch computes in float32 on CUDA too
    pair = _repeated(lightness, kernel.shape[3] // 2).expand(-1, 2, -1, -1).contiguous()
    return F.conv2d(pair, kernel.to(lightness.dtype), groups=2)


def _linear(image: Tensor) -> Tensor:
    curved = ((image.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(image > 0.04045, curved, image / 12.92)


def _mixed(image: Tensor, rows: tuple[tuple[float, float, float], ...]) -> list[Tensor]:
    a, b, c = image.split(1, dim=1)
    return [a * row[0] + b * row[1] + c * row[2] for row in rows]


def _relative_xyz(linear: Tensor) -> list[Tensor]:
    return [plane / white for plane, white in zip(_mixed(linear, _TO_XYZ), _WHITE, strict=True)]


def _opponent(linear: Tensor) -> Tensor:
    """Y Cx Cz: Lab without its curve (section 4.1)."""
    x, y, z = _relative_xyz(linear)
    return torch.cat((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim=1)


def _rgb_of_opponent(opponent: Tensor) -> Tensor:
    lightness, cx, cz = opponent.split(1, dim=1)
    y = (lightness + 16) / 116
    xyz = [plane * white for plane, white in zip((y + cx / 500, y, y - cz / 200), _WHITE, strict=True)]
    return torch.cat(_mixed(torch.cat(xyz, dim=1), _TO_RGB), dim=1)


def _lab(linear: Tensor) -> Tensor:
    knee = (6 / 29) ** 3
    x, y, z = (
        torch.where(p > knee, p.clamp_min(knee) ** (1 / 3), p / (3 * (6 / 29) ** 2) + 4 / 29)
        for p in _relative_xyz(linear)
    )
    return torch.cat((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim=1)


def _hunt(lab: Tensor) -> Tensor:
    """Colour counts by brightness (the Hunt effect)."""
    lightness = lab[:, :1]
    return torch.cat((lightness, 0.01 * lightness * lab[:, 1:]), dim=1)


def _difference(one: Tensor, other: Tensor) -> Tensor:
    """HyAB: absolute in lightness, Euclidean in colour."""
    delta = one - other
    lightness = delta[:, :1].square().clamp_min(_TINY).sqrt()
    return lightness + torch.linalg.vector_norm(delta[:, 1:], dim=1, keepdim=True)
