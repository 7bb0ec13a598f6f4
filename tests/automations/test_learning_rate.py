import math
import random

import pytest
from automations.simulate import controls, drive, facts, flat, noisy, validation, window

from traiNNer.automations.rate.learning_rate import IntelligentLearningRateScheduler
from traiNNer.automations.rate.lr_decisions import in_words
from traiNNer.control import Ramp, RollBack, RunTrial, SetLearningRateFactor, Stop
from traiNNer.events import ChangeEvent, RequestEvent, TrialEvent

STEPS = 20_000


def scheduler(**options):
    changes = {
        k: options.pop(k) for k in ("ema_decay", "precision", "loss_weights", "scores_trials") if k in options
    }
    return IntelligentLearningRateScheduler(facts=facts(**changes), **options)


def run(level, *, cv=0.18, steps=STEPS, seed=0, automation=None, in_force=None, **changes):
    """(step, decision) of a run whose mean loss is `level(step)`."""
    rng, automation = random.Random(seed), automation or scheduler()
    in_force = in_force or controls()
    found = []
    for step in range(10, steps + 1, 10):
        event = window(step, losses=noisy(rng, level(step), cv), **{"progress": step / steps, **changes})
        found += [(step, decision) for decision in drive(automation, [event], in_force)[0]]
    return found


def flat_loss(step):
    return 0.05


def falling(step):
    return 0.05 * 0.95 ** (step / 1000)


@pytest.mark.parametrize("cv", [0.05, 0.12, 0.25, 0.4])
def test_noise_triggers_no_cut_in_a_run_that_improves(cv):
    for seed in range(2):
        found = run(falling, cv=cv, seed=seed)
        factors = [1.0, *(d.factor for _, d in found)]
        assert factors == sorted(factors)


@pytest.mark.parametrize("cv", [0.05, 0.18, 0.4])
def test_noise_is_never_taken_for_divergence_and_the_bounds_hold(cv):
    for seed in range(3):
        for _, decision in run(flat_loss, cv=cv, seed=10 + seed):
            assert "plateau" in decision.reason
            assert 0.1 <= decision.factor <= 2.0


def test_a_plateau_is_found_soon_after_the_free_first_third_with_the_words_that_users_know():
    (step, first), *rest = run(flat_loss, cv=0.12)
    assert 0.3 * STEPS <= step <= 0.3 * STEPS + 1000
    assert first.reason.startswith("plateau detection (")
    assert first.factor == pytest.approx(0.8) and rest[0][0] >= step + 1000
    assert first.statistic < first.limit == 0.02


def test_the_factor_stops_at_its_lower_bound():
    in_force = controls()
    run(flat_loss, cv=0.05, in_force=in_force, steps=60_000)
    assert in_force.lr_factor == 0.1


def test_plateaus_of_the_last_annealing_are_expected():
    assert run(flat_loss, cv=0.05, schedule=0.29) == []
    assert run(flat_loss, cv=0.05, schedule=0.31) != []


def test_a_loss_plateau_is_no_plateau_while_the_images_still_improve():
    automation, in_force, rng = scheduler(), controls(), random.Random(1)
    for step in range(10, 20_001, 10):
        drive(automation, [window(step, losses=noisy(rng, 0.05, 0.05), progress=0.5)], in_force)
        if step % 500 == 0:
            scores = [28 + 0.05 * step / 1000 + i for i in range(5)]
            drive(automation, [validation(step, scores)], in_force)
    assert in_force.lr_factor == 1.0


def test_a_slow_divergence_halves_the_rate():
    found = run(
        lambda s: 0.05 * (1.0 if s < 3000 else 1.15 ** ((s - 3000) / 1000)), cv=0.12, steps=8000, progress=0.2
    )
    step, first = found[0]
    assert first.reason.startswith("divergence") and first.factor == 0.5 and step < 6500
    assert f"rose by {math.exp(first.statistic) - 1:.1%}" in first.reason
    assert first.statistic > first.limit


