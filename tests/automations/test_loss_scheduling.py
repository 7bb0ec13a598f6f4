import math
import random

import pytest
from automations.simulate import controls, drive, facts, flat, window

from traiNNer.automations import Limits, Supervisor
from traiNNer.automations.losses.loss_schedule import LossSchedule
from traiNNer.automations.losses.loss_scheduling import DynamicLossScheduling, gradient_shares
from traiNNer.events import ChangeEvent

TWO = {"loss_weights": {"l1": 1.0, "gan": 0.1}}


def scheduling(**options):
    return DynamicLossScheduling(facts=facts(**TWO), **options)


def run(gradient, *, automation=None, in_force=None, windows=400, noise=0.1, start=0, scale=1.0, seed=0):
    """Windows in which the gradient of `gan` is `gradient(step)` times that of `l1`; the factor over time."""
    automation, in_force = automation or scheduling(), in_force or controls()
    rng, measured, course = random.Random(seed), {}, []
    for k in range(1, windows + 1):
        step = start + 10 * k
        if step // 16 > (step - 10) // 16:
            ratio = gradient(step)
            measured = {"l1": scale * math.exp(rng.gauss(0, noise))}
            if ratio is not None:
                measured["gan"] = scale * ratio * math.exp(rng.gauss(0, noise))
        event = window(step, gradient_at_output=dict(measured))
        if gradient(step) is not None:
            event.losses["gan"] = [0.5] * 10
        drive(automation, [event], in_force)
        course.append((step, in_force.loss_factor.get("gan", 1.0)))
    return course


@pytest.mark.parametrize("wrong", [1e-4, 1e-2, 1.0, 1e2, 1e4])
def test_in_ratio_mode_the_weight_is_the_share_whatever_the_scale_of_the_loss(wrong):
    course = run(lambda s: wrong, automation=scheduling(auto_calibrate=True))
    late = [factor * wrong for step, factor in course if step > 400]
    assert sum(late) / len(late) == pytest.approx(1.0, rel=0.03) and 0.85 < min(late) < max(late) < 1.15
    assert dict(course)[100] * wrong == pytest.approx(1.0, rel=0.3)


def test_in_hold_mode_the_share_of_the_baseline_is_kept():
    course = run(lambda s: 5.0 if s < 1000 else 10.0, windows=1000)
    assert all(factor == pytest.approx(1.0, abs=0.15) for step, factor in course if step < 1000)
    assert all(factor == pytest.approx(0.5, rel=0.2) for step, factor in course if step > 3000)


def test_a_loss_that_is_switched_on_later_gets_its_share_within_ten_percent():
    automation = scheduling(auto_calibrate=True)

    def ratio(step):
        return None if step < 2000 else 300.0 * (1 + (step - 2000) / 4000)

    course = run(ratio, automation=automation, windows=600, noise=0.05)
    assert all(factor == 1.0 for step, factor in course if step < 2000)
    late = [factor * ratio(step) for step, factor in course if step > 2300]
    assert sum(0.9 < share < 1.1 for share in late) > 0.9 * len(late)


def test_a_gradient_that_falls_tenfold_within_a_hundred_steps_is_followed():
    """As that of a discriminator that begins to learn, measured in a run: a noise of 0.4 about a steep fall."""
    automation = scheduling(auto_calibrate=True)

    def ratio(step):
        return None if step < 240 else 10 * math.exp(-min(step - 240, 100) / 30)

    course = run(ratio, automation=automation, windows=100, noise=0.3)
    late = [math.log(factor * ratio(step)) for step, factor in course if step > 400]
    assert abs(sum(late) / len(late)) < 0.2 and max(map(abs, late)) < 1


def test_in_hold_mode_a_loss_that_is_switched_on_later_has_a_baseline_of_its_own():
    automation = scheduling(baseline_iterations=200)
    run(lambda s: None if s < 1000 else 7.0, automation=automation, windows=140)
    assert math.exp(automation.state.losses["gan"].target) == pytest.approx(7.0, rel=0.2)


def test_noise_alone_moves_factors_rarely_and_little():
    course = run(lambda s: 5.0, windows=2000, noise=0.05)
    changes = sum(a != b for (_, a), (_, b) in zip(course, course[1:], strict=False))
    assert changes < 100 and all(abs(math.log(f)) < 0.2 for _, f in course)


def test_the_scale_of_all_losses_changes_nothing():
    one, other = (run(lambda s: 1 + s / 1000, scale=c) for c in (1.0, 1000.0))
    assert [f for _, f in one] == pytest.approx([f for _, f in other])


