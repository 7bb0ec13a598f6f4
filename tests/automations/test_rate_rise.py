"""What raises the rate of `lr: auto`, as decisions: whatever the losses, which rate and what it costs."""

import json
import math

import pytest
from automations.simulate import controls, drive, facts, window

from traiNNer.automations.rate.rate_rise import BEGINS_AT, GROWTH, LearningRateRise, can_rise
from traiNNer.automations.rate.rate_search import MOST_ROUGH, SHORTEST_RUN, TRIAL_STEPS
from traiNNer.control import Arm, RunTrial
from traiNNer.events import ChangeEvent, StartEvent, TrialEvent

TOTAL = 2_000
NOISE = [0.05 * (1 + 0.3 * (step % 7)) for step in range(TOTAL)]  # losses of a run, by step


def rising(rate, steps, start, limit):
    """Logarithms of losses at a growing rate: far above those of the run from `limit` on, then none."""
    course = []
    for index in range(steps):
        over = rate * GROWTH**index / limit
        if over > 4:
            break
        course.append(math.log(NOISE[start + index]) + (over >= 1))
    return course


def raised(limit, *, found=1.0, total=TOTAL, restart=False, between=(), most=9):
    """The factor in force at the end, and the trials; rates from `limit` on are too high.

    `between` comes after each of the first `most` trials.
    """
    automation, in_force, trials = (
        LearningRateRise(facts=facts(total_iter=total)),
        controls(lr_search=found),
        [],
    )
    events, step = [StartEvent(0, 0)], 0
    while step < total * 0.2:
        if not events:
            step += 10
            events = [window(step, losses=NOISE[step - 10 : step], progress=step / total)]
        if restart:
            state = json.loads(json.dumps(automation.state_dict()))
            automation = LearningRateRise(facts=facts(total_iter=total))
            automation.load_state_dict(state)
        for decision in drive(automation, [events.pop(0)], in_force)[0]:
            if isinstance(decision, RunTrial):
                trials.append((step, decision))
                scores = rising(in_force.lr_search, decision.steps, step, limit)
                events += [TrialEvent(step, 0, decision.arms, [scores], decision.steps)]
                events += between if len(trials) <= most else []
    assert automation.done or not trials
    return in_force.lr_search, trials


@pytest.mark.parametrize("power", [-1, 0, 1, 2, 3])
def test_half_of_the_rate_that_is_too_high_is_taken_but_never_a_lower_one(power):
    factor, trials = raised(4.0 * 2.0**power)
    assert factor == pytest.approx(max(1.0, 2.0 * 2.0**power), rel=0.2)
    ((step, trial),) = trials
    assert step == 50 and trial.steps == 24 and not trial.kept and not trial.counts


def test_a_rate_is_raised_by_no_more_than_a_factor_of_two_a_window():
    """A jump from 0.2 to 0.8 at step 70 left ParagonSR2 Nano at 5 dB, which trains at 0.8 from a warm-up on."""
    automation, in_force = LearningRateRise(facts=facts(total_iter=TOTAL)), controls(lr_search=1.0)
    factors = [1.0]
    for step in range(10, 300, 10):
        event = window(step, losses=NOISE[step - 10 : step], progress=step / TOTAL)
        for decision in drive(automation, [event], in_force)[0]:
            if isinstance(decision, RunTrial):
                scores = rising(1.0, decision.steps, step, 20.0)
                drive(automation, [TrialEvent(step, 0, decision.arms, [scores], decision.steps)], in_force)
        factors.append(in_force.lr_search)
    climb = [b / a for a, b in zip(factors, factors[1:], strict=False) if b != a]
    assert max(climb) <= 2 and len(climb) >= 3 and factors[-1] > 6


@pytest.mark.parametrize("total", [SHORTEST_RUN, TOTAL, 10_000])
def test_where_the_end_was_not_reached_it_is_tried_again_within_the_budget(total):
    factor, trials = raised(1_000.0, total=total)
    assert sum(trial.steps for _, trial in trials) + MOST_ROUGH * TRIAL_STEPS <= 0.05 * total
    assert (len(trials) > 1) == (total >= TOTAL)
    assert factor == pytest.approx(500.0, rel=0.2) if total >= TOTAL else 1.0 < factor < 500.0


