import copy
import inspect

import pytest
import torch

from traiNNer.optim.learner import NO_LIMIT, Learner
from traiNNer.optim.optimizers import (
    OPTIMIZERS,
    build_optimizer,
    check_optimizer,
    has_device_skip,
    is_adam_like,
)
from traiNNer.registry import ConfigError


def parameters(*, device="cpu", dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4, 4, generator=generator), torch.randn(2, 3, generator=generator)
    return [torch.nn.Parameter(value.to(device, dtype)) for value in values]


def follow(optimizer, steps=5):
    params = optimizer.param_groups[0]["params"]
    for step in range(steps):
        for param in params:
            param.grad = param.detach() * 0.1 + step
        optimizer.step()
    return [param.detach() for param in params]


def test_every_optimizer_of_torch_is_known_or_refused():
    of_torch = {
        name
        for name, kind in vars(torch.optim).items()
        if inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer)
    }
    assert set(OPTIMIZERS.names()) == of_torch - {"Optimizer", "LBFGS", "SparseAdam", "Muon"}


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_every_optimizer_steps_as_the_class_of_torch(name):
    spec = {"type": name.lower(), "lr": 0.02}
    assert check_optimizer(spec) == []
    ours, theirs = parameters(), parameters()
    result = follow(build_optimizer(spec, iter(ours)))
    expected = follow(getattr(torch.optim, name)(theirs, lr=0.02))
    for a, b in zip(result, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)  # fused kernels round differently


def test_arguments_and_groups_arrive():
    first, second = parameters()
    spec = {"type": "adam", "lr": 3e-4, "betas": [0.9, 0.99], "amsgrad": True}
    optimizer = build_optimizer(spec, [{"params": [first], "lr": 1e-3}, {"params": [second]}])
    assert isinstance(optimizer, torch.optim.Adam) and type(optimizer).__name__ == "Adam"
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 3e-4]
    assert all(group["betas"] == (0.9, 0.99) and group["amsgrad"] for group in optimizer.param_groups)


def test_without_a_type_it_is_adamw():
    assert isinstance(build_optimizer({"lr": 1e-4}, parameters()), torch.optim.AdamW)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "Adagrad"])
def test_the_fused_kernel_is_taken_where_there_is_one(name):
    fused = {"fused": True}.items()
    assert fused <= build_optimizer({"type": name}, parameters()).param_groups[0].items()
    on_meta = build_optimizer({"type": name}, parameters(device="meta"))
    assert not on_meta.param_groups[0]["fused"]


@pytest.mark.parametrize("choice", [{"foreach": True}, {"foreach": False}, {"fused": False}])
def test_the_users_choice_of_kernel_stands(choice):
    optimizer = build_optimizer({"type": "AdamW", **choice}, parameters())
    assert not optimizer.param_groups[0]["fused"]
    assert choice.items() <= optimizer.param_groups[0].items()
    assert not has_device_skip(optimizer)


WRONG = [
    ({"lr": "fast"}, ("lr",), "should be a number"),
    ({"lr": 0}, ("lr",), "should be above 0"),
    ({"betas": [0.9, "x"]}, ("betas", 1), "should be a number"),
    ({"betas": [0.9]}, ("betas", 1), "is required"),
    ({"betas": [2, 0.9]}, (), "Invalid beta parameter at index 0"),
    ({"wieght_decay": 0}, ("wieght_decay",), "did you mean 'weight_decay'"),
    ({"type": "SGD", "betas": [0.9, 0.99]}, ("betas",), "it takes: lr, momentum"),
    ({"type": "SGD", "nesterov": True}, (), "Nesterov momentum requires"),
    ({"type": "adamww"}, ("type",), "did you mean 'AdamW'"),
    ({"type": "SophiaH"}, ("type",), "known: ASGD, Adadelta"),
    ({"type": "lbfgs"}, ("type",), "several times in a step"),
    ({"type": "Sparse_Adam"}, ("type",), "sparse gradients"),
]


@pytest.mark.parametrize(("spec", "path", "message"), WRONG)
def test_a_wrong_optimizer_is_explained(spec, path, message):
    (problem,) = check_optimizer(spec)
    assert problem.path == path
    assert message in problem.message
    with pytest.raises(ConfigError) as error:
        build_optimizer(spec, parameters())
    assert problem.message in str(error.value)
    assert not problem.message.startswith("optimizer ")  # named once


