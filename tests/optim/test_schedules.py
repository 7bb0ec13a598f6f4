import math
import warnings

import pytest
import torch
from torch.optim import lr_scheduler

from traiNNer.control import from_plain, to_plain
from traiNNer.optim.schedules import SCHEDULES, ReduceLROnPlateau, warmup
from traiNNer.registry import ConfigError

BASE, TOTAL = 2e-4, 60
GIVEN = {"base_lr": BASE, "total_iter": TOTAL}

SPECS = [
    {"type": "constant"},
    {"type": "MultiStepLR", "milestones": [20, 10, 45, 45], "gamma": 0.5},
    {"type": "CosineAnnealingLR", "eta_min": 1e-6},
    {"type": "CosineAnnealingLR", "T_max": 25, "eta_min": 1e-5},
    {
        "type": "CosineAnnealingRestartLR",
        "periods": [10, 20, 30],
        "restart_weights": [1, 0.5, 0.25],
        "eta_min": 1e-7,
    },
    {"type": "LinearLR"},
    {"type": "WSD", "decay_share": 0.25, "shape": "linear", "eta_min": 1e-6},
    {"type": "ReduceLROnPlateau"},
    {"type": "StepLR", "step_size": 7, "gamma": 0.5},
    {"type": "ExponentialLR", "gamma": 0.95},
    {"type": "PolynomialLR", "power": 2.0},
    {"type": "CosineAnnealingWarmRestarts", "T_0": 5, "T_mult": 2, "eta_min": 1e-6},
    {"type": "OneCycleLR", "pct_start": 0.25},
    {"type": "CosineAnnealingWarmup", "warmup_steps": 6, "T_max": 40, "eta_min": 1e-6},
]


def build(**spec):
    return SCHEDULES.build(spec, **GIVEN)


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)


def rates_of_torch(make, steps):
    sgd = optimizer()
    scheduler = make(sgd)
    rates = []
    for _ in range(steps):
        rates.append(sgd.param_groups[0]["lr"])
        sgd.step()
        scheduler.step()
    return rates


TORCH = [
    (SPECS[0], lambda sgd: lr_scheduler.ConstantLR(sgd, factor=1.0)),
    (SPECS[1], lambda sgd: lr_scheduler.MultiStepLR(sgd, [20, 10, 45, 45], gamma=0.5)),
    (SPECS[2], lambda sgd: lr_scheduler.CosineAnnealingLR(sgd, TOTAL, eta_min=1e-6)),
    (SPECS[3], lambda sgd: lr_scheduler.CosineAnnealingLR(sgd, 25, eta_min=1e-5)),
    (SPECS[8], lambda sgd: lr_scheduler.StepLR(sgd, 7, 0.5)),
    (SPECS[9], lambda sgd: lr_scheduler.ExponentialLR(sgd, 0.95)),
    (SPECS[10], lambda sgd: lr_scheduler.PolynomialLR(sgd, TOTAL, 2.0)),
    (SPECS[11], lambda sgd: lr_scheduler.CosineAnnealingWarmRestarts(sgd, 5, 2, 1e-6)),
    (
        {"type": "CosineAnnealingWarmRestarts", "T_0": 9},
        lambda sgd: lr_scheduler.CosineAnnealingWarmRestarts(sgd, 9),
    ),
    (SPECS[5], lambda sgd: lr_scheduler.LinearLR(sgd, 1.0, 0.0, TOTAL)),
    (
        {"type": "linear", "start_factor": 0.5, "end_factor": 0.1, "total_iters": 30},
        lambda sgd: lr_scheduler.LinearLR(sgd, 0.5, 0.1, 30),
    ),
    (
        SPECS[-1],
        lambda sgd: lr_scheduler.SequentialLR(
            sgd,
            [
                lr_scheduler.LinearLR(sgd, 1 / 6, 1.0, 5),
                lr_scheduler.CosineAnnealingLR(sgd, 34, eta_min=1e-6),
                lr_scheduler.ConstantLR(sgd, 1e-6 / BASE, TOTAL),
            ],
            [6, 40],
        ),
    ),
]


