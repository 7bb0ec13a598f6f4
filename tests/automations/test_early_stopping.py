import copy
import json
import math
import random
from statistics import fmean

import pytest
from automations.simulate import controls, drive, facts, flat, noisy, validation, window
from pydantic import ValidationError

from traiNNer.automations import AUTOMATIONS, Limits, Supervisor
from traiNNer.automations.stopping.early_stopping import IntelligentEarlyStopping
from traiNNer.events import ChangeEvent
from traiNNer.registry import ConfigError


def stopping(**options):
    options = {"min_iterations": 1000, "warmup_iterations": 500, "min_lr_factor": 0.1, **options}
    return IntelligentEarlyStopping(facts=options.pop("facts", facts()), **options)


def images(rng, mean, count=5, noise=0.01):
    """Scores of some images: fixed differences between images, and noise."""
    return [mean + 2 * (i - (count - 1) / 2) + rng.gauss(0, noise) for i in range(count)]


def run(curve, *, automation=None, lr_factor=0.1, every=1000, losses=None, seed=0, metric="psnr", **changes):
    """Step and decision of the first stop over validations of the given means, or None."""
    automation, rng = automation or stopping(), random.Random(seed)
    in_force = controls(lr_factor=lr_factor)
    for index, mean in enumerate(curve):
        step = every * (index + 1)
        for k in range(1, 11):
            at = step - every + every * k // 10
            values = noisy(rng, losses(at) if losses else 0.05, 0.1)
            found = flat(drive(automation, [window(at, losses=values)], in_force))
            if found:
                return at, found[0]
        event = validation(step, images(rng, mean), metric=metric, **changes)
        found = flat(drive(automation, [event], in_force))
        if found:
            return step, found[0]
    return None


def saturating(count, best=30.0, rate=0.5):
    return [best - 3 * math.exp(-rate * k) for k in range(count)]


FLAT = [28.0, 29.0, 30.0] + [30.0] * 20


def test_patience_ends_a_run_without_gain_and_says_so_in_the_words_that_users_know():
    step, decision = run(FLAT)
    assert decision.rule == "patience" and step >= 3000 + 3000
    assert decision.reason.startswith("no improvement in val/psnr for ")
    assert "iterations saved" in decision.reason
    assert "best 30." in decision.reason


def test_one_that_only_monitored_and_acts_from_now_on_stops_the_run_after_all():
    """What it said while it monitored has not happened."""
    stops = []
    for before, now in (
        ({}, {}),
        ({"monitor_only": True}, {"monitor_only": True}),
        ({"monitor_only": True}, {}),
    ):
        watch, in_force, said = (
            Supervisor({"s": stopping()}, {"s": Limits(**before)}),
            controls(lr_factor=0.1),
            [],
        )
        for k in range(46):
            if k == 23:
                state = json.loads(json.dumps(watch.state_dict()))
                watch = Supervisor({"s": stopping()}, {"s": Limits(**now)})
                watch.load_state_dict(state)
            for event in (
                window(1000 * (k + 1)),
                validation(1000 * (k + 1), images(random.Random(k), FLAT[k % 23])),
            ):
                said += [p.applied for p in watch.react(event, in_force)]
        stops.append(said)
    assert stops == [[True], [False], [False, True]]


@pytest.mark.parametrize(
    ("bound", "too_late", "in_time"),
    [
        ("min_epochs", 9, 8),
        ("min_iterations", 900, 899),
        ("warmup_iterations", 900, 899),
        ("settled_from", 900, 899),
    ],
)
def test_whatever_keeps_it_from_ever_stopping_a_run_is_named_at_its_start(bound, too_late, in_time, caplog):
    known = facts(total_iter=900)  # of 100 steps in an epoch
    named = {"settled_from": "a loss that begins or grows until iteration"}.get(bound, bound)
    with caplog.at_level("INFO"):
        stopping(**{"facts": known, "min_iterations": 100, bound: in_time})
        assert not caplog.text
        stopping(**{"facts": known, "min_iterations": 100, bound: too_late})
    (record,) = caplog.records
    assert (
        f"{named} {too_late} " in record.getMessage() and "it can never stop the run" in record.getMessage()
    )
    assert record.levelname == "WARNING"


