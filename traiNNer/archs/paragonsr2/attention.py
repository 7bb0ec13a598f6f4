"""Window attention: all windows of a batch in one call of scaled_dot_product_attention.

Shapes: N batch, C channels, H and W of the map, R and S windows down and across, L tokens of a window
(row by row), D width of queries and keys.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from traiNNer.archs.padding import rounded_up
from traiNNer.archs.paragonsr2.interpolation import interpolated_attention, nodes_needed

WINDOW = 32
"""Side of a window of the hybrid family, in pixels; an image up to this size is one window."""
OVERLAP = 8
"""Pixels that neighbouring windows share."""
STRIDE = WINDOW - OVERLAP
MASKED = -1e4
"""Added to the logits of tokens that do not exist; finite in float16."""


class ShiftedWindowAttention(nn.Module):
    """Multi-head attention within windows, as in Swin (Liu et al. 2021) but without position bias or mask.

    The map is zero-padded right and below to whole windows; the padded tokens, which carry the biases, are
    attended to, and a shift wraps around. 4 heads, queries, keys and values in this order in `qkv`.
    """

    HEADS = 4

    def __init__(self, channels: int, *, window: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """The attended values, of the same shape."""
        n, c, h, w = x_NCHW.shape
        side, t = self.window, self.shift
        x_NCHW = F.pad(x_NCHW, (0, -w % side, 0, -h % side))
        rows, columns = x_NCHW.shape[2] // side, x_NCHW.shape[3] // side
        if t:
            x_NCHW = torch.roll(x_NCHW, (-t, -t), (2, 3))
        windows = x_NCHW.reshape(n, c, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
        qkv = self.qkv(windows.reshape(n * rows * columns, side * side, c))
        q, k, v = qkv.unflatten(2, (3, self.HEADS, c // self.HEADS)).permute(2, 0, 3, 1, 4).unbind()
        y = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        y = y.reshape(n, rows, columns, side, side, c).permute(0, 5, 1, 3, 2, 4)
        y_NCHW = y.reshape(n, c, rows * side, columns * side)
        if t:
            y_NCHW = torch.roll(y_NCHW, (t, t), (2, 3))
        return y_NCHW[:, :, :h, :w]


class BlendedWindowAttention(nn.Module):
    """u + gamma * attention(u) in overlapping windows whose results are blended by linear ramps.

    One head; the logits are scaled by 1 / sqrt(tokens of the window), not of the width. Windows at the right
    and lower end are cut off at the border. As in the published code the ramps reach exact 0 and the last
    rows and columns may lie in no window; there the attention adds nothing.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = max(1, channels // 8)
        self.gamma = nn.Parameter(torch.zeros(1))
        self.query = nn.Conv2d(channels, width, 1)
        self.key = nn.Conv2d(channels, width, 1)
        self.value = nn.Conv2d(channels, channels, 1)

    def forward(self, u_NCHW: Tensor) -> Tensor:
        """The map with its attention added."""
        down, across = (_Axis(length, u_NCHW.device) for length in u_NCHW.shape[2:])
        x_NRSLC = _cut(u_NCHW, down, across)
        tokens_RS = down.tokens[:, None] * across.tokens
        absent_RSL = ~_outer(down.inside, across.inside)
        y_NRSLC = self._attend(x_NRSLC, tokens_RS.rsqrt(), absent_RSL)
        weight_RSL = _outer(down.ramp, across.ramp).to(u_NCHW.dtype)
        share_HW = (down.share[:, None] * across.share).to(u_NCHW.dtype)
        return u_NCHW + _join(y_NRSLC * weight_RSL[..., None], down, across) * (self.gamma * share_HW)

    def _attend(self, x_NRSLC: Tensor, factor_RS: Tensor, absent_RSL: Tensor) -> Tensor:
        r, s, length, c = x_NRSLC.shape[1:]
        width = self.query.out_channels
        # Fused kernels want queries, keys and values of one width, a multiple of 16, and no mask. The columns
        # that are added are zero except one, which is 1 in queries and MASKED in the keys of absent tokens.
        # 64 windows of 1024 tokens, forward and backward on one core: 0.3 s, without this 0.9 s.
        size = rounded_up(max(c, width + 1), 16)
        convs = (self.query, self.key, self.value)
        weight = torch.cat([F.pad(m.weight.flatten(1), (0, 0, 0, size - m.out_channels)) for m in convs])
        bias = torch.cat([F.pad(m.bias, (0, size - m.out_channels)) for m in convs if m.bias is not None])
        q, k, v = F.linear(x_NRSLC.flatten(1, 2), weight, bias).split(size, dim=-1)
        column = (torch.arange(size, device=q.device) == width).to(q.dtype)
        q = q * factor_RS.view(-1, 1, 1).to(q.dtype) + column
        k = k + absent_RSL.view(r * s, length, 1) * (MASKED * column)
        y = _softmax_attention(q, k, v, width)[..., :c]
        # every size by name: the ONNX exporter of torch 2.9 infers wrong ones
        return y.reshape(x_NRSLC.shape[0], r, s, length, c)


def _softmax_attention(q_NWLD: Tensor, k_NWLD: Tensor, v_NWLD: Tensor, width: int) -> Tensor:
    scalar = width == 1 and q_NWLD.dtype == torch.float32
    if scalar and q_NWLD.device.type == "cpu" and not torch.compiler.is_compiling():
        nodes = nodes_needed(q_NWLD[..., 0].detach(), k_NWLD[..., 0].detach())
        if nodes is not None and 2 * nodes <= q_NWLD.shape[2]:
            return interpolated_attention(q_NWLD, k_NWLD, v_NWLD, nodes)
    return F.scaled_dot_product_attention(q_NWLD, k_NWLD, v_NWLD, scale=1.0)


class _Axis:
    """How one side of an image is cut into windows, and the ramps by which their results are blended."""

    def __init__(self, length: int, device: torch.device) -> None:
        self.length = length
        # the side may be unknown under export: then images smaller than a window are padded to one
        self.side = WINDOW if torch.compiler.is_exporting() else min(WINDOW, length)
        self.count: int = torch.sym_max(1, (length + OVERLAP - 1) // STRIDE)  # pyright: ignore[reportAttributeAccessIssue] -- typed for symbolic integers
        start = torch.arange(self.count, device=device)[:, None] * STRIDE
        place = torch.arange(self.side, device=device)
        present = (length - start).clamp(max=self.side)
        self.inside = place < present
        """(windows, side): whether the pixel exists."""
        self.tokens = present[:, 0].float()
        """(windows): existing pixels along this axis."""
        fade = (present // 4).clamp(max=OVERLAP)
        step = (fade - 1).clamp(min=1).float()  # the ONNX exporter of torch 2.9 divides no whole numbers
        rising = torch.where((start > 0) & (place < fade), place.float() / step, 1.0)
        left = present - 1 - place
        falling = torch.where((start + present < length) & (left < fade), left.float() / step, 1.0)
        self.ramp = rising * falling * self.inside
        """(windows, side): weight of a window's result before division by the sum of all."""
        total = _overlap_add(self.ramp, 0, self)
        self.share = torch.where(total > 0, 1 / total, 0.0)
        """(length): 1 / sum of the weights, 0 where no window lies."""


def _outer(down: Tensor, across: Tensor) -> Tensor:
    # (R, side), (S, side) -> (R, S, L)
    return (down[:, None, :, None] * across[None, :, None, :]).flatten(2)


def _cut(x_NCHW: Tensor, down: _Axis, across: _Axis) -> Tensor:
    # enough is added for the last windows; rows and columns behind them are left out
    if torch.compiler.is_exporting():
        x_NCHW = F.pad(x_NCHW, (0, WINDOW, 0, WINDOW))
    else:
        add = [(axis.count - 1) * STRIDE + axis.side - axis.length for axis in (across, down)]
        x_NCHW = F.pad(x_NCHW, (0, add[0], 0, add[1]))
    x = x_NCHW.unfold(2, down.side, STRIDE).unfold(3, across.side, STRIDE)
    return x[:, :, : down.count, : across.count].permute(0, 2, 3, 4, 5, 1).flatten(3, 4)


def _join(y_NRSLC: Tensor, down: _Axis, across: _Axis) -> Tensor:
    y = y_NRSLC.unflatten(3, (down.side, across.side)).transpose(2, 3)
    return _overlap_add(_overlap_add(y, 1, down), 2, across).permute(0, 3, 1, 2)


def _overlap_add(y: Tensor, dim: int, axis: _Axis) -> Tensor:
    # windows in `dim`, their pixels in `dim + 1` -> pixels of the axis in `dim`, sums where windows overlap
    if not torch.compiler.is_exporting() and axis.length <= WINDOW:
        return y.squeeze(dim)
    # the overlap is at most half a stride: the tail of each window falls into the stride of the next
    behind = [0, 0] * (y.ndim - dim - 2)
    head = F.pad(y.narrow(dim + 1, 0, STRIDE), (*behind, 0, 0, 0, 1))
    tail = F.pad(y.narrow(dim + 1, STRIDE, OVERLAP), (*behind, 0, STRIDE - OVERLAP, 1, 0))
    parts = head + tail
    before, (count, stride), after = parts.shape[:dim], parts.shape[dim : dim + 2], parts.shape[dim + 2 :]
    return parts.reshape(*before, count * stride, *after).narrow(dim, 0, axis.length)