def test_every_problem_is_named_at_once():
    problems = check_optimizer({"lr": "fast", "betas": 3, "momentum": 0.9})
    assert [problem.path for problem in problems] == [("lr",), ("betas",), ("momentum",)]


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_every_optimizer_on_offer_takes_the_parameters_of_a_convolution(name):
    build_optimizer({"type": name}, torch.nn.Conv2d(1, 1, 3).parameters())


def test_only_sgd_follows_the_batch_itself():
    built = {name: build_optimizer({"type": name}, parameters()) for name in OPTIMIZERS.names()}
    assert {name for name, optimizer in built.items() if not is_adam_like(optimizer)} == {"SGD", "ASGD"}


SPECS = [{"type": name} for name in OPTIMIZERS.names()] + [
    {"type": "SGD", "momentum": 0.9},
    {"type": "Adam", "amsgrad": True},
    {"type": "AdamW", "foreach": True},
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_step_that_the_device_skips_is_as_if_it_had_not_been(spec):
    def run(skip_first):
        params = parameters()
        optimizer = build_optimizer({"lr": 0.1, **spec}, params)
        if has_device_skip(optimizer):
            for found_inf in [1.0, 0.0, 0.0] if skip_first else [0.0, 0.0]:
                for param in params:
                    param.grad = torch.full_like(param, float("nan") if found_inf else 2.0)
                optimizer.grad_scale = torch.tensor(4.0)
                optimizer.found_inf = torch.tensor(found_inf)
                optimizer.step()
        return has_device_skip(optimizer), params

    skips, params = run(skip_first=True)
    assert skips is (
        spec in ({"type": "Adam"}, {"type": "AdamW"}, {"type": "SGD"}, {"type": "Adagrad"}, SPECS[-2])
    )
    for a, b, before in zip(params, run(skip_first=False)[1], parameters(), strict=True):
        assert torch.equal(a, b)
        assert skips is not torch.equal(a, before)


@pytest.mark.parametrize(
    ("before", "now", "missing"),
    [
        ({"type": "AdamW"}, {"type": "AdamW", "amsgrad": True}, "max_exp_avg_sq"),
        ({"type": "RMSprop"}, {"type": "RMSprop", "centered": True}, "grad_avg"),
        ({"type": "AdamW", "amsgrad": True}, {"type": "AdamW", "weight_decay": 0.5}, ""),
    ],
)
def test_a_run_goes_on_with_settings_that_ask_for_other_moments(before, now, missing, caplog):
    def learner(spec):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Conv2d(2, 1, 1))
        return Learner(net, build_optimizer(spec, net.parameters()), lambda time: 1.0)

    def step(one):
        one.backward(one.net(torch.ones(1, 1, 4, 4)).square().mean())
        check = one.check_gradient(NO_LIMIT)
        one.step(check.norm, check.ok, NO_LIMIT)

    first, resumed = learner(before), learner(now)
    step(first)
    resumed.load_state_dict(first.state_dict())
    assert missing in caplog.text and bool(missing) == ("begins without its moments" in caplog.text)
    assert resumed.has_stepped != bool(missing)
    step(resumed)
    assert all(parameter.isfinite().all() for parameter in resumed.parameters)


class Counting(torch.optim.SGD):
    """Counts its steps in its groups, as optimizers of other packages do."""

    def step(self):
        for group in self.param_groups:
            group["steps"] = group.get("steps", 0) + 1
        super().step()


def test_a_state_of_before_the_first_step_takes_back_what_was_counted_since():
    net = torch.nn.Conv2d(1, 1, 1)
    learner = Learner(net, Counting(net.parameters(), lr=0.1), lambda time: 1.0)
    before = copy.deepcopy(learner.state_dict())
    learner.backward(net(torch.ones(1, 1, 1, 1)).square().sum())
    check = learner.check_gradient(NO_LIMIT)
    learner.step(check.norm, check.ok, NO_LIMIT)
    assert learner.optimizer.param_groups[0]["steps"] == 1
    learner.load_state_dict(before)
    assert "steps" not in learner.optimizer.param_groups[0]
