"""What the tests of a card share: models and batches on a device, comparison with the CPU, a limit on memory."""

from __future__ import annotations

import gc
from contextlib import contextmanager

import torch
from archs.small_networks import build
from tiny import FACTS
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

from traiNNer.control import Controls
from traiNNer.data.loader import Batch
from traiNNer.inference.tile_size import _LiveBytes
from traiNNer.losses import LOSSES
from traiNNer.models.networks import Networks
from traiNNer.models.precision import Precision
from traiNNer.models.sr_model import SRModel, StepSettings, WeightedLoss
from traiNNer.optim.ema import Ema
from traiNNer.optim.learner import Learner
from traiNNer.optim.optimizers import build_optimizer
from traiNNer.runtime.distributed import DistributedContext

CONTROLS = Controls(batch=8, micro_batch=8, lq_size=16)


def pixels(n=8, side=16, scale=2, dtype=torch.uint8, seed=5) -> Batch:
    """A batch of noise, drawn on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    most = 65536 if dtype == torch.uint16 else 256
    lq, gt = (torch.randint(most, (n, s, s, 3), generator=generator).to(dtype) for s in (side, side * scale))
    return Batch(lq, gt)


def plain_losses() -> dict[str, WeightedLoss]:
    return {
        "l1": WeightedLoss(LOSSES.build({"type": "L1Loss"}), lambda step: 1.0),
        "mssim": WeightedLoss(LOSSES.build({"type": "MSSIMLoss"}), lambda step: 0.1),
    }


def model_on(
    device,
    net=None,
    *,
    optimizer=None,
    precision=None,
    losses=None,
    adversary=None,
    collectives=None,
    fp16=False,
    compile_mode=None,
    lr=1e-3,
) -> SRModel:
    """A model with its EMA, over a small network by default; `optimizer` is a spec."""
    net = (net or build("compact")).to(device).train()
    precision = precision or Precision(device)
    if precision.channels_last:
        net = net.to(memory_format=torch.channels_last)
    learned = [p for p in net.parameters() if p.requires_grad]
    learner = Learner(
        net, build_optimizer({"lr": lr, **(optimizer or {})}, learned), lambda time: 1.0, fp16=fp16
    )
    losses = losses or plain_losses()
    for loss in losses.values():
        loss.module.to(device)
    return SRModel(
        Networks(learner, getattr(net, "facts", FACTS), ema=Ema(net, 0.9), adversary=adversary),
        losses,
        settings=StepSettings(7, compile_mode=compile_mode),
        precision=precision,
        collectives=collectives or DistributedContext(),
    )


def weights_of(model) -> torch.Tensor:
    """All weights in one vector on the CPU, in float64."""
    return torch.cat([p.detach().double().cpu().flatten() for p in model.generator.net.parameters()])


def assert_near(ours, theirs, tolerance, *, floor=1.0):
    """Equal up to `tolerance` of the largest value (at least `floor`), wherever the tensors are."""
    ours, theirs = ours.detach().double().cpu(), theirs.detach().double().cpu()
    assert ours.shape == theirs.shape
    assert ours.isfinite().all()
    error, size = (ours - theirs).abs().max().item(), max(floor, theirs.abs().max().item())
    assert error <= tolerance * size, f"differs by {error:.3g} where the largest value is {size:.3g}"


def difference(ours, theirs) -> float:
    """Root mean square of the difference over that of the second, or over 0.2 where that is less."""
    ours, theirs = ours.detach().double().cpu(), theirs.detach().double().cpu()
    return ((ours - theirs).square().mean() / theirs.square().mean().clamp(min=0.04)).sqrt().item()


def _tensors(tree):
    return [value for value in tree_leaves(tree) if isinstance(value, torch.Tensor)]


class _Limited(_LiveBytes):
    """Stands for the allocator of a card with a limit: refuses what makes the living tensors too many."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {StorageWeakRef(value.untyped_storage()).cdata for value in _tensors((args, kwargs))}
        known = set(self._alive) | given
        result = super().__torch_dispatch__(func, types, args, kwargs)
        alive = sum(size for _, size in self._alive.values())
        if alive > self.limit and set(self._alive) - known:
            raise torch.OutOfMemoryError("pretend: CUDA out of memory")
        return result


@contextmanager
def limited_memory(device, mib):
    """No more than so many mebibytes beyond what tensors take now.

    Segments of the allocator in which a tensor lies stay reserved, and their rest can be used: it counts too.
    """
    gc.collect()
    if device.type != "cuda":
        with _Limited(mib * 2**20):
            yield
        return
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(
        (torch.cuda.memory_allocated(device) + mib * 2**20) / total, device
    )
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        gc.collect()
        torch.cuda.empty_cache()