@pytest.mark.parametrize("cv", [0.03, 0.05, 0.12, 0.25])
def test_a_rising_loss_is_a_divergence_and_no_plateau_however_little_noise_there_is(cv):
    def level(step):
        return 0.05 * 0.9 ** (min(step, 3000) / 1000) * 1.15 ** (max(0, step - 3000) / 1000)

    step, first = run(level, cv=cv, steps=6000, progress=0.5)[0]
    assert first.reason.startswith("divergence") and first.factor == 0.5 and step <= 5000


def test_a_review_needs_new_levels():
    """The second of two reviews in a row would else be of the same windows as the first."""
    automation, in_force, nothing = scheduler(), controls(), [math.nan] * 5
    rising = [0.05 * 1.3 ** (k / 100) * (1 + 0.01 * (k % 2)) for k in range(1, 101)]
    windows = [window(10 * k, losses=[loss] * 10, progress=0.1) for k, loss in enumerate(rising, 1)]
    assert drive(automation, [*windows, window(1005, losses=nothing, progress=0.1)], in_force)[-1] == []
    assert automation.state.rising == 1


def test_a_loss_times_1000_changes_no_decision():
    def level(step):
        return 0.05 * (1.0 if step < 9000 else 1.1 ** ((step - 9000) / 1000))

    small, large = run(level, seed=3), run(lambda s: 1000 * level(s), seed=3)
    assert len(small) >= 2
    assert [(s, d.factor, type(d)) for s, d in small] == [(s, d.factor, type(d)) for s, d in large]


def blow_up(automation, in_force, at, windows=40):
    """Healthy windows, then a loss twenty times as high; the decisions."""
    rng, found = random.Random(at), []
    for k in range(1, windows + 1):
        level = 0.05 if k <= windows // 2 else 1.0
        event = window(at + 10 * k, losses=noisy(rng, level, 0.3), progress=0.1)
        found += flat(drive(automation, [event], in_force))
    return found


def test_a_blow_up_returns_to_the_healthy_weights_three_times_and_then_stops():
    automation, in_force = scheduler(), controls()
    found = [d for i in range(5) for d in blow_up(automation, in_force, 1000 * i)]
    assert [type(d) for d in found] == [RollBack] * 3 + [Stop]
    assert [d.factor for d in found[:3]] == [0.25, 0.1, 0.1]
    assert found[0].rewarm.length == 100 * 8
    stop = found[3]
    assert stop.rule == "broken" and stop.restore_best and stop.level == "ERROR" and not stop.counts


@pytest.mark.parametrize(
    ("made", "told"), [(3, "blew up again after 3 returns ("), (1, " 3 returns were asked for, 1 made (")]
)
def test_a_stop_counts_the_returns_that_were_made(made, told):
    """One that is frozen or only monitors asks for them in vain."""
    automation, in_force = scheduler(), controls()
    for i in range(3):
        blow_up(automation, in_force, 1000 * i)
        applied = [ChangeEvent(1000 * i, 8000 * i, "lr_factor", automation.name)] if i < made else []
        drive(automation, applied, in_force)
    (stop,) = blow_up(automation, in_force, 3000)
    assert told in stop.reason


def test_corrupted_batches_are_no_blow_up():
    automation, in_force, rng = scheduler(), controls(), random.Random(2)
    for step in range(10, 5000, 10):
        losses = [v * (1e4 if rng.random() < 0.03 else 1) for v in noisy(rng, 0.05, 0.2)]
        assert flat(drive(automation, [window(step, losses=losses, progress=0.1)], in_force)) == []


@pytest.mark.parametrize("precision, expected", [("fp32", 1), ("fp16", 0)])
def test_steps_that_are_not_finite_are_a_blow_up_unless_they_are_the_routine_of_fp16(precision, expected):
    automation = scheduler(precision=precision)
    norms = [math.inf] * 2 + [0.03] * 8
    events = [window(10 * k, norms=norms, progress=0.1) for k in range(1, 8)]
    assert len(flat(drive(automation, events))) == expected


