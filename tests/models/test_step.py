"""What one optimizer step promises: no host read, nothing changed by a failure, any split gives one result."""

import math
from typing import get_args

import pytest
import torch
from tiny import CPU, Waves, assert_same, make_model, tiny_network
from torch import nn

from traiNNer.control import Clip, Controls
from traiNNer.data.loader import Batch, TrainLoader
from traiNNer.data.mixing import BatchAugmentation, Mixture
from traiNNer.models.sr_model import BatchTooLarge
from traiNNer.optim.ema import ema_decay
from traiNNer.optim.learner import NO_LIMIT, Learner
from traiNNer.optim.optimizers import OPTIMIZERS, build_optimizer

CONTROLS = Controls(batch=8, micro_batch=8, lq_size=8)

EVERY_MIXTURE = BatchAugmentation(dict.fromkeys(get_args(Mixture), 0.2), seed=0)


@pytest.fixture
def batch() -> Batch:
    return next(TrainLoader(Waves(), seed=1).batches(0, 8, 8))


def without_dropout() -> nn.Module:
    net = tiny_network()
    net[1] = nn.Identity()
    return net


@pytest.mark.parametrize("augment", [None, EVERY_MIXTURE])
def test_fifty_steps_read_the_device_once_per_window(batch, monkeypatch, augment):
    model = make_model(window=10, augment=augment)
    reads = []
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "cpu", "numpy"):
        original = getattr(torch.Tensor, name)

        def counted(self, *args, _name=name, _original=original):
            reads.append(_name)
            return _original(self, *args)

        monkeypatch.setattr(torch.Tensor, name, counted)
    controls = Controls(batch=8, micro_batch=4, lq_size=8, clip={"g": Clip(0.01, 0.01, 10.0)})
    for step in range(50):
        model.networks.set_learning_rates(step, 1.0)
        model.optimize_parameters(batch, step, controls)
        if step % 10 == 9:
            model.read_metrics()
    assert reads == ["tolist"] * 5


