"""DySample, an upsampler: W. Liu et al., Learning to Upsample by Learning to Sample, ICCV 2023."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# N: batch, C: channels, H, W: height and width, G: groups, S: scale, P: S * S positions, D: the coordinates (x, y)


class DySample(nn.Module):
    """Upsampling that reads its input at learned places, one set of places a group of channels.

    Sub-pixel p of a cell is read at its regular place plus half of sigmoid(scope) times offset, in input
    pixels, with linear interpolation and the border repeated.

    Args:
        in_channels: Channels of the input, a multiple of `groups`.
        out_channels: Channels of the output.
        scale: Resolution factor.
        groups: Sets of places.
        end_conv: Whether a 1x1 convolution makes the output of what was read; without it, channels stay.
    """

    init_pos: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, *, scale: int, groups: int, end_conv: bool = True
    ) -> None:
        super().__init__()
        self.scale, self.groups = scale, groups
        places = 2 * groups * scale**2
        self.end_conv = nn.Conv2d(in_channels, out_channels, 1) if end_conv and scale > 1 else nn.Identity()
        self.offset = nn.Conv2d(in_channels, places, 1)
        nn.init.trunc_normal_(self.offset.weight, std=0.02)
        self.scope = nn.Conv2d(in_channels, places, 1, bias=False)
        nn.init.zeros_(self.scope.weight)
        place_S = (torch.arange(scale) - (scale - 1) / 2) / scale
        x_P, y_P = place_S.repeat(scale), place_S.repeat_interleave(scale)
        init_DGP = torch.stack([x_P, y_P])[:, None].expand(2, groups, -1)
        self.register_buffer("init_pos", init_DGP.reshape(1, -1, 1, 1).contiguous())

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """`(n, c, h, w)` to `(n, out, h * s, w * s)`."""
        n, c, h, w = x_NCHW.shape
        s, groups = self.scale, self.groups
        # places are at least float32: with the 8 bits of bfloat16 wide images are read pixels away
        exact = torch.promote_types(x_NCHW.dtype, torch.float32)
        shift = (self.offset(x_NCHW) * self.scope(x_NCHW).sigmoid() * 0.5).to(exact) + self.init_pos
        shift_NDGHW = F.pixel_shuffle(shift.view(n, -1, h, w), s).view(n, 2, groups, h * s, w * s)
        grid = torch.stack(
            [
                _regular(w, s, shift).view(1, 1, 1, -1) + shift_NDGHW[:, 0] * (2 / w),
                _regular(h, s, shift).view(1, 1, -1, 1) + shift_NDGHW[:, 1] * (2 / h),
            ],
            dim=-1,
        ).flatten(0, 1)
        planes = x_NCHW.reshape(n * groups, c // groups, h, w).to(exact)
        read = F.grid_sample(planes, grid, padding_mode="border", align_corners=False)
        return self.end_conv(read.view(n, c, h * s, w * s).to(x_NCHW.dtype))


def _regular(size: int, scale: int, like: Tensor) -> Tensor:
    """For each of `size * scale` output pixels the centre of its input pixel, from -1 to 1."""
    centre = torch.arange(size, device=like.device, dtype=torch.float32) * (2 / size) + (1 / size - 1)
    return centre.repeat_interleave(scale).to(like.dtype)