def test_a_rate_that_diverges_at_once_changes_nothing():
    assert raised(1e-9)[0] == 1.0


def test_it_goes_on_from_its_state_to_the_same_rate():
    assert raised(1_000.0, restart=True) == raised(1_000.0)


def test_a_run_that_something_else_has_changed_is_not_compared():
    assert (
        raised(8.0, between=[ChangeEvent(50, 400, "lr_factor", "IntelligentLearningRateScheduler")])[0] == 1.0
    )


def test_a_warm_up_is_waited_for_but_not_without_end():
    for end, asked in ((100, True), (300, False)):
        automation = LearningRateRise(facts=facts(total_iter=TOTAL))
        windows = [window(s, progress=s / TOTAL, warming_up=s <= end) for s in range(10, 400, 10)]
        answers = drive(automation, windows, controls(lr_search=1.0))
        assert [index for index, decisions in enumerate(answers) if decisions] == (
            [end // 10] if asked else []
        )


def ended(course, events, caplog):
    """What is said of the rate, with the level, where a trial shows `course` and `events` come after it."""
    automation, in_force = LearningRateRise(facts=facts(total_iter=TOTAL)), controls(lr_search=1.0)
    caplog.clear()
    with caplog.at_level("INFO"):
        drive(automation, [window(50, progress=BEGINS_AT)], in_force)
        arm = [Arm("rising", 1.0, growth=GROWTH)]
        drive(automation, [TrialEvent(50, 0, arm, [course], 24), *events], in_force)
    assert in_force.lr_search == 1.0
    return [(record.levelname, record.getMessage().split(": ", 1)[1]) for record in caplog.records]


def test_a_rate_that_is_not_raised_is_told_with_the_reason(caplog):
    """Without an answer the run keeps half of the rate that was found: that is a warning."""
    after = [window(60 + 10 * k, progress=0.03 + 0.005 * k) for k in range(3)]
    low = "the rate stays half of what was found, which may be too low: "
    late = ("WARNING", low + "higher ones are tried before 10% of the run only")
    failed = (
        "WARNING",
        low + "a higher one could not be trained, or its loss or that of the run was not finite",
    )
    assert ended([], after, caplog) == [failed]
    assert ended([0.0] * 24, [window(60, losses=[math.nan] * 10), *after], caplog) == [failed]
    changed = [ChangeEvent(50, 400, "losses", "schedule"), window(300, progress=0.15)]
    assert ended([0.0] * 24, changed, caplog) == [late]
    too_high = ended([10.0] * 4, after, caplog)
    assert too_high == [("INFO", "beside the run 0.000283 was too high; the rate stays 0.0002")]


def test_a_change_of_the_run_costs_a_trial_and_not_the_rise():
    """Such as a loss factor that another automation still calibrates at the time."""
    change = ChangeEvent(50, 400, "loss_factor", "DynamicLossScheduling")
    factor, trials = raised(8.0, between=[change], most=1)
    assert len(trials) == 2 and factor == pytest.approx(4.0, rel=0.2)


def test_other_validation_images_change_nothing_of_the_run():
    assert raised(8.0, between=[ChangeEvent(50, 400, "validation", "metric_guard")]) == raised(8.0)


@pytest.mark.parametrize("total", [SHORTEST_RUN, TOTAL, 100_000])
def test_a_rate_that_is_to_be_raised_has_the_time_for_it(total):
    """Whatever the warm-up: where the trial would come too late the rate is not halved for it."""
    for warmup in range(0, total // 8, total // 200):
        automation = LearningRateRise(facts=facts(total_iter=total))
        ends = range(10, total // 5, 10)
        windows = [window(s, progress=s / total, warming_up=s < warmup) for s in ends]
        comes = any(drive(automation, windows, controls(lr_search=1.0)))
        promised = can_rise(facts(total_iter=total, warmup_iter=warmup, optimizer="SGD"))
        assert comes or not promised
        assert promised or warmup > 0.09 * total
