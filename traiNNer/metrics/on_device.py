"""Metrics that are networks: computed where the images are, one image at a time."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class OnDevice:
    """A distance between images, with a copy of its weights on every device it has met.

    Args:
        distance: On the CPU; takes two images (1, 3, h, w), RGB, 0 to 1, and returns (1,).
    """

    def __init__(self, distance: nn.Module) -> None:
        self._copies = {torch.device("cpu"): distance}
        self._original = distance

    def __call__(self, sr: Tensor, gt: Tensor) -> Tensor:
        """Distances (n,) of images (n, 3, h, w), RGB, 0 to 255, in their type.

        One after the other, so that memory is that of one image and a score does not depend on the batch.
        """
        if sr.device not in self._copies:
            self._copies[sr.device] = copy.deepcopy(self._original).to(sr.device)
        distance = self._copies[sr.device]
        pairs = zip(sr.float().div(255).split(1), gt.float().div(255).split(1), strict=True)
        return torch.cat([distance(a, b) for a, b in pairs]).to(sr.dtype)