@pytest.mark.parametrize(
    ("spec", "make"), TORCH, ids=lambda value: value["type"] if isinstance(value, dict) else ""
)
def test_schedules_equal_those_of_torch_over_a_run(spec, make):
    schedule = build(**spec)
    expected = rates_of_torch(make, TOTAL + 20)
    # torch computes the cosine by a recursion, which is why it differs in the twelfth digit
    assert [BASE * schedule(step) for step in range(TOTAL + 20)] == pytest.approx(
        expected, rel=1e-9, abs=1e-15
    )


@pytest.mark.parametrize(
    "options",
    [{"pct_start": 0.25}, {"anneal_strategy": "linear", "div_factor": 10.0, "final_div_factor": 2.0}],
    ids=["cos", "linear"],
)
def test_one_cycle_equals_that_of_torch_and_stays_at_its_end(options):
    schedule = build(type="OneCycleLR", **options)
    expected = rates_of_torch(
        lambda sgd: lr_scheduler.OneCycleLR(sgd, BASE, TOTAL, cycle_momentum=False, **options), TOTAL
    )
    assert [BASE * schedule(step) for step in range(TOTAL)] == pytest.approx(expected, rel=1e-9)
    assert schedule(TOTAL + 20) == schedule(TOTAL - 1)


def test_restarts_equal_the_formula_of_basicsr():
    periods, weights, low = [10, 20, 30], [1, 0.5, 0.25], 1e-7
    schedule = build(**SPECS[4])

    def expected(step):
        passed = 0
        for period, weight in zip(periods, weights, strict=True):
            if step <= passed + period:
                wave = 1 + math.cos(math.pi * (step - passed) / period)
                return low + weight * 0.5 * (BASE - low) * wave
            passed += period
        return low

    rates = [BASE * schedule(step) for step in range(TOTAL + 5)]
    assert rates == pytest.approx([expected(step) for step in range(TOTAL + 5)], rel=1e-12)


def test_restarts_with_a_lowest_rate_for_each_period():
    schedule = build(type="CosineAnnealingRestartCyclicLR", periods=[10, 50], eta_mins=[1e-4, 1e-6])
    assert BASE * schedule(0) == pytest.approx(BASE)
    assert BASE * schedule(10) == pytest.approx(1e-4)
    assert BASE * schedule(35) == pytest.approx((BASE + 1e-6) / 2)
    assert BASE * schedule(60) == pytest.approx(1e-6)
    assert BASE * schedule(1000) == pytest.approx(1e-6)


@pytest.mark.parametrize(
    ("shape", "middle"), [("linear", 0.5), ("sqrt", 1 - math.sqrt(0.5)), ("cosine", 0.5)]
)
def test_wsd_is_stable_and_decays_at_the_end(shape, middle):
    schedule = build(type="wsd", decay_share=0.2, shape=shape)
    assert [schedule(step) for step in (0, 20, 48)] == pytest.approx([1, 1, 1])
    assert schedule(54) == pytest.approx(middle)
    assert schedule(60) == pytest.approx(0, abs=1e-12)
    assert schedule(70) == pytest.approx(0, abs=1e-12)
    quarter = {"linear": 0.75, "sqrt": 0.5, "cosine": (1 + math.cos(math.pi / 4)) / 2}[shape]
    assert schedule(51) == pytest.approx(quarter)


def test_wsd_ends_at_the_lowest_rate():
    assert BASE * build(type="WSD", eta_min=1e-6)(TOTAL) == pytest.approx(1e-6)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["type"])
def test_every_schedule_stays_between_0_and_1_and_has_no_memory(spec):
    schedule = build(**spec)
    steps = [step / 4 for step in range(4 * TOTAL)]
    forward = [schedule(step) for step in steps]
    assert all(0 <= factor <= 1 for factor in forward)
    assert [schedule(step) for step in reversed(steps)] == forward[::-1]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["type"])
def test_a_step_that_is_rounded_down_a_little_means_the_same(spec):
    schedule = build(**spec)
    for step in range(1, TOTAL + 1):
        assert schedule(math.nextafter(step, 0)) == pytest.approx(schedule(step), rel=1e-9, abs=1e-12)


def test_every_schedule_of_the_registry_is_in_these_tests():
    assert {SCHEDULES.own_name(spec["type"]) for spec in SPECS} == set(SCHEDULES.names())


def test_warmup_learns_at_step_0_and_rises_in_a_line():
    assert [warmup(step, 4) for step in (0, 1, 2.5, 3, 4, 100)] == [0.25, 0.5, 0.875, 1, 1, 1]
    assert [warmup(0, off) for off in (0, -1)] == [1, 1]


