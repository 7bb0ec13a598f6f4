"""Single-image super-resolution: what one optimizer step computes.

`optimize_parameters` reads the controls and changes none; numbers go into a buffer on the device, which the
trainer reads once per window of steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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

UPDATE_RATIO_EVERY = 500  # steps between measurements of |dw| / |w|, which take a copy of the weights


_OUT_OF_MEMORY = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""How torch's allocator on the CPU, and CUDA's libraries, say that memory does not suffice."""


class BatchTooLarge(Exception):
    """The step did not fit in memory. Nothing was changed; it may be repeated in smaller pieces."""


class WeightedLoss(NamedTuple):
    """A loss and its weight from the configuration."""

    module: nn.Module
    weight_at: Callable[[int], float]
    """The configured weight at a step; 0 where the loss is off, which is then not computed."""


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
    gradient_at_output: dict[str, float]
    """Norm of each unweighted loss's gradient at the network's output, where the window measured it."""
    update_ratio: float | None
    """|dw| / |w| of the generator, where the window measured it."""
    amp_scale: float
    """Of fp16; 1 in other precisions."""


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
        ema: Ema | None,
        arithmetic: Arithmetic,
        peers: Peers,
        seed: int,
        rank: int = 0,
        window: int = 10,
        measure_losses_every: int = 0,
        compile_mode: str | None = None,
    ) -> None:
        self.generator, self.facts, self.ema = generator, facts, ema
        self._compiled = None
        if compile_mode:
            self._compiled = torch.compile(generator.net, mode=compile_mode, dynamic=False)
        self.losses = dict(losses)
        self.arithmetic = arithmetic
        self._peers, self._seed, self._rank = peers, seed, rank
        self._measure_losses_every = measure_losses_every
        self._numbers = _NumberBuffer(
            [
                *losses,
                "total",
                *(f"at_output {label}" for label in losses),
                "norm_g",
                "applied_g",
                "update_ratio",
                "amp_scale",
            ],
            window,
            arithmetic,
        )
        self._unmeasured = torch.full(
            (len(losses),), math.nan, dtype=arithmetic.dtype, device=arithmetic.device
        )
        self._one = torch.ones((), dtype=arithmetic.dtype, device=arithmetic.device)
        self._snapshot: dict[str, Any] | None = None

    def optimize_parameters(self, batch: Batch, step: int, controls: Controls) -> None:
        """One update of the weights from the samples of `batch`, or none if the gradient is not fit for one.

        Raises:
            BatchTooLarge: If memory did not suffice on any process. Nothing was changed.
        """
        torch.manual_seed(((self._seed * 1_000_003 + step) * 4_099 + self._rank) % 2**63)
        every = self._measure_losses_every
        weights = self.loss_weights(step, controls)
        measured = step % every == 0 if every else step == 0
        means = self._try_to_accumulate(batch, weights, controls, measured=measured)
        if self._peers.any(means is None) or means is None:
            self.generator.discard()
            raise BatchTooLarge
        gradients = self.generator.gradients()
        self._peers.average([*gradients, *self.generator.floating_buffers(), means])
        update = self.generator.step(
            controls.clip.get("g", NO_LIMIT),
            controls.loss_scale,
            measured=step % UPDATE_RATIO_EVERY == UPDATE_RATIO_EVERY - 1,
        )
        if self.ema:
            self.ema.update(self.generator.net, step, update.applied)
        scaler = self.generator.scaler
        self._numbers.write(torch.cat([means, torch.stack([*update, scaler.scale if scaler else self._one])]))

    def loss_weights(self, step: int, controls: Controls) -> dict[str, float]:
        """The weights of the losses that are on at a step."""
        weights = {
            label: loss.weight_at(step) * controls.loss_factor.get(label, 1.0)
            for label, loss in self.losses.items()
        }
        return {label: weight for label, weight in weights.items() if weight}

    def _try_to_accumulate(
        self, batch: Batch, weights: Mapping[str, float], controls: Controls, *, measured: bool
    ) -> Tensor | None:
        """None when memory does not suffice; by then the exception and all it held are gone."""
        try:
            return self._accumulate(batch, weights, controls, measured)
        except torch.OutOfMemoryError:
            return None
        except RuntimeError as error:
            if not any(words in str(error) for words in _OUT_OF_MEMORY):
                raise
            return None

    def _accumulate(
        self, batch: Batch, weights: Mapping[str, float], controls: Controls, measured: bool
    ) -> Tensor:
        """Forward and backward in micro-batches.

        Means over the samples of every loss and of the total, then the gradient norms at the output (NaN where
        not measured; those of the first micro-batch otherwise).
        """
        count = len(batch.lq)
        size = min(controls.micro_batch, count)
        means: Tensor | None = None
        at_output = self._unmeasured
        for lq, gt in zip(batch.lq.split(size), batch.gt.split(size), strict=True):
            inputs = self._forward(lq, gt)
            raw = {label: self.losses[label].module(inputs) for label in weights}
            if measured and means is None:
                at_output = self._gradients_at_output(raw, inputs.output)
            values = self._backward(raw, weights, len(lq) / count, controls.loss_scale)
            means = values if means is None else means + values
        assert means is not None
        return torch.cat([means, at_output])

    def _forward(self, lq: Tensor, gt: Tensor) -> LossInputs:
        lq, gt = self.arithmetic.images(lq), self.arithmetic.images(gt)
        with self.arithmetic.casting():
            output = (self._compiled or self.generator.net)(lq)
        return LossInputs(output.to(self.arithmetic.dtype), gt, lq)

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
        """L2 norms: what each loss, unweighted, asks of the output."""
        norms = [
            torch.linalg.vector_norm(torch.autograd.grad(raw[label], output, retain_graph=True)[0])
            if label in raw and raw[label].requires_grad
            else self._unmeasured[0]
            for label in self.losses
        ]
        return torch.stack(norms)

    def read_numbers(self) -> Numbers:
        """The steps since the last reading. The one host read of a window."""
        columns = self._numbers.read()
        at_output = {label: _last(columns[f"at_output {label}"]) for label in self.losses}
        return Numbers(
            losses={
                label: columns[label]
                for label in self.losses
                if not _is_off(columns[label], columns["total"])
            },
            total=columns["total"],
            grad_norm={"g": columns["norm_g"]},
            applied={"g": [value > 0 for value in columns["applied_g"]]},
            gradient_at_output={label: value for label, value in at_output.items() if value is not None},
            update_ratio=_last(columns["update_ratio"]),
            amp_scale=_last(columns["amp_scale"]) or 1.0,
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
        """The output for images of any size; (n, 3, h, w) to (n, 3, h * scale, w * scale), 0 to 1.

        In full precision: rounding to bfloat16 costs tenths of a decibel at high quality.
        """
        net = self.released
        training = net.training
        net.eval()
        try:
            return enhance(net, self.facts, lq, tile=tile, overlap=overlap)
        finally:
            net.train(training)

    def take_snapshot(self) -> None:
        """Remember the weights and their average in memory, to return to."""
        self._snapshot = {
            "net": _copy(self.generator.net.state_dict()),
            "ema": _copy(self.ema.state_dict()) if self.ema else None,
        }

    @property
    def has_snapshot(self) -> bool:
        """Whether there is anything to return to."""
        return self._snapshot is not None

    def roll_back(self) -> None:
        """Return to the last snapshot; the optimizer forgets what it learned since."""
        assert self._snapshot is not None, "no snapshot was taken"
        self.generator.net.load_state_dict(self._snapshot["net"])
        if self.ema:
            self.ema.load_state_dict(self._snapshot["ema"])
        self.generator.forget_moments()

    def adopt(self, weights: Mapping[str, Tensor]) -> None:
        """Take weights as they are, for the network and its average."""
        self.generator.net.load_state_dict(weights)
        if self.ema:
            self.ema.load_state_dict(dict(weights))

    def state_dict(self) -> dict[str, Any]:
        """Everything learned, the open window of numbers included."""
        return {
            "generator": self.generator.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "numbers": self._numbers.state_dict(),
            "snapshot": self._snapshot,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; an average that is new to the run begins at the weights."""
        self.generator.load_state_dict(state["generator"])
        if self.ema:
            self.ema.load_state_dict(state["ema"] or state["generator"]["net"])
        self._numbers.load_state_dict(state["numbers"])
        if state["snapshot"] is not None:
            self.take_snapshot()
            assert self._snapshot is not None
            for name, kept in self._snapshot.items():
                for key, tensor in ((kept and state["snapshot"][name]) or {}).items():
                    kept[key].copy_(tensor)


def _copy(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


def _is_off(values: Sequence[float], totals: Sequence[float]) -> bool:
    """Losses that are off are NaN while the total is a number; one that fails makes the total NaN too."""
    return all(math.isnan(value) and not math.isnan(t) for value, t in zip(values, totals, strict=True))


def _last(values: Sequence[float]) -> float | None:
    """The last measurement of a window, if there was one."""
    return next((value for value in reversed(values) if not math.isnan(value)), None)


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