def test_factors_rise_by_a_limited_rate_and_stay_in_their_bounds():
    course = run(lambda s: 1e9 if s < 300 else 1.0, automation=scheduling(max_weight=1e3), windows=1500)
    for (_, a), (_, b) in zip(course, course[1:], strict=False):
        assert math.log(b / a) <= 0.16 + 1e-9
    assert course[-1][1] == pytest.approx(1e3, rel=0.06)


def test_a_loss_that_takes_over_is_held_back_at_once():
    """As that of a vanilla game whose discriminator begins to win: its gradient grows thirtyfold in 200 steps."""
    automation = scheduling(auto_calibrate=True)

    def ratio(step):
        return math.exp(3.4 * min(1, max(0, step - 1000) / 200))

    shares = [factor * ratio(step + 10) for step, factor in run(ratio, automation=automation, noise=0.3)]
    assert max(shares) < 4 and sum(shares[100:130]) / 30 < 2  # 5.6 and 3.2 if falls were slow
    assert sum(shares[130:]) / len(shares[130:]) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("change", [4.0, 0.25])
def test_shares_of_a_noisy_loss_that_drifts_are_right_on_the_mean(change):
    found = []
    for seed in range(6):
        automation, rng = scheduling(auto_calibrate=True), random.Random(-seed)
        course = run(lambda s: change ** (s / 4000), automation=automation, noise=0.35, seed=seed)
        found += [f * change ** (s / 4000) * math.exp(rng.gauss(0, 0.5)) for s, f in course if s > 400]
    assert sum(found) / len(found) == pytest.approx(1.0, abs=0.05)


def test_bounds_changed_since_win_over_the_factor_that_was_reached():
    automation, in_force = scheduling(auto_calibrate=True), controls()
    run(lambda s: 1e-3, automation=automation, in_force=in_force)
    assert in_force.loss_factor["gan"] > 100
    other = scheduling(auto_calibrate=True, max_weight=10.0)
    other.load_state_dict(automation.state_dict())
    run(lambda s: 1e-3, automation=other, in_force=in_force, windows=1, start=4000)
    assert in_force.loss_factor["gan"] == pytest.approx(10.0)


def test_after_a_change_elsewhere_the_mean_begins_afresh_and_the_target_stays():
    automation = scheduling()
    run(lambda s: 5.0, automation=automation, windows=100)
    target = automation.state.losses["gan"].target
    drive(automation, [ChangeEvent(1000, 8000, "lr_factor", "x")])
    assert automation.state.losses["gan"].measured == 0
    assert automation.state.losses["gan"].target == target is not None


def test_a_gradient_of_zero_or_not_a_number_is_no_measurement():
    automation = scheduling(auto_calibrate=True)
    for k, bad in enumerate((0.0, math.nan, math.inf)):
        event = window(16 * (k + 1), gradient_at_output={"l1": 1.0, "gan": bad})
        event.losses["gan"] = [0.5] * 10
        assert flat(drive(automation, [event])) == []
    event = window(64, gradient_at_output={"l1": 0.0, "gan": 1.0})
    event.losses["gan"] = [0.5] * 10
    assert flat(drive(automation, [event])) == []


@pytest.mark.parametrize("auto_calibrate", [False, True])
def test_every_decision_states_a_deviation_beyond_what_is_tolerated(auto_calibrate):
    """Where a share that was off is made up for, the newest mean alone may lie within it."""
    automation, in_force = scheduling(auto_calibrate=auto_calibrate), controls()
    rng, found = random.Random(1), []
    for step in range(16, 4000, 16):
        event = window(step, gradient_at_output={"l1": 1.0, "gan": math.exp(rng.gauss(1, 0.2) + 5e-4 * step)})
        event.losses["gan"] = [0.5] * 10
        found += flat(drive(automation, [event], in_force))
    assert len(found) > 10 and all(decision.statistic > decision.limit for decision in found)


def test_the_decision_names_the_losses_and_the_deviation():
    automation = scheduling(auto_calibrate=True)
    event = window(16, gradient_at_output={"l1": 1.0, "gan": 100.0})
    event.losses["gan"] = [0.5] * 10
    decision = flat(drive(automation, [event]))[0]
    assert decision.reason.startswith("gradient share of gan") and "(gan 1 -> 0.01)" in decision.reason
    assert decision.factors == {"gan": pytest.approx(0.01)} and decision.statistic > decision.limit


