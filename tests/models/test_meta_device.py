"""The step with all its tensors on torch's `meta` device, and the batch on the CPU.

Meta tensors have shape, type and device and no values: an operation over tensors of two devices raises there as
it does on a card, and so does every read by the host. What meta cannot hold is for tests/gpu: autocast and fused
kernels (which it has not), reading the metrics of a window (a host read by design), torch.compile, the kernels
themselves, and tensors of one value or of indices on the host, which operations take here as on a card.
"""

import sys
from contextlib import contextmanager, nullcontext
from typing import get_args

import pytest
import torch
from archs.small_networks import ALL, DISCRIMINATORS, GENERATORS, spec_of
from losses.test_losses import SPECS
from torch import nn
from torch.overrides import TorchFunctionMode

from traiNNer.archs import build_network
from traiNNer.control import Clip, Controls
from traiNNer.data.loader import Batch
from traiNNer.data.mixing import BatchAugmentation, Mixture
from traiNNer.losses import LOSSES
from traiNNer.losses.targets import TeacherTarget
from traiNNer.models.adversary import Adversary
from traiNNer.models.networks import Networks
from traiNNer.models.precision import Precision
from traiNNer.models.sr_model import SRModel, StepSettings, WeightedLoss
from traiNNer.models.teacher import Teacher
from traiNNer.optim import optimizers
from traiNNer.optim.ema import Ema
from traiNNer.optim.learner import NO_LIMIT, Learner
from traiNNer.optim.optimizers import OPTIMIZERS, build_optimizer
from traiNNer.runtime.distributed import DistributedContext

META = torch.device("meta")
CLIPPED = {"g": Clip(0.1, 0.1, 1.0), "d": Clip(0.1, 0.1, 1.0)}
LARGER = [name for name in ALL if name not in (*GENERATORS, *DISCRIMINATORS)]
"""More of the same modules."""
OPTIMIZER_NAMES = [name for name in OPTIMIZERS.names() if name not in ("Adafactor", "Muon")]
"""Muon is for matrices alone; torch's Adafactor itself reads two norms of every parameter to the host."""
COUNT_ON_HOST = ("Adagrad",)
STATE_FROM_NUMBERS = ("ASGD",)
"""Wait for the device in their first step."""


class OnMeta(Precision):
    """Seeds nothing: this device draws nothing."""

    def seed(self, seed):
        """There is no torch.meta."""


@contextmanager
def host_reads(allowed):
    """Answers yes to so many questions that the host asks a tensor; all others raise."""
    asked, original = [], torch.Tensor.__bool__

    def answer(self):
        if not self.is_meta:
            return original(self)
        asked.append(self.shape)
        assert len(asked) <= allowed, "the step reads the device"
        return True

    torch.Tensor.__bool__ = answer
    try:
        yield asked
    finally:
        torch.Tensor.__bool__ = original


