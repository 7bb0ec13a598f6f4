import json
import logging
import math
import random
from pathlib import Path

import pytest
from automations.simulate import controls, drive, facts, flat, noisy, window

from traiNNer.automations import Limits, Supervisor
from traiNNer.automations.gradients.gradient_clipping import AdaptiveGradientClipping, ClipFallback
from traiNNer.automations.gradients.norm_patterns import NormPattern, Pattern, pattern_key, prior_threshold
from traiNNer.control import Clip, to_plain
from traiNNer.events import ChangeEvent, RequestEvent


def clipping(**options):
    return AdaptiveGradientClipping(facts=options.pop("facts", facts()), **options)


def log_normal(rng, median, sigma, count=10):
    return [median * math.exp(rng.gauss(0, sigma)) for _ in range(count)]


def run(windows, *, automation=None, in_force=None):
    """Show windows of norms; the clip in force during each window, after it, and the decisions."""
    automation, in_force = automation or clipping(), in_force or controls()
    during, decisions = [], []
    for index, norms in enumerate(windows):
        during.append(in_force.clip.get("g"))
        event = window(10 * (index + 1), norms=norms, losses=[0.05] * len(norms))
        decisions += flat(drive(automation, [event], in_force))
    return during, decisions, in_force.clip.get("g")


def healthy(seed, median=0.03, sigma=0.35, windows=300):
    rng = random.Random(seed)
    return [log_normal(rng, median, sigma) for _ in range(windows)]


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
def test_the_scale_of_the_loss_changes_nothing_but_the_unit(scale):
    windows = healthy(1)
    _, one, clip = run(windows)
    _, other, scaled = run([[scale * n for n in norms] for norms in windows])
    assert len(one) == len(other) >= 2
    for a, b in zip(one[1:], other[1:], strict=True):  # the first is the prior, before data exist
        assert b.clip.threshold == pytest.approx(scale * a.clip.threshold)
        assert b.clip.target == pytest.approx(scale * a.clip.target)
        assert b.clip.skip_above == pytest.approx(scale * a.clip.skip_above)
    assert scaled.threshold == pytest.approx(scale * clip.threshold)


@pytest.mark.parametrize("sigma", [0.05, 0.2, 0.35, 0.6, 1.0])
def test_fewer_than_one_healthy_step_in_a_hundred_is_touched_and_none_is_skipped(sigma):
    touched = steps = 0
    for seed in range(4):
        windows = healthy(seed, sigma=sigma)
        for norms, clip in zip(windows, run(windows)[0], strict=True):
            if clip is not None:
                touched += sum(n > clip.threshold for n in norms)
                steps += len(norms)
                assert not any(n > clip.skip_above for n in norms)
    assert touched < 0.01 * steps


def test_a_spike_gets_an_ordinary_length_or_is_skipped():
    windows = healthy(2)
    clip = run(windows)[2]
    assert clip.threshold < 0.03 * 20
    assert clip.target == pytest.approx(0.03, rel=0.15)
    assert clip.threshold == pytest.approx(0.03 * math.exp(3 * 0.35), rel=0.35)
    assert clip.skip_above == pytest.approx(0.03 * math.exp(6 * 0.35), rel=0.7)


def test_spikes_hardly_move_the_limits():
    clean, spiked = healthy(3), healthy(3)
    rng = random.Random(0)
    for norms in spiked:
        for i in range(10):
            if rng.random() < 0.02:
                norms[i] *= 30
    a, b = run(clean)[2], run(spiked)[2]
    assert b.target == pytest.approx(a.target, rel=0.1)
    assert b.threshold == pytest.approx(a.threshold, rel=0.35)


def test_norms_that_are_not_finite_leave_the_statistics_untouched():
    windows = healthy(4, windows=100)
    automation, other = clipping(monitoring_frequency=10**6), clipping(monitoring_frequency=10**6)
    run(windows, automation=automation)
    run([[*norms, math.nan, math.inf, -math.inf] for norms in windows], automation=other)
    assert other.state.networks["g"].norms == automation.state.networks["g"].norms


