import logging
import math
import random
from dataclasses import replace

import pytest
from automations.simulate import controls, drive, facts, flat, noisy, window

from traiNNer.automations.gradients.gradient_clipping import AdaptiveGradientClipping
from traiNNer.automations.gradients.norm_patterns import pattern_key
from traiNNer.automations.gradients.stabilizer import GradientFlowStabilizer
from traiNNer.control import Clip, Request, SetLossScale
from traiNNer.events import ChangeEvent, RequestEvent

CLIP = {"g": Clip(0.1, 0.03)}


def stabilizer(**options):
    return GradientFlowStabilizer(facts=options.pop("facts", facts()), **options)


def run(windows, *, automation=None, in_force=None, **changes):
    """Windows with these norms; where most of them are large the loss is too, as in a real explosion."""
    automation, in_force = automation or stabilizer(), in_force or controls(clip=dict(CLIP))
    hurt = changes.pop("hurt", True)
    events = []
    for k, norms in enumerate(windows):
        losses = [0.2 if hurt and sum(norm > 0.3 for norm in norms) >= 5 else 0.05] * len(norms)
        events.append(window(10 * (k + 1), norms=norms, **{"losses": losses, **changes}))
    return flat(drive(automation, events, in_force))


CALM = [[0.03] * 10] * 3


def calm(count, seed=0, mean=0.03):
    rng = random.Random(seed)
    return [noisy(rng, mean, 0.3) for _ in range(count)]


def test_five_explosions_in_a_row_are_an_emergency_with_two_requests(caplog):
    automation = stabilizer()
    found = run([*CALM, [0.03] * 5 + [1.0] * 5], automation=automation)
    assert [(type(d), d.control, d.factor, d.network) for d in found] == [
        (Request, "clip", 0.5, "g"), (Request, "lr_factor", 0.5, ""),
    ]  # fmt: skip
    assert found[0].level == "CRITICAL" and "5 consecutive gradient explosions" in found[0].reason
    assert "gradient explosion by step 40: norm 1, threshold 0.1" in caplog.text
    assert [r.levelno for r in caplog.records] == [logging.ERROR]


def test_four_explosions_or_a_pause_between_are_none():
    assert run([[0.03] * 6 + [1.0] * 4 + [0.03]]) == []
    assert run([[1.0, 1.0, 1.0, 1.0, 0.03] * 2] * 5) == []


def test_a_norm_up_to_three_times_the_threshold_is_no_explosion():
    assert run([[0.29] * 10] * 10) == []
    assert run([*CALM, [0.31] * 10]) != []


def test_norms_that_grow_while_the_loss_falls_are_no_emergency():
    """A network with small layer scales wakes up: its norms grow tenfold in ten steps, and nothing is wrong."""
    assert run([*calm(5), *([[1.0] * 10] * 30)], hurt=False) == []


def test_a_prior_that_knows_nothing_of_the_scale_of_the_loss_makes_no_emergency():
    assert run([[1.0] * 10], in_force=controls(clip={"g": Clip(0.1, 0.1)})) == []


def test_after_an_emergency_there_is_none_for_100_steps():
    burst = [[1.0] * 10]
    found = run([*calm(5), *burst, *calm(5, seed=1), *burst, *calm(5, seed=2), *burst])
    assert len(found) == 2 * 2  # of the bursts at steps 60, 120 and 180 the second lies too near the first


def test_norms_that_stay_large_are_one_emergency_and_then_the_ordinary_ones():
    assert len(run([*calm(5), *([[1.0] * 10] * 60)])) == 2


@pytest.mark.parametrize("bound", [0.01, 0.0001])
def test_a_bound_of_the_user_far_below_the_norms_makes_no_explosions(bound, caplog):
    """`max_threshold` or `grad_clip_max_norm` clips every step, which says nothing of the gradients."""
    automation = stabilizer()
    in_force = controls(clip={"g": Clip(bound, bound)})
    assert run(calm(100), automation=automation, in_force=in_force) == []
    assert "explosion" not in caplog.text
    assert automation.report().explosions == 0 and automation.report().status == "healthy"
    assert run([*calm(3), [3.0] * 10], automation=automation, in_force=in_force) != []


def test_the_update_ratio_is_remembered_between_its_measurements():
    automation = stabilizer()
    run(calm(1), automation=automation, update_ratio=0.05)
    run(calm(9), automation=automation, update_ratio=None)
    report = automation.report()
    assert report.update_ratio == 0.05 and report.learning_rate == "lower"


def test_large_norms_right_after_a_change_elsewhere_are_no_explosions():
    automation = stabilizer()
    run(calm(10), automation=automation)
    drive(automation, [ChangeEvent(100, 800, "losses", "schedule")])
    events = [window(100 + 10 * k, norms=[1.0] * 10) for k in (1, 2)]
    assert flat(drive(automation, events, controls(clip=dict(CLIP)))) == []


