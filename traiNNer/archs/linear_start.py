"""Initial values with which an upscaling network begins as a linear filter instead of noise.

A few features hand the image through to the last convolution, which upscales it; all others reach the output
from the second step on.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# A photograph as a random walk of unit steps along rows and columns, which is the limit of an autocorrelation
# of rho ** distance for rho towards 1; a little below, so that the equations can be solved.
_RHO = 0.999
_TAPS = 3
_REACH = 9  # LR pixels; far enough that the ends of the row do not matter


def upscaling_filters(scale: int) -> Tensor:
    """The filters of 3 x 3 LR pixels that predict each sub-pixel of a bicubically shrunk image best.

    They minimise the mean squared error for images whose rows and columns are first-order Markov processes
    (A. K. Jain, Fundamentals of Digital Image Processing, 1989, section 2.10): Wiener filters, separable.

    Returns:
        Tensor: Filters `(scale ** 2, 3, 3)` in the order of pixel shuffling, each with a sum of 1.
    """
    size = _REACH * scale
    shrink = F.interpolate(
        torch.eye(size, dtype=torch.float64, device="cpu")[None, None],
        (_REACH, size),
        mode="bicubic",
        antialias=True,
    )[0, 0]
    place = torch.arange(size, dtype=torch.float64, device="cpu")
    covariance = torch.pow(_RHO, (place[:, None] - place).abs())
    middle = _REACH // 2
    near = slice(middle - _TAPS // 2, middle + _TAPS // 2 + 1)
    inside = slice(middle * scale, (middle + 1) * scale)
    of_lq = (shrink @ covariance @ shrink.T)[near, near]
    of_both = (covariance @ shrink.T)[inside, near]
    taps = torch.linalg.solve(of_lq, of_both, left=False)
    taps /= taps.sum(1, keepdim=True)  # flat areas stay as they are
    return (taps[:, None, :, None] * taps[None, :, None, :]).reshape(scale**2, _TAPS, _TAPS).float()


@torch.no_grad()
def pass_through(convolution: nn.Conv2d, channels: int) -> None:
    """Let the first `channels` outputs of a convolution be its first inputs, which are not negative."""
    assert convolution.bias is not None
    middle = convolution.kernel_size[0] // 2
    convolution.weight[:channels] = 0
    convolution.bias[:channels] = 0
    for index in range(channels):
        convolution.weight[index, index, middle, middle] = 1


@torch.no_grad()
def end_linear(last: nn.Conv2d, channels: int, scale: int, *, input_added: bool) -> None:
    """Let the convolution before pixel shuffling upscale its first `channels` inputs and ignore the others.

    Args:
        last: A 3x3 convolution with `channels * scale ** 2` outputs.
        channels: Of the image.
        scale: Resolution factor.
        input_added: Whether the network adds the repeated input itself.
    """
    assert last.bias is not None
    filters = upscaling_filters(scale).to(last.weight)
    if input_added:
        filters[:, 1, 1] -= 1
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    for index in range(channels):
        last.weight[index * scale**2 : (index + 1) * scale**2, index] = filters
