"""The discriminator's side of an adversarial step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor

from traiNNer.losses import DiscriminatorOutput
from traiNNer.losses.adversarial import AdversarialLoss, Discriminator, discriminator_output
from traiNNer.models.precision import Precision
from traiNNer.optim.learner import Learner


class Adversary:
    """A discriminator in training, and the loss that says what it and the generator play for.

    Args:
        learner: The discriminator with its optimizer.
        loss: The adversarial loss of the run.
        plays_at: Whether the discriminator trains at a step. True for whole windows of numbers, or not at all.
        precision: Device and precision.
        alone: Steps at the beginning of the run in which the generator is measured and held still.
        turns: Steps for each update of the generator, which is held so in those between.
        penalty_every: Steps between penalties on the gradient, which are weighted by this number
            (lazy regularisation, Karras et al. 2020, section 3.1).
    """

    NUMBERS = ("l_d", "l_d_penalty", "out_d_real", "out_d_fake")
    """What `accumulate` gives: the loss, the penalty before that weighting (NaN where it was not due), and the
    mean logits of ground truth and output."""

    def __init__(
        self,
        learner: Learner,
        loss: AdversarialLoss,
        *,
        plays_at: Callable[[int], bool],
        precision: Precision,
        alone: int = 0,
        turns: int = 1,
        penalty_every: int = 1,
    ) -> None:
        self.learner, self.loss, self.plays_at = learner, loss, plays_at
        self._net = cast(Discriminator, learner.net)
        self._precision = precision
        self._alone, self._turns, self._penalty_every = alone, turns, penalty_every
        self._unmeasured = torch.full((), float("nan"), dtype=precision.dtype, device=precision.device)

    def generator_moves(self, step: int) -> bool:
        """Whether it is the generator's turn too."""
        return not self.plays_at(step) or (step >= self._alone and (step + 1) % self._turns == 0)

    def discriminate(self, images: Tensor) -> DiscriminatorOutput:
        """What the discriminator makes of images, for the generator: its parameters get no gradient."""
        with self._frozen(), self._precision.autocast():
            return discriminator_output(self._net, images)

    def accumulate(self, gt: Tensor, output: Tensor, *, share: float, step: int) -> Tensor:
        """Forward and backward for the discriminator on one micro-batch.

        Args:
            gt: (n, 3, h, w), the ground truth.
            output: The generator's output for it, without gradient.
            share: Of the step's samples.
            step: Says whether penalties are due.

        Returns:
            `NUMBERS`, times `share`.
        """
        with self._precision.autocast():
            real = discriminator_output(self._net, gt).logits
            fake = discriminator_output(self._net, output).logits
        loss = self.loss.critic_loss(real, fake)
        penalty = self._penalty(gt, output) if step % self._penalty_every == 0 else None
        total = loss if penalty is None else loss + penalty * self._penalty_every
        self.learner.backward(total * share)
        numbers = [loss, self._unmeasured if penalty is None else penalty, _mean(real), _mean(fake)]
        return torch.stack([number.detach().to(self._unmeasured.dtype) for number in numbers]) * share

    def _penalty(self, gt: Tensor, output: Tensor) -> Tensor | None:
        """R1 and R2, as far as the loss asks for them; in float32, which their second derivatives need."""
        parts = ((self.loss.gt_penalty, gt), (self.loss.output_penalty, output))
        terms = [weight / 2 * self._squared_gradient(images) for weight, images in parts if weight]
        return torch.stack(terms).sum() if terms else None

    def _squared_gradient(self, images: Tensor) -> Tensor:
        """Mean over samples of the squared gradient of the logits (Mescheder et al. 2018, equation 9).

        A map of logits counts as their sum over the square root of their number: that is the paper's where an
        image has one logit, and does not grow with the patch.
        """
        images = images.detach().requires_grad_()
        with torch.autocast(images.device.type, enabled=False):
            logits = discriminator_output(self._net, images).logits
            score = torch.stack([scale.sum() / (scale.numel() / len(scale)) ** 0.5 for scale in logits]).sum()
            (slope,) = torch.autograd.grad(score, images, create_graph=True)
        return slope.square().flatten(1).sum(dim=1).mean()

    @contextmanager
    def _frozen(self) -> Iterator[None]:
        trained = self.learner.parameters
        for parameter in trained:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)


def _mean(logits: tuple[Tensor, ...]) -> Tensor:
    return torch.stack([scale.mean() for scale in logits]).mean()
