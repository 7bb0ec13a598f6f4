"""What an adversarial loss is; the engine trains generator and discriminator by these two faces of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn


class AdversarialLoss(nn.Module):
    """A game between generator and discriminator.

    `forward(inputs)` is what the generator minimises, as of every loss: it reads `inputs.judged_output` (and
    `inputs.judged_gt`, where it is relative to the target). `critic_loss` is what the discriminator minimises.
    Both are means over samples, places and scales. Penalties on the gradient of the discriminator are asked for by
    their weights and computed by the engine.
    """

    pixel: ClassVar[bool] = False
    gt_penalty: float = 0.0
    """Weight of half the squared gradient of the logits with respect to the ground truth (R1)."""
    output_penalty: float = 0.0
    """The same with respect to the generator's output (R2)."""

    def critic_loss(self, gt: Sequence[Tensor], output: Sequence[Tensor]) -> Tensor:
        """Scalar that the discriminator minimises.

        Args:
            gt: Its logits of the ground truth, one tensor for each scale, see `Judgement`.
            output: Those of the generator's output.
        """
        raise NotImplementedError
