"""A convolution whose weight is divided by its largest singular value, as discriminators use it.

T. Miyato et al., Spectral Normalization for GANs, ICLR 2018 (arXiv 1802.05957). Its weights have the names of
`torch.nn.utils.spectral_norm`, in which published discriminators are stored, so that files can be exchanged
both ways; torch's newer parametrization has others.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EPS = 1e-12  # torch's
_FIRST = 15  # iterations on new weights, as in torch's parametrization: the first steps have a bound too


class SpectralConv2d(nn.Module):
    """A square convolution with spectral norm 1, estimated by one power iteration a forward pass in training.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the kernel, in pixels.
        stride: Pixels between outputs.
        padding: Zeros at each side.
        bias: Whether a constant is added to each channel.
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        plain = nn.Conv2d(in_channels, out_channels, kernel_size, bias=bias)  # for its initial values
        self.weight_orig, self.bias = plain.weight, plain.bias
        self.stride, self.padding = stride, padding
        rows, columns = self.weight_orig.flatten(1).shape
        self.register_buffer("weight_u", F.normalize(torch.randn(rows), dim=0, eps=_EPS))
        self.register_buffer("weight_v", F.normalize(torch.randn(columns), dim=0, eps=_EPS))
        for _ in range(0 if plain.weight.is_meta else _FIRST):  # an outline has no values
            self._iterate()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, in_channels, h, w)` to `(n, out_channels, h', w')`."""
        if self.training:
            self._iterate()
        return F.conv2d(x_NCHW, self._normalised(), self.bias, self.stride, self.padding)

    def _normalised(self) -> Tensor:
        # copies: a second forward pass before the backward pass would change the vectors under it
        left, right = self.weight_u.clone(), self.weight_v.clone()
        norm = (left * _product(self.weight_orig.flatten(1), right)).sum()
        return self.weight_orig / norm

    @torch.no_grad()
    def _iterate(self) -> None:
        """Turn both vectors towards the first singular ones, in place."""
        weight = self.weight_orig.flatten(1)
        self.weight_v.copy_(F.normalize(_product(weight.T, self.weight_u), dim=0, eps=_EPS))
        self.weight_u.copy_(F.normalize(_product(weight, self.weight_v), dim=0, eps=_EPS))


def _product(matrix: Tensor, vector: Tensor) -> Tensor:
    """`matrix @ vector`, which autocast would compute in half precision."""
    return (matrix * vector).sum(dim=1)