def test_a_single_step_that_is_not_finite_changes_nothing():
    norms = [math.nan] + [0.03] * 9
    events = [window(10 * k, norms=norms if k % 5 == 0 else None, progress=0.1) for k in range(1, 100)]
    assert flat(drive(scheduler(), events)) == []


def test_weights_that_are_not_finite_are_a_blow_up_at_once_and_a_collapsed_metric_after_two_validations():
    event = validation(3000, [30.0, 31.0], weights_finite=False)
    assert isinstance(flat(drive(scheduler(), [event]))[0], RollBack)
    scores = [validation(s, [v, v + 1]) for s, v in ((2000, 30.0), (3000, 26.0), (4000, 26.0))]
    answers = drive(scheduler(), scores)
    assert [len(a) for a in answers] == [0, 0, 1] and isinstance(answers[2][0], RollBack)


def test_healthy_tells_when_a_snapshot_is_worth_taking():
    automation = scheduler()
    drive(automation, [validation(2000, [30.0, 31.0])])
    assert automation.healthy
    drive(automation, [validation(3000, [25.0, 26.0])])
    assert not automation.healthy


def validations(automation, scores, *, every=1000, start=0):
    in_force, found = controls(), []
    for index, value in enumerate(scores):
        step = start + every * (index + 1)
        drive(automation, [window(step, progress=0.5)], in_force)
        for decision in flat(drive(automation, [validation(step, [value, value + 1, value - 1])], in_force)):
            found.append((step, decision))
    return found


def test_a_validation_plateau_cuts_the_rate_and_gains_do_not():
    found = validations(scheduler(), [30, 30.1, 30.1, 30.1, 30.1])
    assert found[0][0] == 4000 and "validation plateau" in found[0][1].reason
    assert validations(scheduler(), [30, 30.1, 30.2, 30.3, 30.4]) == []


def test_after_a_cut_validations_of_the_running_average_have_to_wait():
    scores = [30.0] * 12
    fast, slow = (validations(scheduler(ema_decay=d), scores) for d in (0.0, 0.999))
    assert len(slow) < len(fast)
    assert slow[1][0] - slow[0][0] >= 3000 + 1000


def test_scores_below_bicubic_are_not_acted_upon():
    automation, in_force = scheduler(), controls()
    events = [validation(1000 * k, [15 + k / 10, 16 + k / 10, 15 + k / 10]) for k in range(1, 12)]
    assert flat(drive(automation, [window(500), *events], in_force)) == []


def standing(gain, *, start=0, count=4):
    """Validations below bicubic (20 dB) that rise by `gain` each."""
    scores = [[15 + gain * k, 16 + gain * k, 15.1 + gain * k] for k in range(count)]
    return [validation(1000 * (start + k + 1), images) for k, images in enumerate(scores)]


@pytest.mark.parametrize("gain, expected", [(0.5, 0), (0.005, 1), (0.0, 1)])
def test_a_network_that_stands_still_below_bicubic_is_tried_and_one_that_will_get_there_is_not(
    gain, expected
):
    events = [window(500), *standing(gain)]  # 50,000 steps: 25 dB or 0.25 dB to come
    assert flat(drive(scheduler(scores_trials=False), events)) == []  # no loss could tell the arms apart
    found = flat(drive(scheduler(), events))
    assert [type(decision) for decision in found] == [RunTrial] * expected
    for decision in found:
        assert [(arm.lr_factor, arm.restored) for arm in decision.arms] == [(1.0, False), (0.25, True)]
        assert decision.steps == 500 and not decision.counts


