"""Losses. Each module holds one loss or one family; the registry imports them all.

A loss is an `nn.Module` whose `forward(inputs: LossInputs)` returns a scalar: a mean over the samples, so
that `loss(batch repeated) == loss(batch)` and micro-batches can be weighted by their size. `Loss` has the
attributes by which a class says what it asks of a run; a module without them asks nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from traiNNer.archs.vgg_features import Activations, FeatureNetwork
from traiNNer.losses.precision import at_least_float32
from traiNNer.losses.sharpening import sharpen
from traiNNer.registry import ConfigError, Registry

LOSSES: Registry[nn.Module] = Registry("loss", package=__name__)


class Loss(nn.Module):
    """A loss, with what it asks of the run; `forward(inputs)` is a scalar, the mean over samples."""

    pixel: ClassVar[bool] = False
    """Whether it compares all values at their places, and so can anchor other losses."""
    adversarial: ClassVar[bool] = False
    """Whether it reads what the discriminator makes of images."""
    averaged: ClassVar[bool] = False
    """Whether it compares with the output of the EMA network."""
    coloured: ClassVar[bool] = False
    """Whether it compares colours, which images of one channel have not."""
    luma_alone: ClassVar[bool | str] = False
    """Whether it compares nothing but luma, so that colours may drift; or the name of the option that says so."""


class DiscriminatorOutput(NamedTuple):
    """What a discriminator makes of images."""

    logits: tuple[Tensor, ...]
    """High for real, one tensor for each scale that it judges at: (n, 1, h', w') or (n, 1). Float32."""
    taps: dict[str, Tensor]
    """Its maps by name in order of depth, (n, channels, h', w') each, the logits left out."""


DiscriminatorCall: TypeAlias = Callable[[Tensor], DiscriminatorOutput]
"""(n, 3, h, w), 0 to 1, to what a discriminator makes of it."""


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
    discriminator: DiscriminatorCall | None = None
    """The discriminator, whose parameters get no gradient through it; None where the run has none."""
    ema: Callable[[], Tensor] | None = None
    """Computes the EMA network's output for `lq`, without gradient; None where the run has no EMA."""
    teacher_output: Tensor | None = None
    """(n, 3, h * scale, w * scale), what the teacher made of `lq`, without gradient; None where none was asked."""
    _activations: dict[FeatureNetwork, tuple[Activations, Activations]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def discriminator_on_output(self) -> DiscriminatorOutput:
        """What the discriminator makes of `output`; computed once for all losses that ask."""
        return self._discriminator(self.output)

    @cached_property
    def discriminator_on_gt(self) -> DiscriminatorOutput:
        """What it makes of `gt`, without gradient."""
        with torch.no_grad():
            return self._discriminator(self.gt)

    @cached_property
    def ema_output(self) -> Tensor:
        """(n, 3, h * scale, w * scale), the output of the EMA network for `lq`."""
        if self.ema is None:
            raise ConfigError(
                "this loss compares with the output of the EMA network: set train.ema_decay, such as 0.999"
            )
        return self.ema()

    @cached_property
    def with_sharp_gt(self) -> LossInputs:
        """The same with sharpened ground truth; made once for all losses that ask."""
        return replace(self, gt=sharpen(self.gt))

    @cached_property
    def with_teacher_as_gt(self) -> LossInputs:
        """The same with the teacher's output for the ground truth; made once for all losses that ask."""
        if self.teacher_output is None:
            raise ConfigError("this loss compares with a teacher: set path.pretrain_network_g_teacher")
        return replace(self, gt=self.teacher_output)

    @property
    def _discriminator(self) -> DiscriminatorCall:
        if self.discriminator is None:
            raise ConfigError("this loss needs a discriminator: set network_d, such as {type: munet}")
        return self.discriminator

    def features(self, network: FeatureNetwork, taps: Iterable[str]) -> Features:
        """What a `shared_network` makes of output and target; computed once for all losses that ask.

        Args:
            network: From `archs.features.shared_network`, where the feature layers were announced.
            taps: Names of activations.
        """
        names = tuple(taps)
        if network not in self._activations:
            images = at_least_float32(self.output), at_least_float32(self.gt.detach())
            self._activations[network] = Activations(network, images[0]), Activations(network, images[1])
        output, gt = self._activations[network]
        return Features(output.at(names), gt.at(names))


def uses_discriminator(loss: object) -> bool:
    """Whether a loss, or the class of one, reads what the discriminator makes of images."""
    return getattr(loss, "adversarial", False)


def asks_networks(loss: object) -> bool:
    """Whether a loss needs a network that only the step has: the discriminator, or the average of the weights."""
    return uses_discriminator(loss) or getattr(loss, "averaged", False)


def compares_luma_alone(spec: Mapping[str, Any]) -> bool:
    """Whether the loss of an entry of `train.losses` is blind to colours, by its class or by its option."""
    kind = str(spec.get("type", ""))
    luma_alone = getattr(LOSSES.find(kind), "luma_alone", False)
    if isinstance(luma_alone, str):
        return bool(spec.get(luma_alone, LOSSES.parameters(kind)[luma_alone].default))
    return luma_alone