@pytest.mark.parametrize("augment", [None, EVERY_MIXTURE])
@pytest.mark.parametrize("micro_batch", [1, 2, 3, 5])
def test_any_split_into_micro_batches_gives_the_same_update(batch, micro_batch, augment):
    whole, split = (make_model(without_dropout(), augment=augment) for _ in range(2))
    for step in range(5):
        for model, size in ((whole, 8), (split, micro_batch)):
            model.networks.set_learning_rates(step, 1.0)
            model.optimize_parameters(batch, step, Controls(batch=8, micro_batch=size, lq_size=8))
    for one, other in zip(whole.generator.net.parameters(), split.generator.net.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    one, other = whole.read_metrics(), split.read_metrics()
    assert one.losses["l1"] == pytest.approx(other.losses["l1"], rel=1e-12)
    assert one.grad_norm["g"] == pytest.approx(other.grad_norm["g"], rel=1e-9)


def graphs_of(net):
    """As CUDA graphs do it: what a backward pass has made belongs to the graph, whose next run writes over it."""
    made, new = [], set()
    for parameter in net.parameters():  # what is added to a gradient that is there does not become one
        parameter.register_post_accumulate_grad_hook(lambda p: made.append(p.grad) if p in new else None)

    def forward(x):
        for gradient in made:
            gradient.fill_(math.nan)
        made.clear()
        new.clear()
        new.update(p for p in net.parameters() if p.grad is None)
        return net(x)

    return forward


@pytest.mark.parametrize("mode", ["reduce-overhead", "max-autotune"])
def test_gradients_of_cuda_graphs_are_copied_before_the_next_micro_batch(batch, mode, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda net, mode: graphs_of(net))
    eager, graphs = make_model(without_dropout()), make_model(without_dropout(), compile_mode=mode)
    for model in (eager, graphs):
        model.optimize_parameters(batch, 0, Controls(batch=8, micro_batch=1, lq_size=8))
    assert_same(eager.state_dict(), graphs.state_dict())


class Greedy(nn.Module):
    """Cannot take more than two samples, moves a buffer in every forward, fails in the second micro-batch."""

    def __init__(self):
        super().__init__()
        self.net = without_dropout()
        self.register_buffer("seen", torch.zeros((), dtype=torch.float64))
        self.calls = 0

    def forward(self, x):
        self.seen += len(x)
        self.calls += 1
        if len(x) > 2 and self.calls % 2 == 0:
            raise torch.OutOfMemoryError("pretend")
        return self.net(x)


def test_a_step_that_does_not_fit_changes_nothing(batch):
    model = make_model(Greedy())
    before = {k: v.clone() for k, v in model.generator.net.state_dict().items()}
    with pytest.raises(BatchTooLarge):
        model.optimize_parameters(batch, 0, Controls(batch=8, micro_batch=4, lq_size=8))
    assert_same(before, model.generator.net.state_dict())
    assert not model.generator.gradients()
    model.optimize_parameters(batch, 0, Controls(batch=8, micro_batch=2, lq_size=8))
    reference = make_model(Greedy())
    reference.optimize_parameters(batch, 0, Controls(batch=8, micro_batch=2, lq_size=8))
    assert_same(reference.state_dict(), model.state_dict())


def test_the_allocator_of_the_cpu_running_out_is_out_of_memory_too(batch):
    class Huge(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = without_dropout()

        def forward(self, x):
            torch.empty(1 << 60, dtype=torch.uint8)
            return self.net(x)

    with pytest.raises(BatchTooLarge):
        make_model(Huge()).optimize_parameters(batch, 0, CONTROLS)


class Poisoned(nn.Module):
    """Makes gradients that are not finite in the steps named."""

    def __init__(self, steps):
        super().__init__()
        self.net = without_dropout()
        self.register_buffer("moved", torch.zeros((), dtype=torch.float64))
        self.step, self.steps = 0, steps

    def forward(self, x):
        self.moved += 1
        self.step += 1
        return self.net(x) * (math.nan if self.step - 1 in self.steps else 1.0)


def usable_optimizers():
    return OPTIMIZERS.names()


@pytest.mark.parametrize("name", usable_optimizers())
def test_a_gradient_that_is_not_finite_changes_nothing(batch, name):
    """The same run with one poisoned step more ends in the same weights, moments, average and buffers."""

    def run(poisoned, steps):
        net = Poisoned(poisoned)
        optimizer = build_optimizer({"type": name, "lr": 1e-2}, net.parameters())
        model = make_model(net, optimizer=optimizer)
        for _ in range(steps):
            model.networks.set_learning_rates(20, 1.0)
            model.optimize_parameters(batch, 0, CONTROLS)
        return model

    clean, poisoned = run([], 4), run([0, 2], 6)
    assert poisoned.read_metrics().applied["g"] == [False, True, False, True, True, True]
    clean.read_metrics()
    assert_same(clean.state_dict(), poisoned.state_dict())


@pytest.mark.parametrize("name", ["AdamW", "SGD", "NAdam"])
def test_gradients_are_left_scaled_or_skipped_by_the_three_limits(batch, name):
    def update(clip):
        net = without_dropout()
        before = [p.detach().clone() for p in net.parameters()]
        optimizer = torch.optim.SGD(net.parameters(), lr=1.0) if name == "SGD" else None
        optimizer = optimizer or build_optimizer({"type": name, "lr": 1.0}, net.parameters())
        model = make_model(net, optimizer=optimizer, ema=False)
        model.networks.set_learning_rates(20, 1.0)
        controls = Controls(batch=8, micro_batch=8, lq_size=8, clip={"g": clip} if clip else {})
        model.optimize_parameters(batch, 0, controls)
        change = torch.cat(
            [(p.detach() - b).flatten() for p, b in zip(net.parameters(), before, strict=True)]
        )
        return change, model.read_metrics()

    free, numbers = update(None)
    norm = numbers.grad_norm["g"][0]
    assert torch.equal(update(Clip(norm * 1.01, norm / 9))[0], free)
    scaled, _ = update(Clip(norm * 0.99, norm / 9))
    if name == "SGD":
        torch.testing.assert_close(scaled, free / 9 * (scaled.norm() / (free.norm() / 9)))
        assert scaled.norm() == pytest.approx(free.norm().item() / 9)
    skipped, numbers = update(Clip(norm / 4, norm / 9, norm / 2))
    assert skipped.abs().max() == 0
    assert numbers.applied["g"] == [False]


def test_a_loss_scale_is_undone_before_clipping(batch):
    def weights(scale):
        model = make_model(without_dropout())
        controls = Controls(batch=8, micro_batch=8, lq_size=8, clip={"g": Clip(0.01, 0.01)}, loss_scale=scale)
        for step in range(4):
            model.networks.set_learning_rates(step, 1.0)
            model.optimize_parameters(batch, step, controls)
        return model.state_dict()

    assert_same(weights(1.0), weights(64.0))


def test_the_average_follows_the_weights_as_its_formula_says(batch):
    model = make_model()
    expected = [p.detach().clone() for p in model.generator.net.parameters()]
    for step in range(6):
        model.networks.set_learning_rates(step, 1.0)
        model.optimize_parameters(batch, step, CONTROLS)
        decay = min(0.9, 1 - (1 + step) ** -0.75)
        expected = [
            decay * e + (1 - decay) * p
            for e, p in zip(expected, model.generator.net.parameters(), strict=True)
        ]
    for mine, theirs in zip(model.ema.net.parameters(), expected, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert ema_decay(10_000, 0.9999, 0.75) == pytest.approx(0.999, abs=1e-6)


def test_half_precision_halves_its_scale_at_overflow_and_doubles_it_after_good_steps(batch):
    net = Poisoned([1])
    learner = Learner(net, build_optimizer({"lr": 1e-3}, net.parameters()), lambda time: 1.0, fp16=True)
    model = make_model(learner=learner)
    for _ in range(3):
        model.networks.set_learning_rates(0, 1.0)
        model.optimize_parameters(batch, 0, CONTROLS)
    assert learner.scaler.scale.item() == 32768
    assert model.read_metrics().applied["g"] == [True, False, True]
    learner.scaler._good.fill_(1999)
    model.optimize_parameters(batch, 0, CONTROLS)
    assert learner.scaler.scale.item() == 65536


def test_a_step_draws_from_seed_step_and_rank_alone(batch):
    def weights(history, step):
        model = make_model()
        torch.manual_seed(history)
        model.networks.set_learning_rates(0, 1.0)
        model.optimize_parameters(batch, step, CONTROLS)
        return torch.cat([p.flatten() for p in model.generator.net.parameters()])

    assert torch.equal(weights(1, 5), weights(2, 5))
    assert not torch.equal(weights(1, 5), weights(1, 6))


def test_pixels_reach_the_network_as_zero_to_one_whatever_their_depth():
    eight = torch.tensor([[[[0, 127, 255]]]], dtype=torch.uint8)
    sixteen = torch.tensor([[[[0, 127 * 257, 65535]]]], dtype=torch.int32).to(torch.uint16)
    assert torch.equal(CPU.images(eight), CPU.images(sixteen))
    assert CPU.images(eight).flatten().tolist() == [0.0, 127 / 255, 1.0]


class WithoutLength(nn.Module):
    """A network that, other than `nn.Sequential`, has no length to ask for."""

    def __init__(self):
        super().__init__()
        self.net = tiny_network()

    def forward(self, x):
        return self.net(x)


@pytest.mark.parametrize("network", [tiny_network, WithoutLength])
def test_a_compiled_network_is_not_compiled_again_for_another_batch(batch, monkeypatch, network):
    from torch._dynamo.testing import CompileCounter

    counter, compile_ = CompileCounter(), torch.compile
    monkeypatch.setattr(torch, "compile", lambda net, mode: compile_(net, backend=counter))
    model, eager = make_model(network(), compile_mode="default"), make_model(network())
    for step, size in enumerate((8, 5, 4, 2)):
        for each in (model, eager):
            each.optimize_parameters(batch, step, Controls(batch=8, micro_batch=size, lq_size=8))
    assert counter.frame_count == 1
    assert_same(eager.state_dict(), model.state_dict())


def test_a_gradient_of_infinite_norm_is_not_applied_where_nothing_limits_it(batch):
    model = make_model(without_dropout(), ema=False)
    weight = model.generator.net[0].weight
    hook = weight.register_hook(lambda gradient: torch.full_like(gradient, math.inf))
    before = weight.detach().clone()
    model.networks.set_learning_rates(20, 1.0)
    model.optimize_parameters(batch, 0, CONTROLS)
    assert torch.equal(weight, before)
    hook.remove()
    model.optimize_parameters(batch, 1, CONTROLS)
    metrics = model.read_metrics()
    assert metrics.grad_norm["g"][0] == math.inf
    assert metrics.applied["g"] == [False, True]


@pytest.mark.parametrize("ok", [True, False])
def test_only_a_step_that_was_made_has_a_size(batch, ok):
    learner = make_model().generator
    for parameter in learner.parameters:
        parameter.grad = torch.ones_like(parameter)
    ratio = learner.measured_step(torch.tensor(1.0), torch.tensor(ok), NO_LIMIT)
    assert math.isnan(ratio) != ok


def test_weights_that_replace_broken_ones_begin_without_their_moments(batch):
    model = make_model()
    best = {name: tensor.clone() for name, tensor in model.generator.net.state_dict().items()}
    model.networks.set_learning_rates(0, 1.0)
    model.optimize_parameters(batch, 0, CONTROLS)
    model.networks.load_weights(best)
    state = model.generator.state_dict()
    assert_same(state["net"], best)
    assert not state["moments"]