@pytest.mark.parametrize(
    "back, damaged",
    [
        (-0.3, True),  # the return has the lower loss by 30 %
        (0.0, False),  # as where the rate is so low that nothing is learned
        (-0.015, False),
        (0.2, False),  # a slow network is ahead of its own start
    ],
)
def test_only_a_trial_that_a_return_wins_shows_damage(back, damaged):
    automation, in_force, rng = scheduler(), controls(), random.Random(5)
    asked = flat(drive(automation, [window(500), *standing(0.0)], in_force))[0]
    ahead = [rng.gauss(-3, 0.3) for _ in range(8)]
    scores = [ahead, [value + back + rng.gauss(0, 0.005) for value in ahead]]
    found = flat(drive(automation, [TrialEvent(4000, 32_000, asked.arms, scores)], in_force))
    assert [type(decision) for decision in found] == [RollBack] * damaged
    assert in_force.lr_factor == (0.25 if damaged else 1.0)


def test_a_trial_that_failed_changes_nothing_and_one_in_which_going_on_fails_shows_damage():
    for scores, expected in (([[-3.0] * 8, []], 0), ([[], [-3.0] * 8], 1)):
        automation, in_force = scheduler(), controls()
        asked = flat(drive(automation, [window(500), *standing(0.0)], in_force))[0]
        found = flat(drive(automation, [TrialEvent(4000, 32_000, asked.arms, scores)], in_force))
        assert len(found) == expected


def test_there_are_two_trials_at_most_a_fifth_of_the_run_apart():
    automation, in_force = scheduler(), controls()
    asked = []
    for event in standing(0.0, count=50):
        for decision in flat(drive(automation, [window(event.step - 10), event], in_force)):
            asked.append(event.step)
            same = [[-3.0] * 8] * 2
            drive(automation, [TrialEvent(event.step, 8 * event.step, decision.arms, same)], in_force)
    assert len(asked) == 2 and min(b - a for a, b in zip(asked, asked[1:], strict=False)) >= 10_000


def test_without_validation_in_its_eyes_there_is_no_trial():
    assert flat(drive(scheduler(monitor_validation=False), [window(500), *standing(0.0)])) == []


def test_weights_below_bicubic_are_not_worth_returning_to():
    automation = scheduler()
    assert automation.healthy  # the start is
    drive(automation, [validation(500, [15.0, 16.0])])
    assert not automation.healthy
    drive(automation, [validation(1000, [25.0, 26.0])])
    assert automation.healthy


@pytest.mark.parametrize("total, patience", [(50_000, 1000), (5000, 500)])
def test_where_no_patience_is_given_a_short_run_has_a_tenth_of_itself(total, patience):
    def decisions(**options):
        run_facts = facts(total_iter=total)
        automation = IntelligentLearningRateScheduler(facts=run_facts, **options)
        return [(step, d.factor) for step, d in run(flat_loss, automation=automation, steps=5000)]

    assert decisions() == decisions(plateau_patience=patience) != []
    assert decisions() != decisions(plateau_patience=1500 - patience)


def test_other_changes_begin_the_statistics_afresh():
    automation = scheduler()
    found = []
    for step in range(10, 10_001, 10):
        found += flat(drive(automation, [window(step, losses=[0.05, 0.0501] * 5, progress=0.5)]))
        if step % 500 == 0:
            drive(automation, [ChangeEvent(step, step, "batch", "DynamicBatchSizeOptimizer")])
    assert found == []


def test_small_changes_of_loss_factors_do_not_reset_and_do_not_look_like_progress():
    automation = scheduler(loss_weights={"l1": 1.0, "ssim": 1.0})
    in_force, found, rng = controls(), [], random.Random(0)
    for step in range(10, 5001, 10):
        in_force.loss_factor["ssim"] = 1.0 - 0.15 * step / 5000
        a, b = noisy(rng, 0.05, 0.1), noisy(rng, 0.05, 0.1)
        total = [x + in_force.loss_factor["ssim"] * y for x, y in zip(a, b, strict=True)]
        event = window(step, losses=total, progress=0.5)
        event.losses.clear()
        event.losses.update(l1=a, ssim=b)
        found += flat(drive(automation, [event], in_force))
        drive(automation, [ChangeEvent(step, step, "loss_factor", "DynamicLossScheduling")], in_force)
    assert found and "plateau" in found[0].reason


