"""The discriminator's side of adversarial training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor

from traiNNer.losses import DiscriminatorOutput
from traiNNer.losses.adversarial import AdversarialLoss, Discriminator, discriminator_output
from traiNNer.losses.sharpening import sharpen
from traiNNer.models.precision import Precision
from traiNNer.optim.learner import Learner


class Adversary:
    """A discriminator in training, and the adversarial loss that trains it and the generator.

    Args:
        learner: The discriminator with its optimizer.
        loss: The adversarial loss of the run.
        trains_at: Whether the discriminator trains at a step. True for whole windows of steps, or not at all.
        precision: Device and precision.
        generator_start: Steps at the beginning of the run that skip the generator's update.
        generator_every: Steps for each update of the generator, which is skipped in those between.
        penalty_every: Steps between penalties on the gradient, which are weighted by this number
            (lazy regularisation, Karras et al. 2020, section 3.1).
        sharp_target: Whether sharpened ground truth is what counts as real.
    """

    METRICS = ("l_d", "l_d_penalty", "out_d_real", "out_d_fake")
    """What `accumulate` measures: the loss, the penalty before that weighting, and the mean logits of ground truth
    and output."""

    def __init__(
        self,
        learner: Learner,
        loss: AdversarialLoss,
        *,
        trains_at: Callable[[int], bool],
        precision: Precision,
        generator_start: int = 0,
        generator_every: int = 1,
        penalty_every: int = 1,
        sharp_target: bool = False,
    ) -> None:
        self.learner, self.loss, self.trains_at = learner, loss, trains_at
        self._net = cast(Discriminator, learner.net)
        self._precision = precision
        self._generator_start, self._generator_every = generator_start, generator_every
        self._penalty_every, self._sharp_target = penalty_every, sharp_target

    def updates_generator(self, step: int) -> bool:
        """Whether the generator is updated at a step; else it is measured alone."""
        if not self.trains_at(step):
            return True
        return step >= self._generator_start and (step + 1) % self._generator_every == 0

    def discriminate(self, images: Tensor) -> DiscriminatorOutput:
        """What the discriminator makes of images, for the generator: its parameters get no gradient."""
        with self._frozen(), self._precision.autocast():
            return discriminator_output(self._net, images)

    def accumulate(self, gt: Tensor, output: Tensor, *, share: float, step: int) -> dict[str, Tensor]:
        """Forward and backward for the discriminator on one micro-batch.

        Args:
            gt: (n, 3, h, w), the ground truth.
            output: The generator's output for it, without gradient.
            share: Of the step's samples; the gradient's weight.
            step: Says whether penalties are due.

        Returns:
            Scalars by the names of `METRICS`; without a penalty where none was due.
        """
        gt = sharpen(gt) if self._sharp_target else gt
        with self._precision.autocast():
            real = discriminator_output(self._net, gt).logits
            fake = discriminator_output(self._net, output).logits
        loss = self.loss.discriminator_loss(real, fake)
        penalty = self._penalty(gt, output) if step % self._penalty_every == 0 else None
        total = loss if penalty is None else loss + penalty * self._penalty_every
        self.learner.backward(total * share)
        measured = {"l_d": loss, "out_d_real": _mean(real), "out_d_fake": _mean(fake)}
        return measured if penalty is None else {**measured, "l_d_penalty": penalty}

    def _penalty(self, gt: Tensor, output: Tensor) -> Tensor | None:
        """R1 and R2, as far as the loss asks for them; in float32, which their second derivatives need."""
        parts = ((self.loss.gt_penalty, gt), (self.loss.output_penalty, output))
        terms = [weight / 2 * self._squared_gradient(images) for weight, images in parts if weight]
        return torch.stack(terms).sum() if terms else None

    def rehearse_penalty(self, images: Tensor) -> None:
        """Take the penalties' gradients once and throw them away.

        Raises:
            RuntimeError: From torch, for networks that cannot be derived twice.
        """
        with torch.enable_grad():
            penalty = self._penalty(images, images)
            if penalty is not None:
                penalty.backward()
        self.learner.discard()

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
