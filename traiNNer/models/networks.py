"""The networks of a run: which there are, what a checkpoint holds of them, and what they can be rolled back to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from traiNNer.archs import NetworkFacts
from traiNNer.models.adversary import Adversary
from traiNNer.optim.ema import Ema
from traiNNer.optim.learner import Learner
from traiNNer.optim.schedule_free import ScheduleFreeAverage


class Networks:
    """Generator, discriminator and EMA network.

    Args:
        generator: The network to train, with its optimizer.
        facts: Of that network.
        ema: The average of its weights, which validates; None: the weights themselves do.
        adversary: The discriminator in training, or None.
    """

    def __init__(
        self,
        generator: Learner,
        facts: NetworkFacts,
        *,
        ema: Ema | ScheduleFreeAverage | None = None,
        adversary: Adversary | None = None,
    ) -> None:
        self.generator, self.facts, self.ema, self.adversary = generator, facts, ema, adversary
        self._snapshot: dict[str, Any] | None = None

    @property
    def learners(self) -> dict[str, Learner]:
        """Generator ("g") and discriminator ("d"), as far as there are any."""
        return {"g": self.generator, **({"d": self.adversary.learner} if self.adversary else {})}

    def trained_at(self, step: int) -> dict[str, Learner]:
        """Those that have a gradient at a step."""
        discriminator = self.adversary is not None and self.adversary.trains_at(step)
        return {name: learner for name, learner in self.learners.items() if name == "g" or discriminator}

    @property
    def eval_net(self) -> nn.Module:
        """The network that validation measures and users want: the EMA network where there is one."""
        return self.ema.net if self.ema else self.generator.net

    def set_learning_rates(self, time: float, factor: float) -> None:
        """Write the learning rates of a moment, see `Learner.set_learning_rate`."""
        for learner in self.learners.values():
            learner.set_learning_rate(time, factor)

    @property
    def learning_rates(self) -> dict[str, float]:
        """The rates last written, per network."""
        return {name: learner.learning_rate for name, learner in self.learners.items()}

    def discard_step(self) -> None:
        """Give up a step that could not be finished: no gradients, and buffers as before it."""
        for learner in self.learners.values():
            learner.discard()

    def finite(self) -> bool:
        """Whether all weights are finite numbers."""
        nets = (*(learner.net for learner in self.learners.values()), self.eval_net)
        return all(bool(p.isfinite().all()) for net in nets for p in net.parameters())

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Load weights as they are into the generator and its EMA network; its moments belonged to others."""
        self.generator.load_weights(weights)
        self.generator.reset_optimizer()
        if self.ema:
            self.ema.load_state_dict(dict(weights))

    # --- rolling back ----------------------------------------------------------------------------------------

    def take_snapshot(self) -> None:
        """Keep a copy of all weights in memory, to roll back to; written over the one before."""
        weights = {
            "net": self.generator.net.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "discriminator": self.adversary.learner.net.state_dict() if self.adversary else None,
        }
        if self._snapshot is None:
            self._snapshot = {name: of and _copy(of) for name, of in weights.items()}
        else:
            self._overwrite_snapshot(weights)

    @property
    def has_snapshot(self) -> bool:
        """Whether there is anything to roll back to."""
        return self._snapshot is not None

    def roll_back(self) -> None:
        """Load the weights of the last snapshot and reset the optimizers' state."""
        assert self._snapshot is not None, "no snapshot was taken"
        self.generator.load_weights(self._snapshot["net"])
        if self.ema:
            self.ema.load_state_dict(self._snapshot["ema"])
        if self.adversary:
            self.adversary.learner.load_weights(self._snapshot["discriminator"])
        for learner in self.learners.values():
            learner.reset_optimizer()

    # --- saving ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything learned, the snapshot included."""
        return {
            "generator": self.generator.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "discriminator": self.adversary.learner.state_dict() if self.adversary else None,
            "snapshot": self._snapshot,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave.

        An EMA that is new to the run starts from the weights, a discriminator that is new from its own.
        """
        self.generator.load_state_dict(state["generator"])
        if self.ema:
            self.ema.load_state_dict(state["ema"] or state["generator"]["net"])
        if self.adversary and state.get("discriminator"):
            self.adversary.learner.load_state_dict(state["discriminator"])
        if state["snapshot"] is not None:
            if self._snapshot is None:
                self.take_snapshot()
            self._overwrite_snapshot(state["snapshot"])

    def _overwrite_snapshot(self, weights: Mapping[str, Mapping[str, Tensor] | None]) -> None:
        assert self._snapshot is not None
        for name, kept in self._snapshot.items():
            for key, tensor in ((kept and weights.get(name)) or {}).items():
                kept[key].copy_(tensor)


def _copy(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in weights.items()}