def test_losses_that_are_not_positive_are_left_out():
    automation = scheduler(loss_weights={"l1": 1.0, "gan": 1.0})
    rng, found = random.Random(0), []
    for step in range(10, 5001, 10):
        a, b = noisy(rng, 0.05, 0.1), [rng.gauss(-1, 1) for _ in range(10)]
        event = window(step, losses=a, progress=0.5)
        event.losses["gan"] = b
        found += flat(drive(automation, [event]))
    assert found and all("plateau" in d.reason for d in found)


def test_the_rate_grows_only_where_allowed_and_a_divergence_returns_for_good():
    def level(step):
        return 0.05 * 0.9 ** (min(step, 9000) / 1000) * 1.2 ** (max(0, step - 9000) / 1000)

    assert run(lambda s: 0.05 * 0.9 ** (s / 1000), cv=0.1, automation=scheduler(max_lr_factor=1.0)) == []
    found = run(level, cv=0.1, steps=14_000)
    factors = [d.factor for _, d in found]
    assert factors[:2] == pytest.approx([1.1, 1.21]) and "sustained improvement" in found[0][1].reason
    assert factors[2] == pytest.approx(1.1) and "divergence" in found[2][1].reason
    assert max(factors[2:]) <= 1.1


def test_a_divergence_takes_back_the_growth_before_it_and_no_cut():
    """Else it would raise the rate."""

    def level(step):
        return 0.05 * 0.9 ** (min(step, 4000) / 1000) * 1.2 ** (max(0, step - 4000) / 1000)

    automation, in_force = scheduler(), controls()
    run(level, cv=0.1, steps=4000, automation=automation, in_force=in_force)
    assert in_force.lr_factor == pytest.approx(1.1)
    drive(automation, [RequestEvent(4000, "lr_factor", 0.5, "x", "y")], in_force)
    _, first = run(lambda s: level(4000 + s), cv=0.1, steps=4000, automation=automation, in_force=in_force)[0]
    assert "divergence" in first.reason and first.factor == pytest.approx(0.275)


def test_a_divergence_after_a_growth_that_was_not_made_is_a_cut():
    """As of one that only monitors, or is frozen."""

    def level(step):
        return 0.05 * 0.9 ** (min(step, 4000) / 1000) * 1.2 ** (max(0, step - 4000) / 1000)

    automation, rng, found = scheduler(), random.Random(0), []
    for step in range(10, 7001, 10):
        automation.observe(window(step, losses=noisy(rng, level(step), 0.1), progress=0.2))
        found += automation.decide(controls())
    assert [d.factor for d in found[:2]] == [pytest.approx(1.1), 0.5]


def test_the_rate_does_not_grow_back_after_a_cut():
    automation, in_force = scheduler(), controls()
    drive(automation, [window(10), RequestEvent(10, "lr_factor", 0.5, "x", "y")], in_force)
    run(lambda s: 0.05 * 0.8 ** (s / 1000), cv=0.05, automation=automation, in_force=in_force)
    assert in_force.lr_factor == 0.5


def test_a_request_is_granted_within_the_bounds():
    automation = scheduler()
    event = RequestEvent(100, "lr_factor", 0.5, "GradientFlowStabilizer", "explosions")
    decision = flat(drive(automation, [event]))[0]
    assert isinstance(decision, SetLearningRateFactor) and decision.factor == 0.5
    assert "GradientFlowStabilizer" in decision.reason
    assert flat(drive(automation, [RequestEvent(1, "clip", 0.5, "x", "y")])) == []


def test_while_the_last_annealing_runs_nothing_but_a_blow_up_counts():
    in_force = controls(cooldown=Ramp(0, 10**9))
    assert run(flat_loss, cv=0.05, in_force=in_force) == []