def test_a_default_that_a_short_run_cannot_outlast_is_no_warning(caplog):
    with caplog.at_level("INFO"):
        IntelligentEarlyStopping(facts=facts(total_iter=900))
        IntelligentEarlyStopping(facts=facts(total_iter=900), min_epochs=10)
    assert [r.levelname for r in caplog.records] == ["INFO", "WARNING"]
    assert caplog.messages[1].endswith(
        "(also: warmup_iterations 1000 reaches the end of the run, iteration 900)"
    )


def test_the_message_names_the_step_of_the_best_score():
    curve = [
        *(30 - 0.9**k for k in range(5)),
        31.0,
        *[30.5] * 17,
    ]  # the sixth of validations 1,000 steps apart
    _, decision = run(curve)
    assert decision.reason.endswith("at 6000)") and "best 3" in decision.reason


def test_patience_waits_until_the_learning_rate_has_nothing_left_to_give():
    noise = [30 + 0.3 * math.sin(9.7 * k) for k in range(23)]  # too rough for a projection
    assert run(noise, lr_factor=0.5) is None
    assert run(noise, lr_factor=0.1) is not None
    assert run(noise, lr_factor=0.5, lr_exhausted=True) is not None
    assert run(noise, lr_factor=0.1, automation=stopping(min_lr_factor=None)) is None


def test_a_run_whose_last_validations_are_new_bests_is_never_stopped():
    for seed in range(5):
        rising = [28 + 0.002 * k for k in range(40)]
        automation, rng = stopping(min_improvement=0.5, patience=1000), random.Random(seed)
        in_force = controls(lr_factor=0.1)
        for index, mean in enumerate(rising):
            scores = [mean, mean + 1]
            event = validation(1000 * (index + 1), scores)
            assert flat(drive(automation, [window(1000 * index + 500), event], in_force)) == []
        assert rng is not None


def test_projected_gain_below_what_counts_ends_a_run_at_any_learning_rate():
    curve = saturating(60, rate=0.6)
    found = run(curve, lr_factor=1.0, automation=stopping(min_improvement=0.02))
    assert found is not None and found[1].rule == "diminishing_returns"
    rising = [28 + 0.4 * math.log(k + 1) for k in range(40)]
    assert run(rising, lr_factor=1.0, automation=stopping(min_improvement=0.02)) is None


def test_a_change_of_the_learning_rate_begins_the_projection_afresh():
    automation, in_force, rng = stopping(min_improvement=0.02), controls(), random.Random(0)
    for index, mean in enumerate(saturating(40, rate=0.6)):
        step = 1000 * (index + 1)
        found = flat(drive(automation, [window(step), validation(step, images(rng, mean))], in_force))
        assert found == []
        drive(automation, [ChangeEvent(step, step, "lr_factor", "x")], in_force) if index % 4 == 3 else None


def test_overfitting_needs_a_falling_loss_and_a_metric_below_its_best():
    curve = [28, 29, 30] + [30 - 0.1 * k for k in range(1, 12)]
    found = run(curve, lr_factor=1.0, losses=lambda s: 0.05 * 0.95 ** (s / 1000))
    assert found is not None and found[1].rule == "overfitting"
    other = run(curve, lr_factor=1.0, losses=lambda s: 0.05)
    assert other is None or other[1].rule != "overfitting"


@pytest.mark.parametrize(
    "bad, options",
    [
        ({"weights_finite": False}, {}),
        ({"mean": 26.5}, {}),
        ({"mean": 19.0}, {}),
        ({"mean": math.nan, "outputs_finite": False}, {}),
    ],
)
def test_a_broken_run_ends_with_an_error_and_the_best_weights_whatever_the_settings(bad, options):
    automation = stopping(min_iterations=10**6, warmup_iterations=0)
    mean = bad.pop("mean", 30.0)
    events = [window(100)]
    events += [validation(1000 * k, [30.0, 31.0]) for k in (1, 2)]
    events += [validation(1000 * k, [mean, mean + 1], **bad) for k in (3, 4)]
    found = flat(drive(automation, events))
    assert [d.rule for d in found] == ["broken"]
    assert found[0].restore_best and found[0].cooldown is None
    assert found[0].level == "ERROR" and not found[0].counts


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_decides_nothing(value):
    automation = stopping(min_iterations=0, warmup_iterations=0)
    drive(automation, [window(100), validation(1000, [30.0, 31.0]), validation(2000, [30.1, 31.1])])
    before = copy.deepcopy(automation.state.record)
    for k in range(3, 30):
        assert flat(drive(automation, [validation(1000 * k, [value, value])])) == []
    assert automation.state.record == before
    assert (
        flat(drive(automation, [validation(31_000, [value, 31.5]), validation(32_000, [30.5, 31.5])])) == []
    )


