"""Optimizers of pytorch-optimizer: named, guarded and resumed as those of torch are."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from traiNNer.optim.external_optimizers import NAMES, external_optimizers
from traiNNer.optim.learner import NO_LIMIT, Learner
from traiNNer.optim.optimizers import build_optimizer, check_optimizer
from traiNNer.optim.schedule_free import ScheduleFreeAverage, averages


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    external_optimizers.cache_clear()
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    (problem,) = check_optimizer({"type": "adan"})
    assert "pip install pytorch-optimizer" in problem.message
    external_optimizers.cache_clear()


def test_schedule_free_optimizers_of_other_trainers_are_refused_with_what_to_take() -> None:
    for name in ("adan_sf", "SOAP_SF"):
        (problem,) = check_optimizer({"type": name})
        assert "take ScheduleFreeAdamW" in problem.message


@pytest.mark.slow  # importing the package takes seconds
def test_as_many_betas_are_asked_for_as_the_optimizer_has() -> None:
    (problem,) = check_optimizer({"type": "Adan", "betas": [0.9, 0.99]})  # left from AdamW
    assert problem.path == ("betas", 2)
    assert check_optimizer({"type": "Adan", "betas": [0.98, 0.92, 0.99]}) == []


class Run:
    """A learner whose gradients are functions of the step."""

    def __init__(self, name: str) -> None:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1))
        self.learner = Learner(
            net, build_optimizer({"type": name, "lr": 1e-2}, net.parameters()), lambda time: 1.0
        )

    def step(self, step: int, *, poisoned: bool = False) -> None:
        generator = torch.Generator().manual_seed(step)
        for parameter in self.learner.net.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            if poisoned:
                parameter.grad[0] = torch.nan
        check = self.learner.check_gradient(NO_LIMIT)
        self.learner.step(check.norm, check.ok, NO_LIMIT)

    def weights(self) -> list[torch.Tensor]:
        return [parameter.detach().clone() for parameter in self.learner.net.parameters()]


@pytest.mark.slow  # importing the package takes seconds
@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_with_a_skipped_step_is_the_same_run(name: str) -> None:
    assert check_optimizer({"type": name, "lr": 1e-2}) == []
    (problem,) = check_optimizer({"type": name, "lr": 1e-2, "beats": [0.9, 0.99]})
    assert problem.path == ("beats",)
    whole, poisoned = Run(name), Run(name)
    for step in range(12):
        whole.step(step)
        poisoned.step(step)
        if step == 5:
            poisoned.step(99, poisoned=True)
            state = poisoned.learner.state_dict()
            poisoned = Run(name)
            poisoned.learner.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(whole.weights(), poisoned.weights(), strict=True))
    start = Run(name)
    assert not all(torch.equal(a, b) for a, b in zip(whole.weights(), start.weights(), strict=True))
    whole.learner.load_weights(start.learner.net.state_dict())
    whole.learner.reset_optimizer()
    whole.step(0)
    start.step(0)
    assert all(torch.equal(a, b) for a, b in zip(whole.weights(), start.weights(), strict=True))


@pytest.mark.slow
def test_muon_turns_the_weights_of_convolutions_by_orthogonal_matrices_and_leaves_the_rest_to_adamw() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.PReLU(8), nn.Conv2d(8, 1, 3))
    spec = {"type": "Muon", "lr": 0.02, "adamw_lr": 1e-3}
    optimizer = build_optimizer(spec, net.parameters())
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    learner = Learner(net, optimizer, lambda time: 0.5)
    learner.set_learning_rate(0, 1.0)
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    check = learner.check_gradient(NO_LIMIT)
    learner.step(check.norm, check.ok, NO_LIMIT)
    moved = {name: before[name] - parameter.detach() for name, parameter in net.named_parameters()}
    turned = torch.linalg.svdvals(moved.pop("0.weight").flatten(1)) / 0.01
    assert turned.min() > 0.6 and turned.max() < 1.3  # five steps of Newton and Schulz come that near to 1
    for change in moved.values():  # the last weight has a single row
        torch.testing.assert_close(change.abs(), torch.full_like(change, 5e-4), rtol=1e-3, atol=0)
    assert learner.state_dict()["groups"] == [{"step": 1}, {"step": 1}]  # and no setting


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adamw_sf", "ScheduleFreeRAdam", "ScheduleFreeSGD"])
def test_the_average_is_the_one_that_the_optimizer_itself_would_switch_to(name: str) -> None:
    run = Run(name)
    net, optimizer = run.learner.net, run.learner.optimizer
    average = ScheduleFreeAverage(net, optimizer)
    assert averages(optimizer) and not averages(torch.optim.AdamW(net.parameters()))
    for step in range(9):
        run.step(step, poisoned=step == 7)
        average.update(step, torch.ones(()))
    trained = run.weights()
    optimizer.eval()  # type: ignore[attr-defined]  # of the schedule-free ones
    for mine, theirs, before in zip(average.net.parameters(), net.parameters(), trained, strict=True):
        torch.testing.assert_close(mine, theirs)
        assert not torch.equal(mine, before)
    run.learner.reset_optimizer()
    average.update(9, torch.ones(()))  # without z the weights are the average
    for mine, theirs in zip(average.net.parameters(), net.parameters(), strict=True):
        assert torch.equal(mine, theirs)