class NothingIsWaitedFor(TorchFunctionMode):
    """Refuses copies from the host to a device for which the host waits, as it does on a card.

    Numbers and indices as lists become tensors on the host first; so do tensors made of them for a device.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        made = func in (torch.tensor, torch.as_tensor) and result.is_meta
        moved = func is torch.Tensor.to and result.is_meta and not args[0].is_meta
        assert not made and func is not torch.Tensor.new_tensor, "the host waits for a tensor of its numbers"
        assert not moved or (kwargs or {}).get("non_blocking"), "the host waits for a copy"
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and args[0].is_meta:
            for index in args[1] if isinstance(args[1], tuple) else (args[1],):
                masked = isinstance(index, torch.Tensor) and index.dtype == torch.bool
                on_host = isinstance(index, torch.Tensor) and not index.is_meta
                assert not (masked or on_host or isinstance(index, list)), "the host waits for indices"
        return result


@pytest.fixture(autouse=True)
def _as_on_a_card(monkeypatch):
    """Step counters on the device, which torch allows here if told to; switching autocast off does nothing."""
    autocast = torch.autocast
    monkeypatch.setattr(
        torch, "autocast", lambda kind, *a, **k: nullcontext() if kind == "meta" else autocast(kind, *a, **k)
    )
    monkeypatch.setattr(optimizers, "_on_cuda", lambda groups: True)
    name = "_get_capturable_supported_devices"
    for module in [
        m for key, m in sys.modules.items() if key.startswith("torch.optim.") and hasattr(m, name)
    ]:
        monkeypatch.setattr(module, name, lambda *_, **__: ["meta"])


def on_meta(spec):
    with META:
        net = build_network(spec)
    return net.train()


def learner_of(net, spec=None, *, fp16=False):
    learned = [p for p in net.parameters() if p.requires_grad]
    optimizer = build_optimizer({"lr": 1e-3, **(spec or {})}, learned)
    return Learner(net, optimizer, lambda time: 1.0, fp16=fp16)


def model_of(
    net, losses=None, *, optimizer=None, adversary=None, augment=None, fp16=False, channels_last=False
):
    return SRModel(
        Networks(learner_of(net, optimizer, fp16=fp16), net.facts, ema=Ema(net, 0.9), adversary=adversary),
        losses or {"l1": WeightedLoss(LOSSES.build({"type": "L1Loss"}), lambda step: 1.0)},
        settings=StepSettings(0, window=10, measure_losses_every=2),
        precision=OnMeta(META, channels_last=channels_last),
        collectives=DistributedContext(),
        augment=augment,
    )


def train(model, *, reads=1, steps=2, lq_size=32, dtype=torch.uint8, watched=True):
    """Steps with clipping and two micro-batches; the first update asks once whether there is one."""
    gt_size = lq_size * model.networks.facts.scale
    batch = Batch(*(torch.zeros(4, side, side, 3, dtype=dtype) for side in (lq_size, gt_size)))
    controls = Controls(batch=4, micro_batch=2, lq_size=lq_size, clip=CLIPPED, loss_factor={"l1": 0.5})
    with host_reads(reads) as asked, NothingIsWaitedFor() if watched else nullcontext():
        for step in range(steps):
            model.networks.set_learning_rates(step, 1.0)
            model.optimize_parameters(batch, step, controls)
    assert all(p.is_meta for p in model.generator.net.parameters())
    return asked


@pytest.mark.parametrize("name", [*GENERATORS, *(pytest.param(n, marks=pytest.mark.slow) for n in LARGER)])
def test_a_step_of_a_network_on_the_meta_device_mixes_no_devices_and_reads_nothing(name):
    net = on_meta(spec_of(name))
    train(model_of(net), steps=1, lq_size=max(16, net.facts.min_size))


def _grid_sample_has_a_second_derivative():
    image, grid = torch.rand(1, 1, 4, 4, requires_grad=True), torch.zeros(1, 4, 4, 2, requires_grad=True)
    out = torch.nn.functional.grid_sample(image, grid, align_corners=False)
    (slope,) = torch.autograd.grad(out.square().sum(), image, create_graph=True)
    try:
        slope.square().sum().backward()
    except RuntimeError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "gan"),
    [*((name, "vanilla") for name in DISCRIMINATORS), ("patchgan", "ragan"), ("patchgan", "r3gan")],
)
def test_a_step_of_a_discriminator_on_the_meta_device_mixes_no_devices(name, gan):
    if name == "dunet" and not _grid_sample_has_a_second_derivative():
        pytest.skip("this torch has no second derivative of grid_sample, which penalties of dunet need")
    game = LOSSES.build({"type": "GANLoss", "gan_type": gan, "r1_weight": 1.0, "r2_weight": 1.0})
    adversary = Adversary(
        learner_of(on_meta(spec_of(name))),
        game,
        trains_at=lambda step: True,
        precision=OnMeta(META),
        penalty_every=2,
    )
    losses = {
        "l1": WeightedLoss(LOSSES.build({"type": "L1Loss"}), lambda step: 1.0),
        "gan": WeightedLoss(game, lambda step: 0.1),
    }
    model = model_of(on_meta(spec_of("compact")), losses, adversary=adversary)
    train(model, reads=2, steps=1, lq_size=16)  # one for the first update of each network


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: "-".join(map(str, spec.values())))
def test_a_step_of_a_loss_on_the_meta_device_mixes_no_devices(spec):
    net = on_meta(spec_of("compact"))
    losses = {"loss": WeightedLoss(LOSSES.build(spec).to(META), lambda step: 1.0)}
    adversary = None
    if getattr(losses["loss"].module, "adversarial", False):
        game = losses["loss"].module if spec["type"] == "GANLoss" else LOSSES.build({"type": "GANLoss"})
        discriminator = on_meta(spec_of("unetdiscriminatorsn"))
        adversary = Adversary(
            learner_of(discriminator), game, trains_at=lambda step: True, precision=OnMeta(META)
        )
    train(model_of(net, losses, adversary=adversary), reads=2, steps=1)


def test_a_step_with_a_teacher_on_the_meta_device_mixes_no_devices():
    taught = WeightedLoss(TeacherTarget(LOSSES.build({"type": "L1Loss"})), lambda step: 1.0, taught=True)
    model = model_of(on_meta(spec_of("compact")), {"l1_teacher": taught})
    model.teacher = Teacher(on_meta(spec_of("span")), OnMeta(META))
    train(model, steps=1)


@pytest.mark.parametrize("name", OPTIMIZER_NAMES)
def test_steps_of_an_optimizer_on_the_meta_device_mix_no_devices(name):
    model = model_of(on_meta(spec_of("compact")), optimizer={"type": name})
    steps = 4
    asked = train(model, reads=steps, steps=steps, watched=name not in STATE_FROM_NUMBERS)
    # counters on the host cannot follow what only the device knows: such optimizers ask in every step
    assert len(asked) == (steps if name in COUNT_ON_HOST else 1)
    assert model.generator.optimizer.state or name == "SGD"


@pytest.mark.parametrize("mixture", get_args(Mixture))
def test_an_augmentation_on_the_meta_device_mixes_no_devices(mixture):
    augment = BatchAugmentation({mixture: 1.0}, seed=0)
    train(model_of(on_meta(spec_of("compact")), augment=augment))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16], ids=str)
@pytest.mark.parametrize("settings", [{}, {"fp16": True}, {"channels_last": True}], ids=str)
def test_a_precision_on_the_meta_device_mixes_no_devices(settings, dtype):
    train(model_of(on_meta(spec_of("compact")), **settings), dtype=dtype)


def test_a_fused_update_of_a_scaled_loss_waits_for_nothing():
    net = build_network(spec_of("compact"))
    learner = learner_of(net)
    learner.backward(net(torch.rand(1, 3, 16, 16)).mean() * 4)
    with NothingIsWaitedFor():
        check = learner.check_gradient(NO_LIMIT, 4.0)
        learner.step(check.norm, check.ok, NO_LIMIT, 4.0)
    assert learner.has_stepped


# --- that these tests would notice -------------------------------------------------------------------------


class Careless(nn.Module):
    """A network with a mistake that no CPU shows."""

    def __init__(self, mistake):
        super().__init__()
        with META:
            self.net = build_network(spec_of("compact"))
        self.facts, self.mistake = self.net.facts, mistake

    def forward(self, x):
        return self.mistake(self.net(x))


@pytest.mark.parametrize(
    "mistake",
    [
        lambda x: x * torch.ones(x.shape[-1]),
        lambda x: x if x.mean() > 0 else -x,
        lambda x: x * x.max().item(),
        lambda x: x + torch.from_numpy(x.detach().numpy()),
        lambda x: x * x.new_tensor([1.0]),
        lambda x: x * torch.tensor(2.0, device=x.device),
        lambda x: x * torch.ones(1).to(x.device),
        lambda x: x[[*range(len(x))]],
    ],
    ids=["mixed devices", "a condition", "item", "numpy", "new tensor", "tensor", "to", "list"],
)
def test_mistakes_are_seen_on_the_meta_device(mistake):
    with pytest.raises((RuntimeError, AssertionError, TypeError, NotImplementedError)):
        train(model_of(Careless(mistake)), reads=0, steps=1)
