"""A network as others run it: weights alone, full precision, images of any size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from traiNNer.archs import NetworkFacts
from traiNNer.models.inference import upscale


@dataclass(frozen=True)
class Release:
    """A network as others run it: no losses, no optimizer, full precision."""

    released: nn.Module
    """In evaluation mode."""
    facts: NetworkFacts

    @torch.inference_mode()
    def upscale(self, lq: Tensor, *, tile: int, overlap: int) -> Tensor:
        """(n, 3, h, w) to (n, 3, h * scale, w * scale), 0 to 1; see `models.inference.upscale`."""
        return upscale(self.released, self.facts, lq, tile=tile, overlap=overlap)
