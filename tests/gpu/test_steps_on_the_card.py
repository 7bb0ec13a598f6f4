"""A training step on the card: the same weights as on the CPU, no host read, nothing changed by a bad gradient."""

import math
from dataclasses import replace
from typing import get_args

import pytest
import torch
from archs.small_networks import BARE, DISCRIMINATORS, GENERATORS, build
from gpu.on_device import CONTROLS, difference, model_on, pixels, weights_of
from losses.test_losses import SPECS
from tiny import assert_same
from torch import nn

from traiNNer.control import Clip, Controls
from traiNNer.data.mixing import BatchAugmentation, Mixture
from traiNNer.losses import LOSSES
from traiNNer.models.adversary import Adversary
from traiNNer.models.precision import Precision
from traiNNer.models.sr_model import WeightedLoss
from traiNNer.optim.learner import Learner
from traiNNer.optim.optimizers import OPTIMIZERS, build_optimizer

EVERY_MIXTURE = BatchAugmentation(dict.fromkeys(get_args(Mixture), 0.2), seed=0)
OPTIMIZER_NAMES = OPTIMIZERS.names()
ONE_OF_EACH_CLASS = list({type(BARE[name]): name for name in GENERATORS}.values())
COUNT_ON_HOST = ("Adafactor", "Adagrad")
"""Have step counters on the host alone, so that skipping a step takes a host read."""
every_optimizer = pytest.mark.parametrize("name", OPTIMIZER_NAMES)


def train(model, steps, *, controls=CONTROLS, batch=None):
    batch = batch or pixels()
    for step in range(steps):
        model.networks.set_learning_rates(step, 1.0)
        model.optimize_parameters(batch, step, controls)
    return model


class Poisoned(nn.Module):
    """Makes gradients that are not finite in the steps named, and moves a buffer in all."""

    def __init__(self, steps):
        super().__init__()
        self.net = build("compact")
        self.register_buffer("moved", torch.zeros(()))
        self.step, self.steps = 0, steps

    def forward(self, x):
        self.moved += 1
        self.step += 1
        return self.net(x) * (math.nan if self.step - 1 in self.steps else 1.0)


# --- optimizers --------------------------------------------------------------------------------------------


@every_optimizer
def test_three_steps_of_an_optimizer_end_where_they_end_on_the_cpu(name, device):
    settings = {"type": name, "lr": 1e-3}
    on_cpu, ours = (train(model_on(each, optimizer=settings), 3) for each in (torch.device("cpu"), device))
    start = weights_of(model_on(torch.device("cpu")))
    moved = weights_of(on_cpu) - start
    assert moved.abs().max() > 0
    # a gradient near zero has either sign, and Adam-like rules make a whole step of it
    assert (weights_of(ours) - start - moved).norm() < 0.05 * moved.norm()
    one, other = ours.read_metrics(), on_cpu.read_metrics()
    assert one.losses["l1"] == pytest.approx(other.losses["l1"], rel=1e-3)
    assert one.grad_norm["g"] == pytest.approx(other.grad_norm["g"], rel=2e-3)


@every_optimizer
def test_a_gradient_that_is_not_finite_changes_nothing(name, device):
    def run(poisoned, steps):
        torch.use_deterministic_algorithms(True)
        model = model_on(device, Poisoned(poisoned), optimizer={"type": name})
        for _ in range(steps):
            model.networks.set_learning_rates(0, 1.0)
            model.optimize_parameters(pixels(), 0, CONTROLS)
        return model

    clean, poisoned = run([], 3), run([0, 2], 5)
    assert poisoned.read_metrics().applied["g"] == [False, True, False, True, True]
    clean.read_metrics()
    assert_same(clean.state_dict(), poisoned.state_dict())


@pytest.mark.parametrize("name", [name for name in OPTIMIZER_NAMES if name not in COUNT_ON_HOST])
def test_steps_after_the_first_wait_for_nothing(name, card):
    model = train(model_on(card, optimizer={"type": name}), 1)
    batch = type(pixels())(*(images.pin_memory() for images in pixels()[:2]))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    for step in range(1, 9):
        model.networks.set_learning_rates(step, 1.0)
        model.optimize_parameters(batch, step, replace(CONTROLS, loss_scale=4.0))
    torch.cuda.set_sync_debug_mode("default")
    assert model.read_metrics().applied["g"] == [True] * 9


