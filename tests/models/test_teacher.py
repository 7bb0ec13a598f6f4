"""A step with a teacher: what losses compare with, how often it is asked, and what happens without memory."""

from __future__ import annotations

import pytest
import torch
from tiny import CPU, FACTS, assert_same
from torch import nn

from traiNNer.control import Controls
from traiNNer.data.loader import Batch
from traiNNer.losses import LOSSES
from traiNNer.losses.targets import TeacherTarget
from traiNNer.models.networks import Networks
from traiNNer.models.precision import Precision
from traiNNer.models.sr_model import BatchTooLarge, SRModel, StepSettings, WeightedLoss
from traiNNer.models.teacher import Teacher
from traiNNer.optim.learner import Learner
from traiNNer.runtime.distributed import DistributedContext

LQ = torch.randint(256, (4, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
GT = torch.randint(256, (4, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


def small_network() -> nn.Sequential:
    """One convolution, x2; draws nothing."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2)).double()


class Counting(nn.Module):
    """A network of the teacher that counts its calls, and can be out of memory."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.calls, self.fails = small_network(), 0, False
        with torch.no_grad():
            next(self.net.parameters()).neg_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.fails:
            raise torch.OutOfMemoryError("pretend")
        return self.net(x)


def taught(kind: str, weight: float = 1.0) -> WeightedLoss:
    return WeightedLoss(TeacherTarget(LOSSES.build({"type": kind})), lambda step: weight, taught=True)


def model(losses: dict[str, WeightedLoss], teacher: Teacher | None, precision: Precision = CPU) -> SRModel:
    net = small_network().to(precision.dtype)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    return SRModel(
        Networks(Learner(net, optimizer, lambda time: 1.0), FACTS),
        losses,
        settings=StepSettings(7),
        precision=precision,
        collectives=DistributedContext(),
        teacher=teacher,
    )


def step(trained: SRModel, gt: torch.Tensor = GT, *, micro_batch: int = 4) -> dict[str, torch.Tensor]:
    trained.optimize_parameters(Batch(LQ, gt), 0, Controls(batch=4, micro_batch=micro_batch, lq_size=8))
    return {key: tensor.clone() for key, tensor in trained.generator.net.state_dict().items()}


def test_learning_from_a_teacher_is_learning_from_its_images() -> None:
    levels = 3 * GT.int() - 255  # two thirds of them outside of what an image can be

    class Painter(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return levels.permute(0, 3, 1, 2) / 255

    by_teacher = step(model({"mse_teacher": taught("MSELoss")}, Teacher(Painter(), CPU)))
    plain = WeightedLoss(LOSSES.build({"type": "MSELoss"}), lambda step: 1.0)
    by_images = step(model({"mse": plain}, None), levels.clamp(0, 255).to(torch.uint8))
    assert all(torch.allclose(by_teacher[key], by_images[key], atol=1e-7) for key in by_images)


def test_a_teacher_is_asked_once_for_each_sample_and_only_while_a_loss_asks() -> None:
    net = Counting()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    losses = {"l1_teacher": taught("L1Loss"), "mse_teacher": taught("MSELoss", 0.5)}
    whole = step(model(losses, Teacher(net, CPU)))
    assert net.calls == 1 and not net.training
    parts = step(model(losses, Teacher(net, CPU)), micro_batch=1)
    assert net.calls == 5
    assert all(torch.allclose(whole[key], parts[key], atol=1e-12) for key in whole)
    plain = WeightedLoss(LOSSES.build({"type": "L1Loss"}), lambda step: 1.0)
    off = step(model({"l1": plain, "l1_teacher": taught("L1Loss", 0.0)}, Teacher(net, CPU)))
    assert_same(off, step(model({"l1": plain}, None)))
    assert net.calls == 5
    assert_same(before, net.state_dict())
    assert not any(p.requires_grad or p.grad is not None for p in net.parameters())


def test_a_teacher_without_memory_repeats_the_step() -> None:
    net = Counting()
    trained = model({"l1_teacher": taught("L1Loss")}, Teacher(net, CPU))
    before = {key: tensor.clone() for key, tensor in trained.generator.net.state_dict().items()}
    net.fails = True
    with pytest.raises(BatchTooLarge):
        step(trained)
    assert_same(before, trained.generator.net.state_dict())
    net.fails = False
    assert_same(step(trained), step(model({"l1_teacher": taught("L1Loss")}, Teacher(Counting(), CPU))))


def test_a_teacher_computes_in_the_precision_of_the_run() -> None:
    seen = []
    net = small_network().float()
    net[0].register_forward_hook(lambda module, given, made: seen.append(made.dtype))
    precision = Precision(torch.device("cpu"), autocast_dtype=torch.bfloat16)
    assert Teacher(net, precision)(torch.rand(1, 3, 4, 4)).dtype == torch.float32
    assert seen == [torch.bfloat16]
