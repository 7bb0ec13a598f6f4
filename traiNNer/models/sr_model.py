"""Single-image super-resolution: what one optimizer step computes.

`optimize_parameters` reads the controls and changes none; numbers go into a buffer on the device, which the
trainer reads once per window of steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from traiNNer.archs import NetworkFacts
from traiNNer.control import Controls
from traiNNer.data.loader import Batch
from traiNNer.losses import LossInputs
from traiNNer.models.inference import enhance
from traiNNer.optim.ema import Ema
from traiNNer.optim.learner import NO_LIMIT, Learner


class BatchTooLarge(Exception):
    """The step did not fit in memory. Nothing was changed; it may be repeated in smaller pieces."""


class WeightedLoss(NamedTuple):
    """A loss and its weight from the configuration."""

    module: nn.Module
    weight: float


class Peers(Protocol):
    """The other processes of a distributed run, as far as a step needs them."""

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on at least one process."""
        ...

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in place."""
        ...


class Numbers(NamedTuple):
    """What a window of steps measured, on the host. Every list is in the order of the steps."""

    losses: dict[str, list[float]]
    total: list[float]
    grad_norm: dict[str, list[float]]
    applied: dict[str, list[bool]]


@dataclass(frozen=True)
class Arithmetic:
    """In which numbers a step is computed."""

    device: torch.device
    autocast: torch.dtype | None = None
    """bfloat16 or float16 inside the network; None computes in `dtype` throughout."""
    dtype: torch.dtype = torch.float32
    """Of weights, images and losses."""
    channels_last: bool = False

    @property
    def precision(self) -> Literal["fp32", "bf16", "fp16"]:
        """The short name of the precision inside the network."""
        if self.autocast is None:
            return "fp32"
        return "bf16" if self.autocast == torch.bfloat16 else "fp16"

    def casting(self) -> AbstractContextManager[object]:
        """The context in which a network runs while training."""
        return torch.autocast(self.device.type, self.autocast) if self.autocast else nullcontext()

    def images(self, pixels: Tensor) -> Tensor:
        """(n, h, w, 3) integers to (n, 3, h, w), 0 to 1, on the device."""
        white = 65535.0 if pixels.dtype == torch.uint16 else 255.0
        order = torch.channels_last if self.channels_last else torch.contiguous_format
        planes = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        return planes.to(self.dtype, memory_format=order).div_(white)


class SRModel:
    """A generator, its losses, its running average, and the step that trains it.

    Args:
        generator: The network to train, with its optimizer.
        facts: Of that network.
        losses: By label; the labels are the names of the log.
        ema: The running average that validates, or None.
        arithmetic: Device and precision.
        seed: Of the run; every step draws from (seed, step, rank).
        window: Steps between two readings of the numbers.
    """

    def __init__(
        self,
        generator: Learner,
        facts: NetworkFacts,
        losses: Mapping[str, WeightedLoss],
        *,
        ema: Ema | None,
        arithmetic: Arithmetic,
        peers: Peers,
        seed: int,
        rank: int = 0,
        window: int = 10,
    ) -> None:
        self.generator, self.facts, self.ema = generator, facts, ema
        self.losses = dict(losses)
        self.arithmetic = arithmetic
        self._peers, self._seed, self._rank = peers, seed, rank
        self._numbers = _NumberBuffer([*losses, "total", "norm_g", "applied_g"], window, arithmetic)

    def optimize_parameters(self, batch: Batch, step: int, controls: Controls) -> None:
        """One update of the weights from the samples of `batch`, or none if the gradient is not fit for one.

        Raises:
            BatchTooLarge: If memory did not suffice on any process. Nothing was changed.
        """
        torch.manual_seed(((self._seed * 1_000_003 + step) * 4_099 + self._rank) % 2**63)
        means = self._try_to_accumulate(batch, controls)
        if self._peers.any(means is None) or means is None:
            self.generator.discard()
            raise BatchTooLarge
        gradients = self.generator.gradients()
        self._peers.average([*gradients, *self.generator.floating_buffers(), means])
        update = self.generator.step(controls.clip.get("g", NO_LIMIT), controls.loss_scale)
        if self.ema:
            self.ema.update(self.generator.net, step, update.applied)
        self._numbers.write(torch.cat([means, torch.stack([update.norm, update.applied])]))

    def _try_to_accumulate(self, batch: Batch, controls: Controls) -> Tensor | None:
        """None when memory does not suffice; by then the exception and all it held are gone."""
        try:
            return self._accumulate(batch, controls)
        except torch.OutOfMemoryError:
            return None
        except RuntimeError as error:
            if "can't allocate memory" not in str(error):  # the words of torch's allocator on the CPU
                raise
            return None

    def _accumulate(self, batch: Batch, controls: Controls) -> Tensor:
        """Forward and backward in micro-batches; the means over the samples of every loss, then the total."""
        count = len(batch.lq)
        size = min(controls.micro_batch, count)
        means: Tensor | None = None
        for lq, gt in zip(batch.lq.split(size), batch.gt.split(size), strict=True):
            values = self._forward_backward(lq, gt, len(lq) / count, controls)
            means = values if means is None else means + values
        assert means is not None
        return means

    def _forward_backward(self, lq: Tensor, gt: Tensor, share: float, controls: Controls) -> Tensor:
        lq, gt = self.arithmetic.images(lq), self.arithmetic.images(gt)
        with self.arithmetic.casting():
            output = self.generator.net(lq)
        inputs = LossInputs(output.to(self.arithmetic.dtype), gt, lq)
        raw = {label: loss.module(inputs) for label, loss in self.losses.items()}
        weighted = [
            raw[label] * (loss.weight * controls.loss_factor.get(label, 1.0))
            for label, loss in self.losses.items()
        ]
        total = torch.stack(weighted).sum() if len(weighted) > 1 else weighted[0]
        factor = share * controls.loss_scale
        self.generator.backward(total if factor == 1.0 else total * factor)
        values = torch.stack([*raw.values(), total]).detach()
        return values if share == 1.0 else values * share

    def read_numbers(self) -> Numbers:
        """The steps since the last reading. The one host read of a window."""
        columns = self._numbers.read()
        return Numbers(
            losses={label: columns[label] for label in self.losses},
            total=columns["total"],
            grad_norm={"g": columns["norm_g"]},
            applied={"g": [value > 0 for value in columns["applied_g"]]},
        )

    def set_learning_rates(self, time: float, factor: float) -> None:
        """Write the learning rates of a moment, see `Learner.set_learning_rate`."""
        self.generator.set_learning_rate(time, factor)

    @property
    def learning_rates(self) -> dict[str, float]:
        """The rates last written, per network."""
        return {"g": self.generator.learning_rate}

    @property
    def released(self) -> nn.Module:
        """The network that validation measures and users want: the running average where there is one."""
        return self.ema.net if self.ema else self.generator.net

    @torch.inference_mode()
    def enhance(self, lq: Tensor, *, tile: int = 0, overlap: int = 32) -> Tensor:
        """The output for images of any size, in full precision; (n, 3, h, w) to (n, 3, h * s, w * s), 0..1."""
        net = self.released
        training = net.training
        net.eval()
        try:
            return enhance(net, self.facts, lq, tile=tile, overlap=overlap)
        finally:
            net.train(training)

    def state_dict(self) -> dict[str, Any]:
        """Everything learned, the open window of numbers included."""
        return {
            "generator": self.generator.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "numbers": self._numbers.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave. An average that the configuration added since begins at the weights."""
        self.generator.load_state_dict(state["generator"])
        if self.ema:
            self.ema.load_state_dict(state["ema"] or state["generator"]["net"])
        self._numbers.load_state_dict(state["numbers"])


class _NumberBuffer:
    """A table on the device, one row a step, that comes to the host in one copy."""

    def __init__(self, columns: Sequence[str], window: int, arithmetic: Arithmetic) -> None:
        self._columns = list(columns)
        self._table = torch.zeros(window, len(columns), dtype=arithmetic.dtype, device=arithmetic.device)
        self._rows = 0

    def write(self, row: Tensor) -> None:
        self._table[self._rows].copy_(row)
        self._rows += 1

    def read(self) -> dict[str, list[float]]:
        rows = self._table[: self._rows].tolist()  # the host read
        self._rows = 0
        return {name: [row[i] for row in rows] for i, name in enumerate(self._columns)}

    def state_dict(self) -> dict[str, Any]:
        return {"columns": self._columns, "rows": self._table[: self._rows].clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["columns"] == self._columns:  # other losses than before: the open window begins afresh
            self._rows = len(state["rows"])
            self._table[: self._rows].copy_(state["rows"])