OPTIONS = [
    {"momentum": 0.5},
    {"baseline_iterations": 600},
    {"adaptation_threshold": 0.5},
    {"adaptation_rate": 0.001},
    {"min_weight": 0.5},
    {"max_weight": 1.2},
    {"auto_calibrate": True},
]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda o: next(iter(o)))
def test_every_option_changes_behaviour(option):
    def course(step):
        return 2.0 * (1 + step / 500) if step < 2000 else 0.1

    assert run(course) != run(course, automation=scheduling(**option))


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="momentum"):
        scheduling(momentum=1.0)
    with pytest.raises(ValueError, match="min_weight"):
        scheduling(min_weight=2.0)


def test_shares_of_the_gradient_sum_to_one():
    shares = gradient_shares({"l1": 1.0, "gan": 10.0}, {"l1": 1.0, "gan": 0.1}, {"gan": 3.0})
    assert shares == {"l1": pytest.approx(0.25), "gan": pytest.approx(0.75)}
    assert gradient_shares({"l1": 0.0}, {}, {}) == {"l1": 0.0}


def test_a_loss_without_a_schedule_keeps_its_weight():
    assert [LossSchedule().weight(step, 0.3) for step in (0, 10**6)] == [0.3, 0.3]
    assert LossSchedule().settled_from == 0


@pytest.mark.parametrize("kind, middle", [("linear", 0.5), ("cosine", 0.5), ("step", 0.0)])
def test_a_weight_of_zero_may_rise_to_a_target(kind, middle):
    plan = LossSchedule(
        start_iter=100, target_iter=200, target_weight=1.0, disable_after=300, schedule_type=kind
    )
    assert [plan.weight(s, 0.0) for s in (99, 100, 200, 300, 301)] == [0.0, 0.0, 1.0, 1.0, 0.0]
    assert plan.weight(150, 0.0) == pytest.approx(middle)
    assert [plan.on(s) for s in (99, 100, 300, 301)] == [False, True, True, False]
    assert plan.settled_from == 200


def test_the_shapes_of_a_rise():
    def quarter(kind):
        return LossSchedule(target_iter=100, target_weight=3.0, schedule_type=kind).weight(25, 1.0)

    assert quarter("linear") == pytest.approx(1.5)
    assert quarter("cosine") == pytest.approx(1 + 2 * (1 - math.cos(math.pi / 4)) / 2)


def test_contradictory_schedules_are_refused():
    for wrong in ({"target_iter": 5}, {"start_iter": 9, "target_iter": 5, "target_weight": 1.0},
                  {"start_iter": 9, "disable_after": 5}):  # fmt: skip
        with pytest.raises(ValueError, match="target|disable"):
            LossSchedule(**wrong)


def test_a_measurement_counts_once_whatever_else_is_measured():
    """Where one loss has no gradient for a while, such as a margin that is met, the others' measurements go on."""
    courses = []
    for pauses in (False, True):
        automation, in_force = scheduling(auto_calibrate=True, baseline_iterations=1), controls()
        measured = {"l1": 1.0, "gan": 1.0, "far": 1.0}
        for step in range(10, 2_000, 10):
            gan = 1.0 if step < 200 else 3.0 if step == 200 else 0.0
            if pauses or gan:
                event = window(step, gradient_at_output=measured | {"gan": gan, "far": 1 + step / 1e3})
                event.losses.update({"gan": [0.5] * 10, "far": [0.5] * 10})
                drive(automation, [event], in_force)
        courses.append((in_force.loss_factor["gan"], automation.state.losses["gan"].made_up))
    assert courses[0] == courses[1]


def test_one_that_only_monitors_says_what_it_would_say_if_it_acted():
    """And not the same at every measurement of the run."""
    courses = []
    for limits in (Limits(), Limits(monitor_only=True)):
        supervisor, in_force, rng = (
            Supervisor({"s": scheduling(auto_calibrate=True)}, {"s": limits}),
            controls(),
            random.Random(3),
        )
        said = []
        for step in range(10, 3_000, 10):
            event = window(step, gradient_at_output={"l1": 1.0, "gan": 30.0 * math.exp(rng.gauss(0, 0.1))})
            event.losses["gan"] = [0.5] * 10
            for proposal in supervisor.react(event, in_force):
                said.append((step, proposal.decision.factors))
                if proposal.applied:
                    proposal.decision.apply(in_force)
        courses.append(said)
    assert courses[0] == courses[1] and len(courses[0]) < 100
