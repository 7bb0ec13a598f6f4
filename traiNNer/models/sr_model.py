"""Single-image super-resolution: what one optimizer step computes.

`optimize_parameters` reads the controls and changes none; numbers go into a buffer on the device, which the
trainer reads once per window of steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from traiNNer.archs import NetworkFacts
from traiNNer.control import Controls
from traiNNer.data.loader import Batch
from traiNNer.data.mixing import BatchAugmentation
from traiNNer.losses import LossInputs
from traiNNer.models.adversary import Adversary
from traiNNer.models.moving import move_together
from traiNNer.models.out_of_memory import unless_out_of_memory
from traiNNer.models.precision import Precision
from traiNNer.models.step_metrics import StepMetrics, StepMetricsBuffer
from traiNNer.optim.ema import Ema
from traiNNer.optim.learner import Learner, Update

UPDATE_RATIO_EVERY = 500  # steps between measurements of |dw| / |w|, which take a copy of the weights


class BatchTooLarge(Exception):
    """The step did not fit in memory. Nothing was changed; it may be repeated in smaller pieces."""


class WeightedLoss(NamedTuple):
    """A loss and its weight from the configuration."""

    module: nn.Module
    weight_at: Callable[[int], float]
    """The configured weight at a step; 0 where the loss is off, which is then not computed."""


class Collectives(Protocol):
    """The other processes of a distributed run, as far as a step needs them."""

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on at least one process."""
        ...

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in place."""
        ...


class SRModel:
    """A generator, its losses, its running average, its adversary, and the step that trains them.

    Args:
        generator: The network to train, with its optimizer.
        facts: Of that network.
        losses: By label; the labels are the names of the log.
        adversary: The discriminator in training, or None.
        ema: The running average that validates, or None.
        augment: Given the batch (LQ, GT) and the step, what to train on instead, or None.
        precision: Device and precision.
        seed: Of the run; every step draws from (seed, step, rank).
        window: Steps between two readings of the numbers.
        measure_losses_every: Steps between measurements of what each loss does at the network's output, which
            cost one backward pass through each loss; 0 measures the first step only.
        compile_mode: Of torch.compile, for training steps alone (validation has images of any size); None: eager.
    """

    def __init__(
        self,
        generator: Learner,
        facts: NetworkFacts,
        losses: Mapping[str, WeightedLoss],
        *,
        adversary: Adversary | None = None,
        ema: Ema | None,
        augment: BatchAugmentation | None = None,
        precision: Precision,
        collectives: Collectives,
        seed: int,
        rank: int = 0,
        window: int = 10,
        measure_losses_every: int = 0,
        compile_mode: str | None = None,
    ) -> None:
        self.generator, self.facts, self.ema, self.adversary = generator, facts, ema, adversary
        self._augment = augment
        self._compiled = None
        if compile_mode:
            self._compiled = torch.compile(generator.net, mode=compile_mode)
        self.losses = dict(losses)
        self.precision = precision
        self._collectives, self._seed, self._rank = collectives, seed, rank
        self._measure_losses_every = measure_losses_every
        critic = Adversary.NUMBERS if adversary else ()
        self._numbers = StepMetricsBuffer(list(losses), critic, window, precision.dtype, precision.device)
        self._unmeasured = torch.full(
            (len(losses),), math.nan, dtype=precision.dtype, device=precision.device
        )
        self._one = torch.ones((), dtype=precision.dtype, device=precision.device)
        self._snapshot: dict[str, Any] | None = None

    def optimize_parameters(self, batch: Batch, step: int, controls: Controls) -> None:
        """One update of the weights from the samples of `batch`, or none if a gradient is not fit for one.

        Generator and discriminator move together or not at all; both gradients are of the weights before.

        Raises:
            BatchTooLarge: If memory did not suffice on any process. Nothing was changed.
        """
        self.precision.seed(((self._seed * 1_000_003 + step) * 4_099 + self._rank) % 2**63)
        means = unless_out_of_memory(lambda: self._accumulate(batch, step, controls))
        if self._collectives.any(means is None) or means is None:
            self._discard()
            raise BatchTooLarge
        players = self._players(step)
        shared = [t for player in players.values() for t in (*player.gradients(), *player.floating_buffers())]
        self._collectives.average([*shared, means])
        updates = self._update(step, players, controls)
        scaler = self.generator.scaler
        row = [means, torch.stack([*updates["g"], scaler.scale if scaler else self._one])]
        if self.adversary:
            row.append(torch.stack(updates["d"][:2]) if "d" in updates else self._unmeasured[0].repeat(2))
        self._numbers.write(torch.cat(row))

    @property
    def learners(self) -> dict[str, Learner]:
        """Generator ("g") and discriminator ("d"), as far as there are any."""
        return {"g": self.generator, **({"d": self.adversary.learner} if self.adversary else {})}

    def _players(self, step: int) -> dict[str, Learner]:
        """The learners that have a gradient at a step."""
        return {
            name: learner
            for name, learner in self.learners.items()
            if name == "g" or (self.adversary and self.adversary.plays_at(step))
        }

    def _discard(self) -> None:
        for learner in self.learners.values():
            learner.discard()

    def loss_weights(self, step: int, controls: Controls) -> dict[str, float]:
        """The weights of the losses that are on at a step."""
        weights = {
            label: loss.weight_at(step) * controls.loss_factor.get(label, 1.0)
            for label, loss in self.losses.items()
        }
        return {label: weight for label, weight in weights.items() if weight}

    def _update(self, step: int, players: Mapping[str, Learner], controls: Controls) -> dict[str, Update]:
        """Move the weights and their average.

        The first update makes an optimizer's state, for which memory may not suffice: it is undone then.
        """
        fresh = [learner for learner in players.values() if not learner.has_stepped]
        if not fresh:
            return self._move(step, players, controls)
        live, kept = self._changing(fresh), list[Tensor]()

        def move() -> dict[str, Update]:
            kept.extend([tensor.detach().clone() for tensor in live])
            return self._move(step, players, controls)

        updates = unless_out_of_memory(move)
        if self._collectives.any(updates is None) or updates is None:
            with torch.no_grad():
                for tensor, old in zip(live if kept else (), kept, strict=True):
                    tensor.copy_(old)
            for learner in fresh:
                learner.reset_optimizer()
            self._discard()
            raise BatchTooLarge
        return updates

    def _move(self, step: int, players: Mapping[str, Learner], controls: Controls) -> dict[str, Update]:
        held = self.adversary is not None and not self.adversary.generator_moves(step)
        measured = step % UPDATE_RATIO_EVERY == UPDATE_RATIO_EVERY - 1
        updates = move_together(players, controls, held=held, measured=measured)
        if self.ema and not held:
            self.ema.update(step, updates["g"].applied)
        return updates

    def _changing(self, learners: Sequence[Learner]) -> list[Tensor]:
        """All that an update changes, the optimizers' state aside."""
        average = self.ema.state_dict().values() if self.ema and self.generator in learners else ()
        return [*(tensor for learner in learners for tensor in learner.changing()), *average]

    def _accumulate(self, batch: Batch, step: int, controls: Controls) -> Tensor:
        """Forward and backward in micro-batches.

        Means over the samples of every loss and of the total, then the gradient norms at the output (NaN where
        not measured; those of the first micro-batch otherwise), then the numbers of the adversary.
        """
        every = self._measure_losses_every
        weights = self.loss_weights(step, controls)
        measured = step % every == 0 if every else step == 0
        count = len(batch.lq)
        sums: list[Tensor] = []
        at_output = self._unmeasured
        for lq, gt in self._micro_batches(batch, step, min(controls.micro_batch, count)):
            inputs = self._forward(lq, gt)
            raw = {label: self.losses[label].module(inputs) for label in weights}
            if measured and not sums:
                at_output = self._gradients_at_output(raw, inputs.output)
            share = len(lq) / count
            values = [self._backward(raw, weights, share, controls.loss_scale)]
            output = inputs.output.detach()
            del inputs  # its maps of losses and discriminator; the latter makes two more sets of them now
            if self.adversary:
                values.append(self._backward_of_adversary(self.adversary, gt, output, share, step))
            sums = [a + b for a, b in zip(sums, values, strict=True)] if sums else values
        return torch.cat([sums[0], at_output, *sums[1:]])

    def _micro_batches(self, batch: Batch, step: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """LQ and GT on the device; samples that are mixed come from the whole batch."""
        images = self.precision.images
        if self._augment:
            lq, gt = self._augment(images(batch.lq), images(batch.gt), step)
            yield from zip(lq.split(size), gt.split(size), strict=True)
        else:
            for lq, gt in zip(batch.lq.split(size), batch.gt.split(size), strict=True):
                yield images(lq), images(gt)

    def _forward(self, lq: Tensor, gt: Tensor) -> LossInputs:
        if self._compiled is not None and len(lq) > 1:  # one sample is always compiled for itself
            torch._dynamo.maybe_mark_dynamic(lq, 0)
        with self.precision.autocast():
            output = (self.generator.net if self._compiled is None else self._compiled)(lq)
        return LossInputs(
            output.to(self.precision.dtype),
            gt,
            lq,
            discriminator=self.adversary.discriminate if self.adversary else None,
            average=(lambda: self._average(lq)) if self.ema else None,
        )

    @torch.no_grad()
    def _average(self, lq: Tensor) -> Tensor:
        assert self.ema
        with self.precision.autocast():
            return self.ema.net(lq).to(self.precision.dtype)

    def _backward_of_adversary(
        self, adversary: Adversary, gt: Tensor, output: Tensor, share: float, step: int
    ) -> Tensor:
        """Its numbers; NaN where it does not play."""
        if not adversary.plays_at(step):
            return self._unmeasured[0].repeat(len(Adversary.NUMBERS))
        return adversary.accumulate(gt, output, share=share, step=step)

    def _backward(
        self, raw: Mapping[str, Tensor], weights: Mapping[str, float], share: float, loss_scale: float
    ) -> Tensor:
        """Backward of the weighted sum; the losses (NaN for those that are off) and the sum, times `share`."""
        weighted = [value * weights[label] for label, value in raw.items()]
        total = torch.stack(weighted).sum() if len(weighted) > 1 else weighted[0]
        factor = share * loss_scale
        self.generator.backward(total if factor == 1.0 else total * factor)
        values = torch.stack(
            [*(raw.get(label, self._unmeasured[0]) for label in self.losses), total]
        ).detach()
        return values if share == 1.0 else values * share

    def _gradients_at_output(self, raw: Mapping[str, Tensor], output: Tensor) -> Tensor:
        """L2 norms: what each loss, unweighted, asks of the output.

        Scaled as for training, since a discriminator in fp16 loses gradients that are not.
        """
        scale = self.generator.scaler.scale if self.generator.scaler else self._one
        norms = [
            torch.linalg.vector_norm(torch.autograd.grad(raw[label] * scale, output, retain_graph=True)[0])
            if label in raw and raw[label].requires_grad
            else self._unmeasured[0]
            for label in self.losses
        ]
        return torch.stack(norms) / scale

    def read_metrics(self) -> StepMetrics:
        """The steps since the last reading. The one host read of a window."""
        return self._numbers.read()

    def set_learning_rates(self, time: float, factor: float) -> None:
        """Write the learning rates of a moment, see `Learner.set_learning_rate`."""
        for learner in self.learners.values():
            learner.set_learning_rate(time, factor)

    @property
    def learning_rates(self) -> dict[str, float]:
        """The rates last written, per network."""
        return {name: learner.learning_rate for name, learner in self.learners.items()}

    @property
    def eval_net(self) -> nn.Module:
        """The network that validation measures and users want: the EMA network where there is one."""
        return self.ema.net if self.ema else self.generator.net

    def take_snapshot(self) -> None:
        """Remember the weights and their average in memory, to return to."""
        self._snapshot = {
            "net": _copy(self.generator.net.state_dict()),
            "ema": _copy(self.ema.state_dict()) if self.ema else None,
            "discriminator": _copy(self.adversary.learner.net.state_dict()) if self.adversary else None,
        }

    @property
    def has_snapshot(self) -> bool:
        """Whether there is anything to return to."""
        return self._snapshot is not None

    def roll_back(self) -> None:
        """Return to the last snapshot; the optimizers forget what they learned since."""
        assert self._snapshot is not None, "no snapshot was taken"
        self.generator.load_weights(self._snapshot["net"])
        if self.ema:
            self.ema.load_state_dict(self._snapshot["ema"])
        if self.adversary:
            self.adversary.learner.load_weights(self._snapshot["discriminator"])
        for learner in self.learners.values():
            learner.reset_optimizer()

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take weights as they are, for the network and its average."""
        self.generator.load_weights(weights)
        if self.ema:
            self.ema.load_state_dict(dict(weights))

    def state_dict(self) -> dict[str, Any]:
        """Everything learned, the open window of numbers included."""
        return {
            "generator": self.generator.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "discriminator": self.adversary.learner.state_dict() if self.adversary else None,
            "numbers": self._numbers.state_dict(),
            "snapshot": self._snapshot,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave.

        An average that is new to the run begins at the weights, a discriminator that is new begins afresh.
        """
        self.generator.load_state_dict(state["generator"])
        if self.ema:
            self.ema.load_state_dict(state["ema"] or state["generator"]["net"])
        if self.adversary and state.get("discriminator"):
            self.adversary.learner.load_state_dict(state["discriminator"])
        self._numbers.load_state_dict(state["numbers"])
        if state["snapshot"] is not None:
            self.take_snapshot()
            assert self._snapshot is not None
            for name, kept in self._snapshot.items():
                for key, tensor in ((kept and state["snapshot"].get(name)) or {}).items():
                    kept[key].copy_(tensor)


def _copy(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in weights.items()}
