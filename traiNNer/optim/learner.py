"""A network together with everything needed to update it.

A step is a transaction: until the gradient is known nothing changes, and one that is not finite, or too long,
changes nothing. That is decided on the device; no number of a step is read by the host here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from traiNNer.control import Clip
from traiNNer.optim.buffers import Buffers
from traiNNer.optim.external_optimizers import forget_group_state, group_state, with_group_state
from traiNNer.optim.loss_scaler import LossScaler
from traiNNer.optim.moments import misfit
from traiNNer.optim.optimizers import counts_on_host, has_device_skip

_log = logging.getLogger(__name__)

NO_LIMIT = Clip(threshold=float("inf"), target=float("inf"))


class GradientCheck(NamedTuple):
    """Whether a gradient may be applied, as scalars on the device."""

    norm: Tensor
    """Its L2 norm, without any loss scale."""
    ok: Tensor
    """False where it is not finite or too long."""


def all_ok(checks: Iterable[GradientCheck]) -> Tensor:
    """Whether every gradient may be applied, as a scalar on the device."""
    first, *others = (check.ok for check in checks)
    return torch.stack([first, *others]).all() if others else first


class Learner:
    """One network, its optimizer, its learning rate as a function of time, its loss scale.

    Args:
        net: The network; its parameters with `requires_grad` are what `optimizer` holds.
        optimizer: Its groups' learning rates are the peaks that `schedule` multiplies.
        schedule: Factor on the peak rates at a time, in steps of the configured batch (warm-up included).
        fp16: Scale losses so that small gradients survive half precision.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: Callable[[float], float],
        *,
        fp16: bool = False,
    ) -> None:
        self.net, self.optimizer = net, optimizer
        self._schedule = schedule
        self._peaks: list[float] = [group["lr"] for group in optimizer.param_groups]
        self.parameters: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
        """Those that are trained."""
        device, dtype = self.parameters[0].device, self.parameters[0].dtype
        self.scaler = LossScaler(device) if fp16 else None
        self._one = torch.ones((), device=device, dtype=dtype)
        self._fused = has_device_skip(optimizer)
        self.has_stepped = False
        """Whether an update has made the optimizer's state."""
        self._buffers = Buffers(net)

    @property
    def learning_rate(self) -> float:
        """The rate of the first group, as last set."""
        return self.optimizer.param_groups[0]["lr"]

    @property
    def amp_scale(self) -> Tensor:
        """The scale of fp16, a scalar on the device; 1 in other precisions."""
        return self.scaler.scale if self.scaler else self._one

    def set_learning_rate(self, time: float, factor: float) -> None:
        """Write the rate of a moment into the optimizer; nothing is accumulated, so nothing can drift."""
        scheduled = self._schedule(time) * factor
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * scheduled

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of `loss` to that of earlier micro-batches."""
        (loss if self.scaler is None else loss * self.scaler.scale).backward()

    def own_gradients(self) -> None:
        """Copy the gradients that a CUDA graph has made: its next run writes over them (torch's issue 169545)."""
        for parameter in self.parameters:
            parameter.grad = None if parameter.grad is None else parameter.grad.clone()

    def gradients(self) -> list[Tensor]:
        """The gradients that exist, in the order of the parameters."""
        return [p.grad for p in self.parameters if p.grad is not None]

    def shared(self) -> list[Tensor]:
        """What the processes of a run average: gradients, and buffers that this step has moved (running means)."""
        return [*self.gradients(), *(b for b in self._buffers.moved() if b.is_floating_point())]

    def changing(self) -> list[Tensor]:
        """All that a step changes, the optimizer's state aside; of buffers what `discard` puts back."""
        scaler = self.scaler.state_dict().values() if self.scaler else ()
        return [*self.parameters, *self._buffers.kept, *scaler]

    @torch.no_grad()
    def check_gradient(self, clip: Clip, loss_scale: float = 1.0) -> GradientCheck:
        """Measure the gradient; changes nothing.

        Args:
            clip: The limits on the gradient's norm.
            loss_scale: What the loss was multiplied by, the scale of fp16 aside.
        """
        scale = self._scale(loss_scale)
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(self.gradients())))
        if isinstance(scale, Tensor) or scale != 1.0:
            norm = norm / scale
        largest = min(clip.skip_above, torch.finfo(norm.dtype).max)
        return GradientCheck(norm, norm <= largest)  # False for NaN and infinity

    @torch.no_grad()
    def step(self, norm: Tensor, ok: Tensor, clip: Clip, loss_scale: float = 1.0) -> None:
        """Clip, update the weights or skip the step, discard the gradient.

        Args:
            norm: Of the gradient, as `check_gradient` measured it.
            ok: A scalar on the device: False skips the step.
            clip: The limits on the norm.
            loss_scale: As of `check_gradient`; undone before clipping.
        """
        scale = self._scale(loss_scale)
        shrink = torch.where(norm <= clip.threshold, 1.0, clip.target / norm) if clip != NO_LIMIT else 1.0
        divisor = scale / shrink
        if self._fused:
            self._fused_step(ok, divisor, norm)
            self.has_stepped = True
        else:
            self._guarded_step(ok, divisor, self.gradients())
        self._buffers.commit_or_restore(ok)
        if self.scaler:
            self.scaler.update(torch.isfinite(norm))
        self.discard_gradient()

    @torch.no_grad()
    def measured_step(self, norm: Tensor, ok: Tensor, clip: Clip, loss_scale: float = 1.0) -> Tensor:
        """The same; returns |dw| / |w| over all weights, NaN of a step that is skipped; takes a copy of them."""
        before = [p.detach().clone() for p in self.parameters]
        self.step(norm, ok, clip, loss_scale)
        length = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(before)))
        torch._foreach_sub_(before, self.parameters)  # in place: the update cannot be undone any more
        return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(before))) / (length * ok)

    def skip_update(self, norm: Tensor) -> None:
        """Discard the gradient in a step of the other network; buffers stay as they were."""
        if self.scaler:
            self.scaler.update(torch.isfinite(norm))
        self.discard()

    def _scale(self, loss_scale: float) -> Tensor | float:
        """What the loss was multiplied by in all."""
        return loss_scale * self.scaler.scale if self.scaler else loss_scale

    def discard(self) -> None:
        """Give up a step that could not be finished: no gradient, and buffers as before it."""
        self.discard_gradient()
        self._buffers.restore()

    def discard_gradient(self) -> None:
        """Free the gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def load_weights(self, weights: Mapping[str, Any]) -> None:
        """Load weights and buffers as they are; a step that is given up later restores these buffers."""
        self.net.load_state_dict(weights)
        self._buffers = Buffers(self.net)

    def reset_optimizer(self) -> None:
        """Reset the optimizer's state, which belongs to other weights after these were loaded."""
        self.optimizer.state.clear()
        forget_group_state(self.optimizer)
        self.has_stepped = False

    def state_dict(self) -> dict[str, Any]:
        """Weights, moments and loss scale. The optimizer's settings are not state: the YAML gives them."""
        return {
            "net": self.net.state_dict(),
            "optimizer": type(self.optimizer).__name__,
            "moments": self.optimizer.state_dict()["state"],
            "groups": group_state(self.optimizer),
            "scaler": self.scaler.state_dict() if self.scaler else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; names and shapes must agree."""
        self.load_weights(state["net"])
        if reason := misfit(self.optimizer, state["optimizer"], state["moments"]):
            _log.warning("%s", reason)
        else:
            groups = with_group_state(self.optimizer, state.get("groups"))
            self.optimizer.load_state_dict({"state": state["moments"], "param_groups": groups})
            self.has_stepped = bool(state["moments"])
        if self.scaler and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])

    def _fused_step(self, ok: Tensor, divisor: Tensor | float, norm: Tensor) -> None:
        """The fused kernels divide the gradient and skip the step themselves."""
        optimizer: Any = self.optimizer  # these attributes are how torch's GradScaler speaks to fused kernels
        if isinstance(divisor, Tensor):
            optimizer.grad_scale = divisor.to(torch.float32)
        else:
            optimizer.grad_scale = None if divisor == 1.0 else norm.new_full((), divisor, dtype=torch.float32)
        optimizer.found_inf = (~ok).to(torch.float32)
        self.optimizer.step()

    def _guarded_step(self, ok: Tensor, divisor: Tensor | float, gradients: list[Tensor]) -> None:
        """For other optimizers: keep what was, step, and put it back where the step is to be skipped."""
        torch._foreach_div_(gradients, divisor)
        if not self.has_stepped or counts_on_host(self.optimizer):
            # the only host reads: there is no state yet to put back, or some that the device cannot put back
            if ok:
                self.optimizer.step()
                self.has_stepped = True
            return
        tensors = [*self.parameters, *self._moments()]
        before = [tensor.clone() for tensor in tensors]
        self.optimizer.step()
        for tensor, old in zip(tensors, before, strict=True):
            torch.where(ok, tensor, old, out=tensor)

    def _moments(self) -> list[Tensor]:
        states = [self.optimizer.state[p] for p in self.parameters if p in self.optimizer.state]
        return [value for state in states for value in state.values() if isinstance(value, Tensor)]