@pytest.mark.parametrize("augment", [None, EVERY_MIXTURE], ids=["plain", "mixed"])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16], ids=["fp32", "bf16", "fp16"])
def test_clipping_mixing_and_scaling_wait_for_nothing(dtype, augment, card):
    model = model_on(card, precision=Precision(card, dtype, channels_last=True), fp16=dtype == torch.float16)
    model._augment = augment
    controls = Controls(batch=8, micro_batch=4, lq_size=16, clip={"g": Clip(0.01, 0.01, 1e9)})
    train(model, 1, controls=controls)
    batch = type(pixels())(*(images.pin_memory() for images in pixels()[:2]))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    for step in range(1, 9):
        model.optimize_parameters(batch, step, controls)
    torch.cuda.set_sync_debug_mode("default")
    assert model.read_metrics().applied["g"] == [True] * 9


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: "-".join(map(str, spec.values())))
def test_losses_wait_for_nothing_after_their_first_step(spec, card):
    losses = {"loss": WeightedLoss(LOSSES.build(spec), lambda step: 1.0)}
    if getattr(losses["loss"].module, "adversarial", False):
        pytest.skip("needs a discriminator")
    model = model_on(card, losses=losses)
    batch = type(pixels())(*(images.pin_memory() for images in pixels(side=32)[:2]))
    for step in range(3):
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error" if step else "default")
        model.optimize_parameters(batch, step, replace(CONTROLS, lq_size=32))
    torch.cuda.set_sync_debug_mode("default")
    assert len(model.read_metrics().total) == 3


# --- precision ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "limit"), [(torch.bfloat16, 0.02), (torch.float16, 0.005)], ids=["bf16", "fp16"]
)
@pytest.mark.parametrize("name", ["compact", "paragonsr2_realtime", "span"])
def test_a_run_in_low_precision_follows_that_in_float32(name, dtype, limit, device):
    def losses(autocast_dtype):
        precision = Precision(device, autocast_dtype, channels_last=True)
        model = model_on(device, build(name), precision=precision, fp16=autocast_dtype == torch.float16)
        if model.generator.scaler:
            model.generator.scaler.scale.fill_(
                256.0
            )  # the usual one overflows here and loses the first steps
        return torch.tensor(train(model, 10).read_metrics().total)

    exact = losses(None)
    assert exact[-1] < exact[0]
    assert difference(losses(dtype), exact) < limit


def test_fp16_halves_its_scale_at_overflow_and_doubles_it_after_good_steps(device):
    model = model_on(device, Poisoned([1]), precision=Precision(device, torch.float16), fp16=True)
    scaler = model.generator.scaler
    train(model, 3)
    assert scaler.scale.item() == 32768
    assert model.read_metrics().applied["g"] == [True, False, True]
    scaler._good.fill_(1999)
    train(model, 1)
    assert scaler.scale.item() == 65536


def test_fp16_finds_a_scale_from_one_that_overflows(device):
    model = model_on(device, precision=Precision(device, torch.float16), fp16=True)
    model.generator.scaler.scale.fill_(2.0**60)
    for _ in range(5):
        train(model, 10)
        metrics = model.read_metrics()
    assert metrics.applied["g"][-1] is True
    assert 1 < metrics.amp_scale < 2.0**60


# --- discriminators ----------------------------------------------------------------------------------------


def adversarial(device, name, gan, precision):
    fp16 = precision.autocast_dtype == torch.float16
    net = build(name).to(device).train()
    game = LOSSES.build({"type": "GANLoss", "gan_type": gan, "r1_weight": 2.0, "r2_weight": 2.0})
    learner = Learner(net, build_optimizer({"lr": 1e-4}, net.parameters()), lambda time: 1.0, fp16=fp16)
    adversary = Adversary(learner, game, trains_at=lambda step: True, precision=precision, penalty_every=2)
    losses = {
        "l1": WeightedLoss(LOSSES.build({"type": "L1Loss"}), lambda step: 1.0),
        "gan": WeightedLoss(game, lambda step: 0.1),
    }
    return model_on(device, losses=losses, adversary=adversary, precision=precision, fp16=fp16)


