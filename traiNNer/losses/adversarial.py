"""What an adversarial loss is; the engine trains generator and discriminator by these two faces of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from torch import Tensor

from traiNNer.losses import DiscriminatorOutput, Loss
from traiNNer.losses.precision import at_least_float32


class Discriminator(Protocol):
    """What a network of kind `discriminator` offers besides its forward pass."""

    def forward_features(self, x_NCHW: Tensor, /) -> dict[str, Tensor]:
        """(n, 3, h, w), 0 to 1, to its maps in order of depth; those called `logits...` are its judgements."""
        ...


def discriminator_output(net: Discriminator, images: Tensor) -> DiscriminatorOutput:
    """What a discriminator makes of (n, 3, h, w) in 0..1; its logits in float32 at least."""
    maps = net.forward_features(images)
    logits = [name for name in maps if name.startswith("logits")]
    return DiscriminatorOutput(
        logits=tuple(at_least_float32(maps[name]) for name in logits),
        taps={name: tap for name, tap in maps.items() if name not in logits},
    )


class AdversarialLoss(Loss):
    """Adversarial training of generator and discriminator.

    `forward(inputs)` is what the generator minimises, as of every loss: it reads
    `inputs.discriminator_on_output` (and `inputs.discriminator_on_gt`, where it is relative to the target).
    `discriminator_loss` is what the discriminator minimises. Both are means over samples, places and scales.
    Penalties on the gradient of the discriminator are asked for by their weights and computed by
    `models.adversary`.
    """

    adversarial: ClassVar[bool] = True
    gt_penalty: float = 0.0
    """Weight of half the squared gradient of the logits with respect to the ground truth (R1)."""
    output_penalty: float = 0.0
    """The same with respect to the generator's output (R2)."""

    def discriminator_loss(self, gt: Sequence[Tensor], output: Sequence[Tensor]) -> Tensor:
        """Scalar that the discriminator minimises.

        Args:
            gt: Its logits of the ground truth, one tensor for each scale, see `DiscriminatorOutput`.
            output: Those of the generator's output.
        """
        raise NotImplementedError
