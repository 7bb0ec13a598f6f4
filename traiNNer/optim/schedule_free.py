"""The weights that a schedule-free optimizer validates: an average that it keeps beside those it trains.

A. Defazio et al., The Road Less Scheduled, 2024, equations 1 to 3. The network holds y, where gradients are taken;
the optimizer holds z, which moves like that of the optimizer without averaging; x, their average over the run,
is what is to be used. y lies between both: y = (1 - beta) z + beta x, so x follows from y and z at any time.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def averages(optimizer: Optimizer) -> bool:
    """Whether an optimizer is schedule-free, so that its weights are not those to be used."""
    return all("train_mode" in group for group in optimizer.param_groups)


class ScheduleFreeAverage:
    """x as a network, in the place of an EMA of the weights; buffers are copied.

    A resumed run goes on with the z of its state. Where the optimizer's state is reset, as after a return to
    earlier weights, the average begins anew from the weights.

    Args:
        net: The network in training, which holds y.
        optimizer: Of that network; its own switch to x is never used.
    """

    def __init__(self, net: nn.Module, optimizer: Optimizer) -> None:
        self.net = deepcopy(net).eval().requires_grad_(False)
        self._theirs, self._optimizer = net, optimizer
        mine = dict(zip(net.parameters(), self.net.parameters(), strict=True))
        self._trained = [(p, mine.pop(p), group) for group in optimizer.param_groups for p in group["params"]]
        self._fixed = list(mine.items())

    @torch.no_grad()
    def update(self, step: int, applied: Tensor) -> None:
        """Compute x; a step that was skipped has changed neither y nor z."""
        for theirs, mine, group in self._trained:
            z: Any = self._optimizer.state.get(theirs, {}).get("z")
            if z is None:
                mine.copy_(theirs)
            else:
                mine.copy_(torch.lerp(theirs, z, 1 - 1 / _beta(group)))
        for theirs, mine in self._fixed:
            mine.copy_(theirs)
        for mine, theirs in zip(self.net.buffers(), self._theirs.buffers(), strict=True):
            mine.copy_(theirs)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged network."""
        return self.net.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Replace the averaged network until the next update; names and shapes must agree."""
        self.net.load_state_dict(state)


def _beta(group: dict[str, Any]) -> float:
    return group["betas"][0] if "betas" in group else group["momentum"]