def test_explosions_are_seen_beside_loss_factors_that_follow_their_shares():
    """Which move by a few percent at every other window; a jump of a factor is a change like others."""
    for times, seen in ((1.06, True), (4.0, False)):
        automation, in_force = stabilizer(), controls(clip=dict(CLIP))
        for k in range(1, 31):
            exploding = k == 30
            event = window(
                10 * k, norms=[1.0 if exploding else 0.03] * 10, losses=[0.2 if exploding else 0.05] * 10
            )
            found = flat(drive(automation, [event], in_force))
            if k % 2:
                in_force.loss_factor["gan"] = times if k % 4 == 1 else 1.0
                change = ChangeEvent(10 * k, 80 * k, "loss_factor", "DynamicLossScheduling")
                found += flat(drive(automation, [change], in_force))
        assert bool(found) == seen


@pytest.mark.parametrize("norm", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_is_told_as_what_it_is(norm, caplog):
    run([*CALM, [norm] * 5 + [0.03] * 5])
    assert "gradient explosion by step 40: a norm that is not finite" in caplog.text


def test_not_finite_counts_as_an_explosion_except_in_fp16():
    assert run([[math.nan] * 5 + [0.03] * 5]) != []
    assert run([[math.inf] * 5 + [0.03] * 5], automation=stabilizer(facts=facts(precision="fp16"))) == []


def test_the_prior_stands_in_for_a_clip_that_is_not_there():
    assert run([[20.0] * 10], in_force=controls()) == []
    assert run([*CALM, [22.0] * 10], in_force=controls()) != []  # three times 7.07


def test_the_loss_scale_moves_in_fp16_only(caplog):
    fp16 = stabilizer(facts=facts(precision="fp16"))
    found = run([[0.03] * 9 + [1.0]], automation=fp16)
    assert isinstance(found[0], SetLossScale) and found[0].scale == pytest.approx(0.8)
    with caplog.at_level(logging.INFO):
        assert run([[0.03] * 9 + [1.0]]) == []
    assert "dynamic loss scale neutral in fp32" in caplog.text
    assert run([[0.03] * 9 + [1.0]], automation=stabilizer(dynamic_loss_scale=True)) != []


def test_vanishing_gradients_raise_the_loss_scale_up_to_its_limit():
    automation, in_force = stabilizer(dynamic_loss_scale=True), controls(clip=dict(CLIP))
    run(calm(20), automation=automation, in_force=in_force)
    run([[1e-8] * 10] * 30, automation=automation, in_force=in_force)
    assert in_force.loss_scale == 64.0
    run([[1.0] + [0.03] * 9] * 40, automation=automation, in_force=in_force)
    assert in_force.loss_scale == pytest.approx(0.1)


def test_an_emergency_in_fp16_divides_the_loss_scale_by_ten():
    automation = stabilizer(dynamic_loss_scale=True)
    found = run([*CALM, [1.0] * 5 + [0.03] * 5], automation=automation)
    assert [d.scale for d in found if isinstance(d, SetLossScale)] == [0.1]


def test_far_below_the_median_for_50_steps_is_vanishing():
    automation = stabilizer()
    run(calm(100), automation=automation)
    run([[1e-6] * 10] * 4, automation=automation)
    assert automation.report().vanished == 0
    run([[1e-6] * 10] * 3, automation=automation)
    assert automation.report().vanished == 21
    assert stabilizer().report().status == "healthy"


def test_norms_that_double_are_said_and_noise_is_not(caplog):
    with caplog.at_level(logging.WARNING):
        run(calm(400))
        assert caplog.text == ""
        rng = random.Random(1)
        run([noisy(rng, 0.01 * 2.5 ** (k / 50), 0.3) for k in range(100)], in_force=controls())
    assert "gradient norm of g grew 2.5x in 500 steps" in caplog.text


def test_the_report_of_a_healthy_and_of_a_sick_run():
    automation = stabilizer()
    run(calm(100), automation=automation)
    report = automation.report()
    assert report.status == "healthy" and report.stability_score == 1.0 and report.steps == 1000
    assert report.norm_min < report.norm_mean < report.norm_max and report.norm_std > 0
    assert report.flow_efficiency > 0.99 and report.thresholds == [0.1]
    assert report.learning_rate == "keep" and report.spread == pytest.approx(0.3, abs=0.06)
    run([[1.0] * 3 + [0.2] * 2 + [0.03] * 5] * 100, automation=automation)
    report = automation.report()
    assert report.status == "unstable" and report.learning_rate == "lower"
    assert report.stability_score == pytest.approx(0.7) and report.flow_efficiency == pytest.approx(0.5)
    assert report.explosions == 300
    run([[math.nan] * 9 + [0.03]] * 100, automation=automation)
    assert automation.report().status == "critical" and automation.report().not_finite == 900
    run([[1e-9] * 10] * 30, automation=automation)
    assert automation.report().status == "vanishing_risk"


def test_updates_that_are_too_small_recommend_a_higher_rate():
    for ratio, word in ((1e-7, "raise"), (1e-3, "keep"), (0.1, "lower")):
        automation = stabilizer()
        run(calm(5), automation=automation, update_ratio=ratio)
        assert automation.report().learning_rate == word


def test_a_calm_run_leaves_a_pattern_for_runs_of_its_kind(caplog):
    automation = stabilizer(pattern_store="p")
    run(calm(40), automation=automation)
    assert automation.pattern() is None  # fewer than 500 stable steps
    run(calm(60), automation=automation)
    pattern = automation.pattern()
    numbers = pattern["networks"]["g"]
    assert numbers["median"] < numbers["p95"] < numbers["p99"] and numbers["threshold"] == 0.1
    assert math.exp(numbers["mu"]) == pytest.approx(numbers["median"], rel=0.05)
    assert pattern["key"] == pattern_key(facts())
    with caplog.at_level(logging.INFO):
        run(calm(1), automation=stabilizer(facts=facts(learned=pattern)))
    assert "learned pattern for g: threshold 0.1" in caplog.text


def test_no_pattern_unless_asked_for_or_when_deterministic_or_not_calm():
    for options in ({}, {"pattern_store": "p", "facts": facts(deterministic=True)}):
        automation = stabilizer(**options)
        run(calm(100), automation=automation)
        assert automation.pattern() is None
    automation = stabilizer(pattern_store="p")
    run(calm(100), automation=automation)
    run([[1.0] + [0.03] * 9] * 10, automation=automation)
    assert automation.pattern() is None


def test_patterns_belong_to_what_shapes_the_gradients():
    base = facts()
    for change in ({"batch": 4}, {"optimizer": "SGD"}, {"loss_weights": {"l1": 2.0}}, {"precision": "bf16"},
                   {"fingerprint": {"architecture": "other"}}):  # fmt: skip
        assert pattern_key(replace(base, **change)) != pattern_key(base)
    assert pattern_key(replace(base, total_iter=1)) == pattern_key(base)


def test_the_fallback_is_the_loss_as_it_is():
    assert stabilizer().fallback(controls()) == []
    assert stabilizer().fallback(controls(loss_scale=8.0))[0].scale == 1.0


def test_the_discriminator_moves_the_loss_scale_of_the_generator_neither_up_nor_down():
    for norms in ([1e-8] * 10, [1e4] * 10):
        automation = stabilizer(dynamic_loss_scale=True, facts=facts(learning_rates={"g": 2e-4, "d": 2e-4}))
        in_force = controls(clip=dict(CLIP))
        events = [window(10 * k, grad_norm={"g": [0.03] * 10, "d": norms}) for k in range(1, 10)]
        assert not any(isinstance(d, SetLossScale) for d in flat(drive(automation, events, in_force)))


def test_an_emergency_of_the_discriminator_leaves_the_threshold_of_the_generator():
    both = facts(learning_rates={"g": 2e-4, "d": 2e-4})
    watching, clipping = stabilizer(facts=both), AdaptiveGradientClipping(facts=both)
    in_force = controls(clip={"g": Clip(0.1, 0.03), "d": Clip(0.1, 0.03)})
    burst = [0.03] * 5 + [1.0] * 5
    windows = [window(10 * k, grad_norm={"g": [0.03] * 10, "d": [0.03] * 10}) for k in (1, 2, 3)]
    hurt = window(40, grad_norm={"g": [0.03] * 10, "d": burst}, losses=[0.2] * 10)
    asked = [d for d in flat(drive(watching, [*windows, hurt], in_force)) if d.control == "clip"]
    assert [d.change(in_force).parameter for d in asked] == ["grad_clip_threshold_d"]
    drive(clipping, [hurt], in_force)
    request = RequestEvent(40, "clip", asked[0].factor, watching.name, asked[0].reason, asked[0].network)
    drive(clipping, [request], in_force)
    assert {net: clip.threshold for net, clip in in_force.clip.items()} == {"g": 0.1, "d": 0.05}


@pytest.mark.parametrize(("norm", "kind"), [(1e-8, "vanishing"), (1.0, "unstable")])
def test_each_episode_of_sick_gradients_is_told_once(norm, kind, caplog):
    automation = stabilizer()
    told = f"gradients of g are {kind}"
    run(calm(100), automation=automation)
    assert "gradients of g" not in caplog.text
    run([[norm] * 10] * 40, automation=automation, hurt=False)
    assert caplog.text.count(told) == 1
    run(calm(150), automation=automation)  # long enough to forget the episode
    run([[norm] * 10] * 40, automation=automation, hurt=False)
    assert caplog.text.count(told) == 2


def test_a_few_sick_steps_at_the_start_are_no_episode(caplog):
    run([[1e-8] * 10, *calm(30)])
    assert "gradients of g" not in caplog.text


def test_a_request_that_nobody_answers_is_told_once(caplog):
    burst = [*calm(15), [1.0] * 10]
    automation = stabilizer(unanswered={"lr_factor": "IntelligentLearningRateScheduler"})
    assert len(run(burst * 2, automation=automation)) == 4
    assert caplog.text.count("asks to change lr_factor, which IntelligentLearningRateScheduler") == 1
    caplog.clear()
    run(burst * 2)
    assert "asks to change" not in caplog.text