_DERIVES_TWICE = torch.torch_version.TorchVersion(torch.__version__) >= (2, 14)
PENALISED = [name for name in DISCRIMINATORS if name != "dunet" or _DERIVES_TWICE]
"""Those that torch can derive twice; sampling at learned places it can since 2.14."""


@pytest.mark.parametrize("gan", ["vanilla", "r3gan"])
@pytest.mark.parametrize("name", PENALISED)
def test_a_step_with_penalties_measures_what_it_measures_on_the_cpu(name, gan, device):
    cpu = torch.device("cpu")
    ours, theirs = (
        train(adversarial(each, name, gan, Precision(each)), 2, batch=pixels(4, 16)).read_metrics()
        for each in (device, cpu)
    )
    assert ours.applied == {"g": [True] * 2, "d": [True] * 2}
    for key, values in theirs.discriminator.items():
        one, other = (torch.tensor(each).nan_to_num(-1.0) for each in (ours.discriminator[key], values))
        assert (one - other).abs().max() < 2e-3 * max(1.0, other.abs().max().item()), key
    for net in ("g", "d"):
        assert ours.grad_norm[net] == pytest.approx(theirs.grad_norm[net], rel=1e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("name", PENALISED)
def test_penalties_stay_in_float32_where_the_networks_do_not(name, dtype, device):
    def measured(autocast_dtype):
        model = adversarial(device, name, "vanilla", Precision(device, autocast_dtype))
        return train(model, 1, batch=pixels(4, 16)).read_metrics()

    ours, exact = measured(dtype), measured(None)
    assert ours.applied == {"g": [True], "d": [True]}
    assert ours.discriminator["l_d_penalty"] == pytest.approx(exact.discriminator["l_d_penalty"], rel=0.1)


# --- compiling ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ONE_OF_EACH_CLASS)
def test_one_graph_holds_the_training_pass(name, device):
    torch._dynamo.reset()
    net = build(name).to(device).train()
    compiled = torch.compile(net, fullgraph=True, backend="eager", dynamic=True)
    image = torch.rand(2, 3, 24, 32, device=device)
    assert difference(compiled(image), net(image)) < 1e-4


@pytest.fixture(scope="module")
def compiler(device):
    """Skips where torch cannot compile for this device, and says why."""
    torch._dynamo.reset()
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(4, device=device))
    except Exception as error:  # noqa: BLE001 - whatever is missing, from Triton to a C compiler
        pytest.skip(f"torch.compile does not work here: {str(error).splitlines()[0]}")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("compact", None), ("compact", torch.bfloat16)],
    ids=["compact-fp32", "compact-bf16"],
)
@pytest.mark.usefixtures("compiler")
def test_compiled_steps_follow_eager_ones_and_other_batches_compile_nothing(name, dtype, device):
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    precision = Precision(device, dtype, channels_last=True)
    compiled = model_on(device, build(name), precision=precision, compile_mode="default")
    eager = model_on(device, build(name), precision=precision)
    graphs = []
    for step, size in enumerate((8, 5, 8, 4)):
        controls = Controls(batch=8, micro_batch=size, lq_size=16)
        for model in (compiled, eager):
            model.optimize_parameters(pixels(), step, controls)
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[0] == graphs[-1]
    ours, theirs = (torch.tensor(model.read_metrics().total) for model in (compiled, eager))
    assert difference(ours, theirs) < (1e-3 if dtype is None else 1e-2)


@pytest.mark.usefixtures("compiler")
def test_micro_batches_in_cuda_graphs_add_up_to_the_gradient_of_the_batch(card):
    torch._dynamo.reset()
    settings = {"optimizer": {"type": "SGD"}, "lr": 0.01}
    graphs = model_on(card, compile_mode="reduce-overhead", **settings)
    eager = model_on(card, **settings)
    for step in range(6):  # the first runs record
        for model in (graphs, eager):
            model.optimize_parameters(pixels(seed=step), step, replace(CONTROLS, micro_batch=2))
    ours, theirs = (model.read_metrics().grad_norm["g"] for model in (graphs, eager))
    assert ours == pytest.approx(theirs, rel=1e-3)
    assert (weights_of(graphs) - weights_of(eager)).abs().max() < 1e-5