def test_one_bad_validation_alone_is_not_broken():
    events = [
        window(100),
        *(validation(1000 * k, [v, v]) for k, v in ((1, 30.0), (2, 26.0), (3, 30.0), (4, 26.0))),
    ]
    assert flat(drive(stopping(warmup_iterations=0), events)) == []


def test_a_loss_that_is_not_finite_for_long_is_broken():
    events = [window(10 * k, losses=[math.nan] * 10) for k in range(1, 4)]
    found = flat(drive(stopping(), events))
    assert [d.rule for d in found] == ["broken"]
    assert found[0].reason.count("best") == 1
    assert len(flat(drive(stopping(rescue=True), events))) == 0


def test_a_learning_rate_scheduler_may_first_return_a_broken_run_to_health():
    def events(first):
        return [validation(1000 * k, [26.0, 27.0]) for k in range(first, first + 3)]

    start = [window(100), validation(1000, [30.0, 31.0])]
    automation = stopping(warmup_iterations=0, rescue=True)
    assert flat(drive(automation, [*start, *events(2)])) == []
    drive(automation, [ChangeEvent(1, 1, "lr_factor", "IntelligentLearningRateScheduler")])
    assert flat(drive(automation, events(5))) == []
    assert [d.rule for d in flat(drive(automation, events(8)))] == ["broken"]


def test_scores_below_bicubic_that_still_rise_are_not_broken_and_not_acted_upon():
    automation = stopping(warmup_iterations=0)
    events = [validation(1000 * k, [10 + 0.5 * k, 11 + 0.5 * k]) for k in range(1, 15)]
    assert flat(drive(automation, [window(100), *events], controls(lr_factor=0.1))) == []


def test_when_the_schedule_has_ended_the_gains_before_are_forgotten():
    def stop(ended):
        automation, rng, curve = (
            stopping(patience=10**6),
            random.Random(0),
            [28 + 0.05 * k for k in range(40)],
        )
        curve += [30.0] * 60
        for index, mean in enumerate(curve):
            step = 1000 * (index + 1)
            event = validation(step, images(rng, mean, noise=1e-4), lr_exhausted=ended and index >= 40)
            if flat(drive(automation, [window(step - 10), event])):
                return step
        return None

    assert stop(ended=True) < (stop(ended=False) or 10**6)


@pytest.mark.parametrize("pace", [0.05, 0.0])
def test_scores_that_stand_still_below_bicubic_are_not_broken(pace):
    """Nor are they converged: whether such a network is slow or damaged, only a trial can tell."""
    automation = stopping(warmup_iterations=0, patience=1000)
    events = [validation(1000 * k, [10 + pace * k, 11 + pace * k]) for k in range(1, 40)]
    assert flat(drive(automation, [window(100), *events], controls(lr_factor=0.1))) == []


def test_a_metric_that_falls_while_the_loss_goes_on_falling_is_overfitting_and_not_broken():
    """One small picture: the loss falls to nothing, PSNR on others falls below bicubic and 3 dB below its best."""
    automation, rng, found = stopping(patience=4000, warmup_iterations=0), random.Random(1), []
    for k in range(1, 31):
        step = 1000 * k
        losses = [noisy(rng, 0.05 * math.exp(-0.1 * (k + i / 10)), 0.2) for i in range(10)]
        windows = [window(step - 100 + 10 * (i + 1), losses=loss) for i, loss in enumerate(losses)]
        mean = 26.0 - 0.5 * max(0, k - 4)
        event = validation(step, images(rng, mean), bicubic=24.0)
        found += flat(drive(automation, [*windows, event]))
    assert [d.rule for d in found] == ["overfitting"]