def test_a_changed_bound_wins_over_what_was_reached_before():
    in_force = controls(lr_factor=0.2)
    found = flat(drive(scheduler(min_lr_factor=0.5), [window(10)], in_force))
    assert in_force.lr_factor == 0.5 and "bounds" in found[0].reason


def test_the_fallback_never_raises_the_rate():
    assert scheduler().fallback(controls(lr_factor=0.25)) == ()
    assert scheduler().fallback(controls(lr_factor=1.5))[0].factor == 1.0


def test_the_base_schedule_of_the_fallback_is_cosine_unless_written():
    assert scheduler().base_schedule.scheduler_type == "cosine"


OPTIONS = [
    ({"adaptation_threshold": 0.02}, {"adaptation_threshold": 0.2}, falling),
    ({"plateau_patience": 1000}, {"plateau_patience": 3000}, flat_loss),
    ({"min_lr_factor": 0.1}, {"min_lr_factor": 0.7}, flat_loss),
    ({"max_lr_factor": 2.0}, {"max_lr_factor": 1.05}, lambda s: 0.05 * 0.8 ** (s / 1000)),
    ({"monitor_loss": True}, {"monitor_loss": False}, flat_loss),
]


@pytest.mark.parametrize("first, second, level", OPTIONS)
def test_every_option_on_the_loss_changes_behaviour(first, second, level):
    a, b = (run(level, cv=0.05, automation=scheduler(**options)) for options in (first, second))
    assert [(s, d.factor) for s, d in a] != [(s, d.factor) for s, d in b]


VALIDATION_OPTIONS = [
    {"improvement_threshold": 0.2},
    {"plateau_patience": 5000},
    {"monitor_validation": False},
]


@pytest.mark.parametrize("option", VALIDATION_OPTIONS)
def test_every_option_on_validations_changes_behaviour(option):
    scores = [30, 30.05, 30.1, 30.15, 30.15, 30.15, 30.15]
    assert validations(scheduler(), scores) != validations(scheduler(**option), scores)


def test_bounds_that_exclude_the_present_rate_are_refused():
    with pytest.raises(ValueError, match="min_lr_factor"):
        scheduler(min_lr_factor=1.5)


@pytest.mark.parametrize("adversarial", [["gan"], []])
def test_a_generator_s_loss_that_rises_as_the_discriminator_learns_is_no_blow_up(adversarial):
    told = facts(loss_weights={"l1": 1.0, "gan": 0.1}, judged_losses=adversarial)
    automation, in_force = IntelligentLearningRateScheduler(facts=told), controls()
    rng, found = random.Random(0), []
    for step in range(10, 4001, 10):
        l1, gan = noisy(rng, falling(step), 0.1), noisy(rng, 0.7 + max(0, step - 1500) / 300, 0.1)
        total = [a + 0.1 * b for a, b in zip(l1, gan, strict=True)]
        event = window(step, losses=l1, total=total)
        event.losses["gan"] = gan
        found += flat(drive(automation, [event], in_force))
    assert any(isinstance(d, RollBack) for d in found) == (not adversarial)


def test_scores_before_a_loss_was_switched_on_are_no_measure_of_those_after_it():
    automation, in_force = scheduler(), controls()
    assert validations(automation, [30.0, 31.0, 32.0]) == []
    drive(automation, [ChangeEvent(3000, 24_000, "losses", "schedule")], in_force)
    assert validations(automation, [28.0, 28.2, 28.4, 28.6], start=3000) == []  # over 3 dB below


@pytest.mark.parametrize(
    ("gain", "bound", "words"),
    [
        (0.0031, 0.0149, "loss improved by 0.31% in 1000 steps, at most 1.48%"),
        (-0.043, 0.0149, "loss rose by 4.39% in 1000 steps, at best improved by 1.48%"),
        (-math.log(2), -0.01, "loss rose by 100.00% in 1000 steps, at best rose by 1.01%"),
    ],
)
def test_a_loss_that_rose_is_not_called_a_negative_improvement(gain, bound, words):
    assert in_words(gain, bound, 1000) == words
