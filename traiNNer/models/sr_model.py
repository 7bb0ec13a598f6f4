"""Single-image super-resolution: what one optimizer step computes.

`optimize_parameters` is the step, from a batch to moved weights; it reads the controls and changes none. What
it measured goes into a buffer on the device, which the trainer reads once per window of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from traiNNer.control import Controls
from traiNNer.data.loader import Batch
from traiNNer.data.mixing import BatchAugmentation
from traiNNer.losses import LossInputs
from traiNNer.models.adversary import Adversary
from traiNNer.models.networks import Networks
from traiNNer.models.out_of_memory import unless_out_of_memory
from traiNNer.models.precision import Precision
from traiNNer.models.step_metrics import StepMetrics, StepMetricsBuffer, at_output_key, loss_key
from traiNNer.models.teacher import Teacher
from traiNNer.optim.learner import NO_LIMIT, Learner, all_ok

_CUDA_GRAPHS = ("reduce-overhead", "max-autotune")  # modes of torch.compile
UPDATE_RATIO_EVERY = 500  # steps between measurements of |dw| / |w|, which take a copy of the weights


class BatchTooLarge(Exception):
    """The step did not fit in memory. Nothing was changed; it may be repeated in smaller pieces."""


class WeightedLoss(NamedTuple):
    """A loss and its weight from the configuration."""

    module: nn.Module
    weight_at: Callable[[int], float]
    """The configured weight at a step; 0 where the loss is off, which is then not computed."""
    taught: bool = False
    """Whether it compares with the output of the teacher."""


class Collectives(Protocol):
    """The processes of a distributed run, as far as a step needs them."""

    rank: int

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on at least one process."""
        ...

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in place."""
        ...


@dataclass(frozen=True)
class StepSettings:
    """What does not change about a step."""

    seed: int
    """The seed of the run; every step draws from (seed, step, rank)."""
    window: int = 10
    """Steps between two readings of the metrics."""
    measure_losses_every: int = 0
    """Steps between measurements of each loss's gradient at the network's output, which cost one backward pass
    through each loss; 0 measures the first step only."""
    compile_mode: str | None = None
    """The mode of torch.compile, for training steps alone (validation has images of any size); None: eager."""


class SRModel:
    """The step that trains the networks, and the losses it minimises.

    Args:
        networks: Generator, EMA network, discriminator.
        losses: By label; the labels are the names of the log.
        settings: What does not change about a step.
        precision: Device and precision.
        collectives: This process among those of the run.
        augment: Given the batch (LQ, GT) and the step, what to train on instead; None: as it is.
        teacher: What losses that are taught compare with.
    """

    def __init__(
        self,
        networks: Networks,
        losses: Mapping[str, WeightedLoss],
        *,
        settings: StepSettings,
        precision: Precision,
        collectives: Collectives,
        augment: BatchAugmentation | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        self.networks, self.teacher = networks, teacher
        self.generator, self.ema, self.adversary = networks.generator, networks.ema, networks.adversary
        self.losses = dict(losses)
        self.settings, self.precision = settings, precision
        self._collectives, self._augment = collectives, augment
        self.updating = False
        """Whether an update has begun and not ended: after an exception, that weights are of no step."""
        self._forward_net: Callable[[Tensor], Tensor] = self.generator.net
        if settings.compile_mode:
            self._forward_net = torch.compile(self.generator.net, mode=settings.compile_mode)
        self._metrics = StepMetricsBuffer(
            list(losses), Adversary.METRICS if self.adversary else (), settings.window, precision
        )

    def optimize_parameters(self, batch: Batch, step: int, controls: Controls) -> None:
        """One update of the weights from the samples of `batch`, or none if a gradient is not fit for one.

        Generator and discriminator are updated together or not at all, by gradients of the weights before.

        Raises:
            BatchTooLarge: If memory did not suffice on any process. Nothing was changed.
        """
        self.precision.seed(
            ((self.settings.seed * 1_000_003 + step) * 4_099 + self._collectives.rank) % 2**63
        )

        # forward, losses, backward
        metrics = unless_out_of_memory(lambda: self._forward_backward(batch, step, controls))
        if self._collectives.any(metrics is None) or metrics is None:
            self.networks.discard_step()
            raise BatchTooLarge

        # gradients ready: those of all processes, with the buffers that the forward passes moved
        learners = self.networks.trained_at(step)
        shared = [tensor for net in learners.values() for tensor in net.shared()]
        self._collectives.average([*shared, *metrics.values()])

        # check: one gradient that is not finite, or too long, skips the update of every network
        limits = {name: controls.clip.get(name, NO_LIMIT) for name in learners}
        scales = {"g": controls.loss_scale, "d": 1.0}
        checks = {name: net.check_gradient(limits[name], scales[name]) for name, net in learners.items()}
        ok = all_ok(checks.values())
        applied = ok.to(checks["g"].norm.dtype)
        skip_generator = self.adversary is not None and not self.adversary.updates_generator(step)
        measured = step % UPDATE_RATIO_EVERY == UPDATE_RATIO_EVERY - 1

        # clip, update or skip, EMA
        def update(name: str) -> bool:
            net, norm = learners[name], checks[name].norm
            if name == "g" and skip_generator:
                net.skip_update(norm)
            elif name == "g" and measured:
                metrics["update_ratio"] = net.measured_step(norm, ok, limits[name], scales[name])
            else:
                net.step(norm, ok, limits[name], scales[name])
            if name == "g" and self.ema and not skip_generator:
                self.ema.update(step, applied)
            return True

        self.updating = True
        self._undo_if_out_of_memory(learners, update)
        self.updating = False

        # metrics row
        for name, check in checks.items():
            metrics[f"norm_{name}"], metrics[f"applied_{name}"] = check.norm, applied
        metrics["amp_scale"] = self.generator.amp_scale
        self._metrics.write(metrics)

    def loss_weights(self, step: int, controls: Controls) -> dict[str, float]:
        """The weights of the losses that are on at a step."""
        weights = {
            label: loss.weight_at(step) * controls.loss_factor.get(label, 1.0)
            for label, loss in self.losses.items()
        }
        return {label: weight for label, weight in weights.items() if weight}

    def _forward_backward(self, batch: Batch, step: int, controls: Controls) -> dict[str, Tensor]:
        """Forward, losses and backward in micro-batches, for the generator and then for the discriminator.

        Returns:
            Scalars: means over the samples of every loss, of the weighted total, and of what the discriminator
            measured; where due the gradient norms at the output, of the first micro-batch.
        """
        weights = self.loss_weights(step, controls)
        every = self.settings.measure_losses_every
        at_output_due = step % every == 0 if every else step == 0
        taught = any(self.losses[label].taught for label in weights)
        metrics, means, sums = dict[str, Tensor](), dict[str, Tensor](), None
        for lq, gt in self._micro_batches(batch, step, controls.micro_batch):
            share = len(lq) / len(batch.lq)
            lesson = self.teacher(lq) if self.teacher and taught else None  # first: activations fill memory
            inputs = self._forward(lq, gt, lesson)
            losses = {label: self.losses[label].module(inputs) for label in weights}
            if at_output_due and sums is None:
                metrics = self._gradients_at_output(losses, inputs.output)
            weighted = [loss * weights[label] for label, loss in losses.items()]
            total = torch.stack(weighted).sum() if len(weighted) > 1 else weighted[0]
            factor = share * controls.loss_scale
            self.generator.backward(total if factor == 1.0 else total * factor)
            if sums is None and share < 1 and self.settings.compile_mode in _CUDA_GRAPHS:
                self.generator.own_gradients()
            means = {**{loss_key(label): loss for label, loss in losses.items()}, "total": total}
            output = inputs.output.detach()
            del inputs  # its maps of losses and discriminator; the latter makes two more sets of them now
            if self.adversary and self.adversary.trains_at(step):
                means |= self.adversary.accumulate(gt, output, share=share, step=step)
            values = torch.stack([value.detach().to(output.dtype) for value in means.values()])
            values = values if share == 1.0 else values * share
            sums = values if sums is None else sums + values
        assert sums is not None, "a batch has samples"
        return {**metrics, **dict(zip(means, sums.unbind(), strict=True))}

    def _micro_batches(self, batch: Batch, step: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """LQ and GT on the device; samples that are mixed come from the whole batch."""
        images = self.precision.images
        if self._augment:
            lq, gt = self._augment(images(batch.lq), images(batch.gt), step)
            yield from zip(lq.split(size), gt.split(size), strict=True)
        else:
            for lq, gt in zip(batch.lq.split(size), batch.gt.split(size), strict=True):
                yield images(lq), images(gt)

    def _forward(self, lq: Tensor, gt: Tensor, lesson: Tensor | None) -> LossInputs:
        if self.settings.compile_mode and len(lq) > 1:  # one sample is always compiled for itself
            torch._dynamo.maybe_mark_dynamic(lq, 0)
        with self.precision.autocast():
            output = self._forward_net(lq)
        return LossInputs(
            output.to(self.precision.dtype),
            gt,
            lq,
            discriminator=self.adversary.discriminate if self.adversary else None,
            ema=(lambda: self.precision.infer(ema.net, lq)) if (ema := self.ema) else None,
            teacher_output=lesson,
        )

    def _gradients_at_output(self, losses: Mapping[str, Tensor], output: Tensor) -> dict[str, Tensor]:
        """L2 norms of each unweighted loss's gradient with respect to the output.

        Scaled as for training, since a discriminator in fp16 loses gradients that are not.
        """
        scale = self.generator.amp_scale
        norms: dict[str, Tensor] = {}
        for label, loss in losses.items():
            if loss.requires_grad:
                (gradient,) = torch.autograd.grad(loss * scale, output, retain_graph=True)
                norms[at_output_key(label)] = torch.linalg.vector_norm(gradient) / scale
        return norms

    def _undo_if_out_of_memory(self, learners: Mapping[str, Learner], update: Callable[[str], bool]) -> None:
        """Run `update` for each. The first of a learner makes optimizer state, for which memory may not suffice.

        Raises:
            BatchTooLarge: If it did not, on any process; what was updated is as before.
        """
        fresh = {name: learner for name, learner in learners.items() if not learner.has_stepped}
        average = self.ema.state_dict().values() if self.ema and "g" in fresh else ()
        live = [*(tensor for learner in fresh.values() for tensor in learner.changing()), *average]
        kept = list[Tensor]()

        def copy_and_update() -> bool:
            kept.extend([tensor.detach().clone() for tensor in live])
            return all(update(name) for name in fresh)

        if fresh and self._collectives.any(not unless_out_of_memory(copy_and_update)):
            with torch.no_grad():
                for tensor, old in zip(live if kept else (), kept, strict=True):
                    tensor.copy_(old)
            for learner in fresh.values():
                learner.reset_optimizer()
            self.updating = False
            self.networks.discard_step()
            raise BatchTooLarge
        for name in [n for n in learners if n not in fresh]:  # not before: another process may have failed
            update(name)

    def read_metrics(self) -> StepMetrics:
        """The steps since the last reading. The one host read of a window."""
        return self._metrics.read()

    def state_dict(self) -> dict[str, Any]:
        """Everything learned, the open window of metrics included."""
        return {**self.networks.state_dict(), "numbers": self._metrics.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; networks that are new to the run start afresh."""
        self.networks.load_state_dict(state)
        self._metrics.load_state_dict(state["numbers"])
