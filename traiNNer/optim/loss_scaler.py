"""The loss scale of fp16, on the device."""

from __future__ import annotations

import torch
from torch import Tensor


class LossScaler:
    """Dynamic loss scale for fp16 without a host read: halves at overflow, doubles after 2000 good steps.

    The rule of torch.amp.GradScaler; that class reads `found_inf` on the host for optimizers without a
    fused kernel.
    """

    def __init__(self, device: torch.device) -> None:
        self.scale = torch.full((), 65536.0, device=device)
        """What a loss is multiplied by, a scalar on the device."""
        self._good = torch.zeros((), device=device)

    def update(self, finite: Tensor) -> None:
        """Follow a step; `finite`: a scalar on the device, whether its gradient was."""
        good = torch.where(finite, self._good + 1, 0.0)
        grow = good >= 2000
        self.scale.copy_(torch.where(finite, torch.where(grow, self.scale * 2, self.scale), self.scale / 2))
        self._good.copy_(torch.where(grow, 0.0, good))

    def state_dict(self) -> dict[str, Tensor]:
        """The scale, and the good steps since it last changed."""
        return {"scale": self.scale, "good": self._good}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` gave."""
        self.scale.copy_(state["scale"])
        self._good.copy_(state["good"])