def stop_under_scheduling(drift):
    """Step at which a run without gains stops while a loss factor changes before every validation."""
    automation, rng, in_force = stopping(patience=10**6), random.Random(0), controls()
    for k in range(1, 61):
        step = 1000 * k
        in_force.loss_factor = {"percep": drift ** (k / 60)}
        change = ChangeEvent(step - 500, 8 * step, "loss_factor", "DynamicLossScheduling")
        event = validation(step, images(rng, 30.0, noise=1e-4))
        if flat(drive(automation, [window(step - 10), change, event], in_force)):
            return step
    return None


def test_small_changes_of_loss_factors_do_not_keep_a_run_from_stopping():
    """Loss scheduling adjusts all the time; a factor that goes far makes it another curve."""
    assert stop_under_scheduling(1.0) == stop_under_scheduling(1.5) is not None
    assert stop_under_scheduling(1e9) is None


@pytest.mark.parametrize("total, patience, earliest", [(50_000, 2000, 5000), (4000, 800, 2000)])
def test_where_nothing_is_given_a_short_run_waits_a_fifth_and_half_of_itself(total, patience, earliest):
    def stop(**options):
        automation = IntelligentEarlyStopping(facts=facts(total_iter=total), min_lr_factor=0.1, **options)
        return run([30.0] * 100, automation=automation, every=100)[0]

    assert stop() == stop(patience=patience, min_iterations=earliest) >= earliest
    assert stop() != stop(min_iterations=2 * earliest)


@pytest.mark.parametrize("kind", ["psnr", "lpips"])
def test_metrics_of_both_directions_are_handled_alike(kind):
    def curve(mean):
        return mean if kind == "psnr" else 10 - 0.1 * mean

    def last_step(means):
        automation = stopping(monitor_metric=f"val/{kind}", min_improvement=1e-4)
        bicubic = 20.0 if kind == "psnr" else 9.0
        found = run([curve(m) for m in means], automation=automation, metric=kind, bicubic=bicubic)
        return found and (found[0], found[1].rule)

    assert last_step(FLAT)[1] == "patience"
    assert last_step([25 + k for k in range(20)]) is None


@pytest.mark.parametrize("name", ["psnr", "val/psnr", "Set5/psnr"])
def test_the_metric_may_be_named_in_three_ways(name):
    automation = stopping(monitor_metric=name)
    assert flat(drive(automation, [window(10), validation(1000, [30.0, 31.0], name="Set5")])) == []
    assert automation.state.record.best == [30.0, 31.0]


@pytest.mark.parametrize(
    ("known", "label", "said"),
    [
        ({"lpips": False, "psnr": True}, "val/psnr", ""),
        ({"ssim": True, "lpips": False}, "val/ssim", "psnr is not among val.metrics; it goes by val/ssim"),
        ({}, "", "no validation measures anything"),
    ],
)
def test_enabled_alone_is_enough_whatever_is_measured(known, label, said, caplog):
    caplog.set_level("INFO")
    automation = stopping(facts=facts(higher_is_better=known))
    assert automation._label == label
    assert said in caplog.text and bool(caplog.text) == bool(said)
    dead = [window(10 * k, losses=[math.nan] * 10) for k in range(1, 4)]
    assert [d.rule for d in flat(drive(automation, dead))] == ["broken"]


def test_an_unknown_metric_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ConfigError, match="did you mean 'psnr'"):
        stopping(monitor_metric="val/pnsr")
    with pytest.raises(ConfigError, match="known: psnr, lpips"):
        stopping(monitor_metric="niqe")


def test_stopping_anneals_first_over_a_tenth_of_the_run_so_far():
    noise = [30 + 0.3 * math.sin(9.7 * k) for k in range(23)]
    step, decision = run(noise, lr_factor=0.1)
    assert decision.cooldown.start == step * 8 and decision.cooldown.length == round(0.1 * step * 8)
    assert run(noise, automation=stopping(cooldown=False))[1].cooldown is None
    assert run(noise, lr_exhausted=True)[1].cooldown is None


def test_the_fall_of_the_loss_is_that_of_one_stretch_below_the_best():
    automation, scores = stopping(), [30.0, 31.0, 32.0]
    worse = [score - 1 for score in scores]
    events = [window(10), validation(1000, scores), validation(2000, worse), window(2010), window(2020)]
    drive(automation, [*events, validation(3000, worse, outputs_finite=False), validation(4000, worse)])
    assert automation.state.record.below_since == 4000 and automation.state.losses.count == 0


