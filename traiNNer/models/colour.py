"""Images of one channel: what is taken of RGB, and how its enlargement becomes a picture in colour again."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch.nn.functional as F
from torch import Tensor

from traiNNer.metrics.protocol import luma

Color: TypeAlias = Literal["rgb", "y", "grey"]
"""What a network sees: RGB; `y`: Y of YCbCr, 16 / 255 to 235 / 255, as in the field's papers and BasicSR; `grey`:
brightness from 0 to 1, so that black and white are black and white."""

IN_WORDS = {
    "rgb": "RGB",
    "y": "Y of YCbCr (BT.601, 16 to 235 of 255)",
    "grey": "grey (BT.601, 0 to 255)",
}

_LOW, _RANGE = 16 / 255, 219 / 255


def in_color(rgb: Tensor, color: Color) -> Tensor:
    """(n, 3, h, w), RGB, 0 to 1, as a network of that kind sees it: (n, 1 or 3, h, w)."""
    match color:
        case "rgb":
            return rgb
        case "y":
            return luma(rgb)
        case "grey":
            return _to_grey(luma(rgb))


def as_rgb(plane: Tensor, color: Color) -> Tensor:
    """Images (n, 1 or 3, h, w) of a kind as RGB (n, 3, h, w), 0 to 1; those of one channel have no colour."""
    if color == "rgb":
        return plane
    return (_to_grey(plane) if color == "y" else plane).clamp(0, 1).expand(-1, 3, -1, -1)


def coloured(enlarged: Tensor, lq: Tensor, color: Color) -> Tensor:
    """What a network made of an image, in the colours of that image, which are enlarged by bicubic.

    Args:
        enlarged: (n, 1 or 3, h * scale, w * scale), of that kind, 0 to 1.
        lq: (n, 3, h, w), RGB, 0 to 1.
        color: Of the network.

    Returns:
        (n, 3, h * scale, w * scale), RGB, 0 to 1. Cb and Cr are differences from the brightness: adding the same
        to red, green and blue changes Y alone.
    """
    if color == "rgb":
        return enlarged
    # with antialias torch takes the kernel of MATLAB and Pillow (a = -0.5)
    bicubic = F.interpolate(lq, enlarged.shape[2:], mode="bicubic", antialias=True)
    return (bicubic + (as_rgb(enlarged, color) - in_color(bicubic, "grey"))).clamp(0, 1)


def _to_grey(y: Tensor) -> Tensor:
    return (y - _LOW) / _RANGE
