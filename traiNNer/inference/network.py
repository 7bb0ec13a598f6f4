"""A trained network as others run it: in evaluation mode, full precision, on images of any size.

Images are padded to what the network needs, and taken in tiles where memory asks for them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from traiNNer.archs import NetworkFacts
from traiNNer.archs.padding import allowed_size, mirrored


@dataclass
class EvalNetwork:
    """A network to upscale with: no losses, no optimizer."""

    net: nn.Module
    """In any mode; it computes in evaluation mode and keeps the one it had."""
    facts: NetworkFacts

    @torch.inference_mode()
    def upscale(self, lq: Tensor, *, tile: int = 0, overlap: int = 32) -> Tensor:
        """(n, c, h, w) to (n, c, h * scale, w * scale), 0 to 1; arguments as of `upscale` below.

        Not under autocast: rounding to bfloat16 costs tenths of a decibel at high quality.
        """
        training, search = self.net.training, torch.backends.cudnn.benchmark
        self.net.eval()
        torch.backends.cudnn.benchmark = False  # images have many sizes, and cuDNN would search anew for each
        try:
            return upscale(self.net, self.facts, lq, tile=tile, overlap=overlap)
        finally:
            self.net.train(training)
            torch.backends.cudnn.benchmark = search


def upscale(net: nn.Module, facts: NetworkFacts, lq: Tensor, *, tile: int = 0, overlap: int = 32) -> Tensor:
    """The network's output for images of any size, clamped to 0..1.

    Args:
        net: A generator, in eval mode for reproducible results.
        facts: Of that network.
        lq: (n, c, h, w), c being `facts.channels`, 0 to 1.
        tile: Side of the tiles in input pixels; 0 takes the image whole.
        overlap: Input pixels of context on each side of a tile, which are computed and thrown away.

    Returns:
        (n, c, h * scale, w * scale), 0 to 1.
    """
    if tile <= 0 or max(lq.shape[-2:]) <= tile:
        return _padded(net, facts, lq).clamp(0, 1)
    n, channels, height, width = lq.shape
    s = facts.scale
    out = lq.new_empty((n, channels, height * s, width * s))
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            y, x = max(0, top - overlap), max(0, left - overlap)
            part = _padded(net, facts, lq[..., y : bottom + overlap, x : right + overlap])
            out[..., top * s : bottom * s, left * s : right * s] = part[
                ..., (top - y) * s : (bottom - y) * s, (left - x) * s : (right - x) * s
            ]
    return out.clamp_(0, 1)


def _padded(net: nn.Module, facts: NetworkFacts, lq: Tensor) -> Tensor:
    """Pad at the bottom and right by reflection to the size the network needs, and crop the output."""
    height, width = lq.shape[-2:]
    larger = (
        allowed_size(side, least=facts.min_size, multiple=facts.multiple_of) for side in (height, width)
    )
    return net(mirrored(lq, *larger))[..., : height * facts.scale, : width * facts.scale].float()
