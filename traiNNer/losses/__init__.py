"""Losses. Each module holds one loss or one family; the registry imports them all.

A loss is an `nn.Module` whose `forward(inputs: LossInputs)` returns a scalar: a mean over the samples, so
that `loss(batch repeated) == loss(batch)` and micro-batches can be weighted by their size. Its attribute
`pixel` (of the class) says whether it compares all values at their places, and so can anchor other losses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor, nn

from traiNNer.archs.features import Activations, FeatureNetwork
from traiNNer.losses.precision import at_least_float32
from traiNNer.registry import Registry

LOSSES: Registry[nn.Module] = Registry("loss", package=__name__)


class Features(NamedTuple):
    """Activations of a feature network by name, (n, channels, h', w') each."""

    output: dict[str, Tensor]
    gt: dict[str, Tensor]
    """Without gradient."""


@dataclass(frozen=True)
class LossInputs:
    """Everything a loss may look at, so that all losses share one signature. Float32, RGB, 0 to 1."""

    output: Tensor
    """(n, 3, h * scale, w * scale), what the generator made; not clamped."""
    gt: Tensor
    """(n, 3, h * scale, w * scale), what it should have made."""
    lq: Tensor
    """(n, 3, h, w), what it was given."""
    _activations: dict[FeatureNetwork, tuple[Activations, Activations]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def features(self, network: FeatureNetwork, taps: Iterable[str]) -> Features:
        """What a `shared_network` makes of output and target; computed once for all losses that ask.

        Args:
            network: From `archs.features.shared_network`, where the taps were announced.
            taps: Names of activations.
        """
        names = tuple(taps)
        if network not in self._activations:
            images = at_least_float32(self.output), at_least_float32(self.gt.detach())
            self._activations[network] = Activations(network, images[0]), Activations(network, images[1])
        output, gt = self._activations[network]
        return Features(output.at(names), gt.at(names))