SCORES = [
    30,
    31,
    31.001,
    31.002,
    30.5,
    31.0,
    30.9,
    30.8,
    30.7,
    30,
    30,
    30,
    33,
    32,
    32,
    32,
    32,
    32,
    32,
    32,
    32,
]
PLATEAUS = [
    {},
    {"patience": 0, "cooldown": 0},
    {"patience": 1, "cooldown": 2, "factor": 0.1, "min_lr": 1e-5},
    {"threshold": 0.5, "threshold_mode": "abs", "patience": 2},
]


@pytest.mark.parametrize("options", PLATEAUS)
@pytest.mark.parametrize("higher_is_better", [True, False])
def test_plateau_equals_torch(options, higher_is_better):
    schedule = build(type="ReduceLROnPlateau", **options)
    assert isinstance(schedule, ReduceLROnPlateau)
    sgd = optimizer()
    mode = "max" if higher_is_better else "min"
    settings = {"factor": 0.5, "patience": 3, "cooldown": 1, "eps": 0.0} | options
    theirs = lr_scheduler.ReduceLROnPlateau(sgd, mode=mode, **settings)
    scores = SCORES if higher_is_better else [100 - score for score in SCORES]
    for score in scores:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs.step(score)
        schedule.observe(score, higher_is_better=higher_is_better)
        assert BASE * schedule(0) == pytest.approx(sgd.param_groups[0]["lr"], rel=1e-12)
    assert schedule(0) < 1


def test_plateau_goes_on_from_its_state():
    whole = build(type="plateau", patience=1)
    for split in range(len(SCORES)):
        first, second = build(type="plateau", patience=1), build(type="plateau", patience=1)
        for score in SCORES[:split]:
            first.observe(score, higher_is_better=True)
        second.state = from_plain(ReduceLROnPlateau.State, to_plain(first.state))
        for score in SCORES[split:]:
            second.observe(score, higher_is_better=True)
        if split == 0:
            whole = second
        assert second.state == whole.state
    assert whole.state.factor < 1


WRONG = [
    ({"type": "CosineAnnealingLR", "eta_min": 1e-3}, "eta_min must lie between 0 and the learning rate"),
    ({"type": "CosineAnnealingLR", "t_max": 5}, "did you mean 'T_max'"),
    ({"type": "CosineAnnealingLR", "T_max": 0}, "T_max must be at least 1"),
    ({"type": "CosineAnnealingLR", "T_max": "all"}, "T_max: should be a whole number"),
    ({"type": "MultiStepLR"}, "^schedule 'MultiStepLR': needs 'milestones'$"),
    ({"type": "MultiStepLR", "milestones": [5], "gamma": 2}, "gamma must lie between"),
    (
        {"type": "CosineAnnealingRestartLR", "periods": [5, 5], "restart_weights": [1]},
        "2 periods need as many",
    ),
    ({"type": "CosineAnnealingRestartLR", "periods": [5, 0]}, "at least 1 step each"),
    ({"type": "CosineAnnealingRestartLR", "periods": [5], "restart_weights": [2]}, "between 0 and 1"),
    ({"type": "LinearLR", "end_factor": 2}, "factors must lie between"),
    ({"type": "LinearLR", "total_iters": 0}, "total_iters must be at least 1"),
    ({"type": "WSD", "decay_share": 0}, "decay_share must lie"),
    ({"type": "WSD", "shape": "steep"}, "shape: "),
    ({"type": "ReduceLROnPlateau", "factor": 1}, "factor must lie"),
    ({"type": "ReduceLROnPlateau", "min_lr": 1}, "min_lr must lie"),
    ({"type": "CosineAnealingLR"}, "did you mean 'CosineAnnealingLR'"),
]


@pytest.mark.parametrize(("spec", "message"), WRONG)
def test_a_wrong_schedule_is_explained(spec, message):
    with pytest.raises(ConfigError, match=message):
        SCHEDULES.build(spec, **GIVEN)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_moves_no_plateau(value):
    schedule = build(type="ReduceLROnPlateau", patience=1)
    for score in (value, 20.0, *[value] * 10):
        schedule.observe(score, higher_is_better=True)
    assert (schedule(0), schedule.state.best, schedule.state.bad) == (1.0, 20.0, 0)
