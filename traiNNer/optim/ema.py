"""An exponential moving average (EMA) of the weights, which validates better and smoother than they do."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn


def ema_decay(step: int, limit: float, power: float) -> float:
    """Decay that grows with the step, so that early weights are soon forgotten.

    1 - (1 + step) ** -power, at most `limit`. A power of 3/4 reaches 0.999 after about 10,000 steps.
    """
    return min(limit, 1.0 - (1.0 + step) ** -power)


class Ema:
    """The exponential moving average of a network's parameters; buffers are copied.

    Args:
        net: The network to follow.
        limit: Largest decay, 0 to below 1.
        power: How fast the decay grows, see `ema_decay`.
        update_after_step: Until this step the average equals the weights.
    """

    def __init__(self, net: nn.Module, limit: float, power: float = 0.75, update_after_step: int = 0) -> None:
        self.net = deepcopy(net).eval().requires_grad_(False)
        self._limit, self._power, self._begin = limit, power, update_after_step
        # walking through the modules of a small network takes longer than averaging its weights
        self._weights: tuple[list[Tensor], list[Tensor]] = (
            list(self.net.parameters()),
            list(net.parameters()),
        )
        self._buffers = list(self.net.buffers()), list(net.buffers())

    @torch.no_grad()
    def update(self, step: int, applied: Tensor) -> None:
        """Move towards the weights of the network by 1 - decay, times `applied` (a scalar, 0 or 1)."""
        decay = ema_decay(step - self._begin, self._limit, self._power) if step >= self._begin else 0.0
        mine, theirs = self._weights
        change = torch._foreach_sub(theirs, mine)
        torch._foreach_mul_(change, applied * (1.0 - decay))
        torch._foreach_add_(mine, change)
        if self._buffers[0]:
            torch._foreach_copy_(*self._buffers)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged network."""
        return self.net.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Replace the averaged network; names and shapes must agree."""
        self.net.load_state_dict(state)