def test_it_stops_once():
    automation, in_force, rng = stopping(), controls(lr_factor=0.1), random.Random(0)
    events = [validation(1000 * k, images(rng, 30.0)) for k in range(1, 30)]
    assert len(flat(drive(automation, [window(10), *events], in_force))) == 1


def test_nothing_ends_a_run_during_warm_up():
    rng = random.Random(0)
    events = [validation(1000 * k, images(rng, 30.0)) for k in range(1, 30)]
    assert flat(drive(stopping(), [window(10, warming_up=True), *events], controls(lr_factor=0.1))) == []


def test_min_epochs_that_can_never_be_reached_are_said(caplog):
    automation = stopping(min_epochs=1000)
    assert "min_epochs 1000 exceeds the 500 planned epochs" in caplog.text
    assert run(FLAT, automation=automation) is None


def test_a_comparison_with_other_images_is_not_attempted():
    automation = stopping()
    drive(automation, [window(10), validation(1000, [30.0, 31.0])])
    drive(
        automation, [ChangeEvent(1500, 1, "validation", "metric_guard"), validation(2000, [20.5, 21.5, 22.5])]
    )
    assert automation.state.record.best == [20.5, 21.5, 22.5] and automation.state.record.highest == 21.5


def test_the_fallback_trains_on_and_can_do_nothing_else():
    assert stopping().fallback(controls()) == ()
    with pytest.raises((ConfigError, ValidationError, ValueError)):
        AUTOMATIONS.build(
            {"type": "IntelligentEarlyStopping", "fallback": {"early_stopping": True}}, facts=facts()
        )


OPTIONS = [
    {"patience": 8000},
    {"min_improvement": 0.5},
    {"min_epochs": 120},
    {"min_iterations": 15_000},
    {"warmup_iterations": 15_000},
    {"settled_from": 15_000},
    {"min_lr_factor": 0.01},
    {"cooldown": False},
]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda o: next(iter(o)))
def test_every_option_changes_behaviour(option):
    curve = [28.0, 29.0, 29.6, 30.0] + [30 + 0.02 * math.sin(9.7 * k) for k in range(19)]
    one, other = run(curve), run(curve, automation=stopping(**option))
    assert one is not None
    assert other is None or (one[0], one[1].cooldown) != (other[0], other[1].cooldown)


def simulated(seed):
    """A validation curve with annealing at its end, noise common to all images, and its best value."""
    rng = random.Random(seed)
    rate, top, gain, knee = rng.uniform(0.1, 0.6), rng.uniform(28, 36), rng.uniform(0.02, 0.2), 0.7
    curve = []
    for k in range(50):
        share = (k + 1) / 50
        late = max(0.0, (share - knee) / (1 - knee))
        value = top - 4 * math.exp(-rate * k) * rng.uniform(0.98, 1.02) + gain * late
        curve.append(value + rng.gauss(0, 0.004))
    return curve, gain


def test_rules_over_simulated_curves_lose_little_and_save_something():
    """Regret against the best of the full curve; a cooldown is credited with the gain of annealing."""
    margin, regrets, saved = 0.01, [], []
    for seed in range(20):
        curve, gain = simulated(seed)
        found = run(curve, automation=stopping(min_improvement=margin), lr_factor=1.0, seed=seed)
        if found is None:
            regrets.append(0.0)
            saved.append(0.0)
            continue
        kept = int(found[0] / 1000)
        bonus = gain if found[1].cooldown and kept < 35 else 0.0
        regrets.append(max(0.0, max(curve) - max(curve[:kept]) - bonus))
        saved.append(max(0.0, 1 - 1.1 * kept / 50))
    assert fmean(regrets) < margin + 0.02
    assert fmean(saved) > 0.05


def test_scores_before_a_loss_was_switched_on_are_no_measure_of_those_after_it():
    before, after = [29.0, 29.5, 30.0, 30.1], [28.0 + 0.1 * k for k in range(10)]
    falls = {"lr_factor": 1.0, "losses": lambda s: 0.05 * 0.95 ** (s / 1000)}
    stopped = run(before + after, **falls)
    assert stopped is not None and stopped[1].rule == "overfitting"
    automation = stopping()
    assert run(before, automation=automation, **falls) is None
    drive(automation, [ChangeEvent(4000, 32_000, "losses", "schedule")])
    assert run(after, automation=automation, **falls) is None