@pytest.mark.parametrize("factor", [100.0, 0.01])
@pytest.mark.parametrize("offset", [0, 4])
def test_a_change_of_regime_is_absorbed_within_60_steps(factor, offset):
    windows = healthy(5, windows=40)
    rng = random.Random(1)
    first = log_normal(rng, 0.03, 0.35, offset) + log_normal(rng, 0.03 * factor, 0.35, 10 - offset)
    windows += [first, *healthy(6, median=0.03 * factor, windows=5)]
    _, decisions, clip = run(windows)
    assert clip.target == pytest.approx(0.03 * factor, rel=0.35)
    assert clip.threshold > 1.5 * clip.target
    change = [d for d in decisions if "regime" in d.reason]
    assert change and not any(d.counts for d in change)


@pytest.mark.parametrize("sigma", [0.1, 0.2, 0.35])
@pytest.mark.parametrize(("factor", "steps"), [(3, 60), (10, 100), (10, 400), (100, 300)])
def test_norms_that_grow_are_followed_and_spikes_on_the_way_are_not(factor, steps, sigma):
    clipped = grown = 0
    for seed in range(4):
        rng = random.Random(seed)
        growth = [0.03 * factor ** (min(max(0, i - 100), steps) / steps) for i in range(steps + 200)]
        norms = [n * math.exp(rng.gauss(0, sigma)) for n in growth]
        spikes = {100 + steps // 3, 100 + 2 * steps // 3}
        for step in spikes:
            norms[step] = 30 * growth[step]
        during, _, last = run(windows_of(norms))
        for step, (norm, clip) in enumerate(zip(norms, each_step(during), strict=True)):
            if step in spikes:
                assert norm > clip.threshold
            elif 100 <= step < 100 + steps:
                clipped += norm > clip.threshold
                grown += 1
        assert 0.4 < last.target / (0.03 * factor) < 1.3 and 1.1 < last.threshold / (0.03 * factor) < 10
    assert clipped < 0.17 * grown  # the first ten steps of a growth pass before it is seen


def test_blocks_that_wake_up_in_a_healthy_run_are_not_held_down():
    """ParagonSR2 Realtime from scratch, unclipped: norms grow from 0.004 to 0.08 between steps 20 and 150."""
    norms = json.loads(Path(__file__).with_name("norms_of_waking_blocks.json").read_text(encoding="utf-8"))
    during, _, _ = run(windows_of(norms))
    assert (
        sum(norm > clip.threshold for norm, clip in zip(norms[20:], each_step(during)[20:], strict=True)) <= 8
    )
    for step in range(23, len(norms), 40):
        spiked = [30 * norm if at == step else norm for at, norm in enumerate(norms)]
        assert spiked[step] > each_step(run(windows_of(spiked))[0])[step].threshold


def windows_of(norms):
    return [norms[start : start + 10] for start in range(0, len(norms), 10)]


def each_step(during):
    """The clip in force at every step, of one for every window of ten."""
    return [clip for clip in during for _ in range(10)]


def test_bad_batches_within_a_change_of_regime_are_not_taken_for_usual():
    """The first 30 norms of ParagonSR2 Nano in a run with bad batches, where blocks wake up at step 18."""
    windows = [
        [0.0561, 0.0587, 0.0229, 0.03, 0.0189, 0.0177, 0.0197, 0.0249, 0.0241, 0.0191],
        [0.021, 0.0227, 0.0215, 0.0226, 0.0297, 0.0273, 0.0377, 0.0604, 0.0647, 0.166],
        [0.187, 0.348, 11, 0.222, 0.0329, 0.131, 0.0771, 7.95, 0.122, 0.105],
    ]
    _, decisions, clip = run(windows)
    assert "regime" in decisions[-1].reason
    assert (
        max(norm for norm in windows[-1] if norm < 1) < clip.threshold < 4
    )  # later bad ones had 4.4 to 12.8


def test_a_frozen_automation_still_follows_a_change_of_regime():
    """Otherwise every later step would lie beyond the last limit and be skipped."""
    supervisor = Supervisor({"c": clipping()}, {"c": Limits(max_adjustments=1)})
    in_force = controls()
    for index, norms in enumerate(healthy(7, windows=60) + healthy(8, median=3.0, windows=10)):
        for proposal in supervisor.react(window(10 * (index + 1), norms=norms), in_force):
            if proposal.applied:
                proposal.decision.apply(in_force)
    assert in_force.clip["g"].target == pytest.approx(3.0, rel=0.3)


def test_the_prior_follows_the_learning_rate():
    assert clipping().prior()["g"].threshold == pytest.approx(7.07, abs=0.01)
    assert prior_threshold(1e-3, None) == pytest.approx(3.16, abs=0.01)
    assert prior_threshold(100.0, None) == 0.1
    assert clipping().prior()["g"].skip_above == math.inf
    assert clipping(initial_threshold=1.0, ceiling=0.5).prior()["g"].threshold == 0.5


def test_a_stored_pattern_is_the_prior_of_a_run_of_the_same_kind_only():
    networks = {"g": NormPattern(0.02, 0.05, 0.08, -4.0, 0.3, 0.06)}
    learned = to_plain(Pattern(pattern_key(facts()), networks))
    assert clipping(facts=facts(learned=learned)).prior()["g"].threshold == 0.06
    for other in ({"batch": 16}, {"deterministic": True}, {"precision": "bf16"}):
        assert clipping(facts=facts(learned=learned, **other)).prior()["g"].threshold > 1


def test_a_stored_pattern_of_another_version_is_none(caplog):
    known = facts(learned={"key": "a", "networks": {}, "since": 1})
    assert clipping(facts=known).prior() == clipping().prior()
    assert "not of this version" in caplog.text


def test_reviews_move_the_threshold_by_at_most_the_factor():
    rng = random.Random(3)
    drifting = [log_normal(rng, 0.03 * math.exp(-0.004 * k), 0.35) for k in range(500)]
    _, decisions, _ = run(drifting)
    reviews = [d for d in decisions if d.counts]
    assert len(reviews) >= 3
    for d in reviews:
        assert max(d.clip.threshold / d.old, d.old / d.clip.threshold) <= 1.2 * (1 + 1e-9)


def test_a_clipping_rate_above_ten_percent_raises_the_threshold():
    automation, in_force = clipping(monitoring_frequency=50), controls()
    run(healthy(9, windows=30), automation=automation, in_force=in_force)
    clip = in_force.clip["g"]
    in_force.clip["g"] = type(clip)(0.03, 0.03, 1.0)
    _, decisions, _ = run(healthy(10, windows=5), automation=automation, in_force=in_force)
    assert decisions[0].clip.threshold == pytest.approx(0.036) and "clipping rate" in decisions[0].reason


def test_a_review_counts_no_step_that_another_threshold_judged():
    """Whatever moved it: a rise, a change of regime, a request, a review."""
    automation, in_force, changed = clipping(), controls(), 0
    rng = random.Random(5)
    for index in range(300):
        median = 0.03 * 10 ** min(1.0, max(0.0, (index - 20) / 20)) * (50 if index > 200 else 1)
        events = [window(10 * (index + 1), norms=log_normal(rng, median, 0.2))]
        if index % 50 == 45:
            events.append(RequestEvent(10 * (index + 1), "clip", 0.5, "GradientFlowStabilizer", "explosions"))
        for event in events:
            if flat(drive(automation, [event], in_force)):
                assert automation.state.networks["g"].review.steps == 0
                changed += 1
    assert changed > 10


def test_an_average_norm_below_a_fifth_of_the_threshold_lowers_it():
    automation, in_force = clipping(monitoring_frequency=50), controls()
    run([[0.1] * 10 for _ in range(30)], automation=automation, in_force=in_force)
    in_force.clip["g"] = type(in_force.clip["g"])(1.0, 0.1, 10.0)
    _, decisions, _ = run([[0.1] * 10 for _ in range(5)], automation=automation, in_force=in_force)
    assert decisions[0].clip.threshold == pytest.approx(1 / 1.2)
    assert "low gradients" in decisions[0].reason


def test_a_norm_that_comes_near_the_threshold_triggers_nothing():
    automation, in_force = clipping(), controls()
    run(healthy(11), automation=automation, in_force=in_force)
    near = 0.95 * in_force.clip["g"].threshold
    windows = healthy(12, windows=20)
    for norms in windows:
        norms[3] = near
    during, decisions, _ = run(windows[:1], automation=automation, in_force=in_force)
    assert decisions == []


def test_healthy_norms_need_few_adjustments():
    counts = [sum(d.counts for d in run(healthy(s, windows=1000))[1]) for s in range(3)]
    assert max(counts) < 20  # in 10,000 steps: the limit of 100 is reached by drift, not by noise


def test_the_bounds_of_the_user_hold_and_a_typical_norm_outside_is_said(caplog):
    options = {"initial_threshold": 1.0, "min_threshold": 0.1, "max_threshold": 10.0}
    with caplog.at_level(logging.WARNING):
        clip = run(healthy(13), automation=clipping(**options))[2]
    assert clip.threshold == 0.1 and clip.target < 0.05
    assert "lies outside min_threshold..max_threshold" in caplog.text
    assert run(healthy(13, median=50.0), automation=clipping(**options))[2].threshold == 10.0
    assert run(healthy(13, median=50.0), automation=clipping(ceiling=2.0))[2].threshold == 2.0


def test_a_changed_bound_wins_over_the_threshold_that_was_reached():
    first, in_force = clipping(), controls()
    run(healthy(14, median=1.0), automation=first, in_force=in_force)
    second = clipping(max_threshold=0.5)
    second.load_state_dict(first.state_dict())
    _, decisions, clip = run(healthy(15, median=1.0, windows=1), automation=second, in_force=in_force)
    assert clip.threshold == 0.5 and "bounds" in decisions[0].reason


def test_other_changes_shorten_the_memory_and_keep_the_limits():
    automation, in_force = clipping(), controls()
    run(healthy(16), automation=automation, in_force=in_force)
    before = in_force.clip["g"]
    assert flat(drive(automation, [ChangeEvent(1, 1, "batch", "x")], in_force)) == []
    assert in_force.clip["g"] == before and automation.state.networks["g"].norms.moments.weight == 20


def test_a_request_scales_the_threshold_which_returns_within_1000_calm_steps():
    automation, in_force = clipping(), controls()
    run(healthy(17), automation=automation, in_force=in_force)
    before = in_force.clip["g"].threshold
    drive(automation, [RequestEvent(1, "clip", 0.5, "GradientFlowStabilizer", "explosions")], in_force)
    assert in_force.clip["g"].threshold == pytest.approx(before / 2)
    run(healthy(18, windows=100), automation=automation, in_force=in_force)
    assert in_force.clip["g"].threshold > 0.8 * before


def test_networks_have_limits_of_their_own():
    automation, in_force, rng = clipping(facts=facts(learning_rates={"g": 2e-4, "d": 1e-4})), controls(), None
    rng = random.Random(0)
    for k in range(1, 100):
        event = window(10 * k, norms=log_normal(rng, 0.03, 0.3))
        event.grad_norm["d"] = log_normal(rng, 5.0, 0.3)
        drive(automation, [event], in_force)
    assert in_force.clip["d"].target == pytest.approx(5.0, rel=0.2)
    assert in_force.clip["g"].target == pytest.approx(0.03, rel=0.2)


@pytest.mark.parametrize(
    "options", [{}, {"initial_threshold": 1.0, "min_threshold": 1e-6, "monitoring_frequency": 50}]
)
def test_the_lines_that_users_know(options, caplog):
    with caplog.at_level(logging.INFO):
        rng = random.Random(1)
        drifting = [log_normal(rng, 0.06 * math.exp(-0.01 * k), 0.2) for k in range(700 // 5)]
        _, decisions, _ = run(drifting, automation=clipping(**options))
    lines = [r.getMessage() for r in caplog.records]
    name = "AdaptiveGradientClipping: "
    assert lines[0] == name + (
        "Autonomous mode enabled - auto-calibrating parameters based on detected architecture"
    )
    assert any(
        line.startswith(name + "Auto-calibration complete. Detected simple architecture. Threshold: 0.")
        and line.endswith(", Monitoring freq: 50")
        for line in lines
    )
    performance = next(line for line in lines if "Autonomous performance" in line)
    assert performance.startswith(name + "Autonomous performance (iter 1000) - Avg gradient: 0.")
    assert "Threshold: 0." in performance and "Clipping rate: " in performance and "x" in performance
    assert any("Autonomous adjustment from 0." in line and "(grad norm: 0." in line for line in lines)
    review = next(d for d in decisions if d.counts)
    assert review.change(controls()).parameter == "grad_clip_threshold"


@pytest.mark.parametrize("limits", [{"max_adjustments": 2}, {"monitor_only": True}, {}])
def test_only_adjustments_that_were_made_are_told_and_counted(limits, caplog):
    supervisor, in_force, made = Supervisor({"c": clipping()}, {"c": Limits(**limits)}), controls(), []
    rng = random.Random(1)
    with caplog.at_level(logging.INFO):
        for k in range(300):
            norms = log_normal(rng, 0.06 * math.exp(-0.01 * k), 0.2)
            for proposal in supervisor.react(window(10 * (k + 1), norms=norms), in_force):
                if proposal.applied:
                    proposal.decision.apply(in_force)
                    made += [k] if proposal.decision.counts else []
    told = [r.getMessage() for r in caplog.records if "Autonomous adjustment" in r.getMessage()]
    assert len(told) == len(made) == supervisor.automations["c"].state.networks["g"].adjustments
    assert len(made) == limits.get("max_adjustments", 0) or not limits and len(made) > 5


def test_one_that_only_monitors_beside_a_fixed_threshold_says_what_it_would_say_if_it_acted():
    """Not the first step from that threshold again at every review."""

    def said(**options):
        rng, automation, found = random.Random(1), clipping(**options), []
        in_force = controls(clip={"g": Clip(1.0, 1.0)})
        for k in range(1, 101):
            automation.observe(window(10 * k, norms=log_normal(rng, 0.03 * 2 ** (k / 25), 0.2)))
            for decision in automation.decide(in_force):
                found.append((k, decision))
                if not options:
                    decision.apply(in_force)
        return found

    assert said(monitors=True) == said() != []


def test_loss_factors_that_follow_their_shares_leave_the_statistics_alone():
    automation, in_force = clipping(), controls()
    run(healthy(16), automation=automation, in_force=in_force)
    for factor, memory in ((1.2, 100), (1.3, 20)):
        in_force.loss_factor["gan"] = factor
        drive(automation, [ChangeEvent(1, 1, "loss_factor", "DynamicLossScheduling")], in_force)
        assert automation.state.networks["g"].norms.moments.weight == memory


def test_gradients_of_wide_spread_are_called_complex_and_reviewed_less_often():
    wide = clipping()
    run(healthy(19, sigma=1.6, windows=3), automation=wide)
    narrow = clipping()
    run(healthy(19, sigma=0.3, windows=3), automation=narrow)
    assert wide.state.networks["g"].norms.complex and not narrow.state.networks["g"].norms.complex


def test_the_fallback_is_plain_clipping_that_skips_nothing_finite():
    in_force = controls()
    run(healthy(20), in_force=in_force)
    kept = clipping().fallback(in_force)[0].clip
    assert kept.threshold == in_force.clip["g"].threshold and kept.skip_above == math.inf
    assert clipping(fallback=ClipFallback(1.0)).fallback(in_force)[0].clip.threshold == 1.0


OPTIONS = [
    {"initial_threshold": 0.01},
    {"min_threshold": 0.5},
    {"max_threshold": 0.02},
    {"adjustment_factor": 1.05},
    {"monitoring_frequency": 200},
    {"gradient_history_size": 500},
    {"ceiling": 0.02},
]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda o: next(iter(o)))
def test_every_option_changes_behaviour(option):
    rng = random.Random(5)
    drifting = [log_normal(rng, 0.03 * math.exp(-0.01 * k), 0.35) for k in range(300)]
    one, other = run(drifting)[1], run(drifting, automation=clipping(**option))[1]
    assert [d.clip for d in one] != [d.clip for d in other]


def test_contradictory_settings_are_refused():
    with pytest.raises(ValueError, match="adjustment_factor"):
        clipping(adjustment_factor=1.0)
    with pytest.raises(ValueError, match="min_threshold"):
        clipping(min_threshold=2.0, max_threshold=1.0)


@pytest.mark.parametrize("times", [5.0, 48.0, 1000.0])
def test_an_emergency_ends_below_the_threshold_from_before_the_burst(times):
    """A burst looks like a change of regime to clipping, which raises the threshold in the same window."""
    rng = random.Random(3)
    automation, in_force = AdaptiveGradientClipping(facts=facts()), controls()
    drive(automation, [window(10 * k, norms=noisy(rng, 0.03, 0.2)) for k in range(1, 31)], in_force)
    before = in_force.clip["g"].threshold
    drive(automation, [window(310, norms=noisy(rng, 0.03 * times, 0.2))], in_force)
    assert in_force.clip["g"].threshold > before
    drive(automation, [RequestEvent(310, "clip", 0.5, "GradientFlowStabilizer", "burst")], in_force)
    assert in_force.clip["g"].threshold == pytest.approx(before / 2)
