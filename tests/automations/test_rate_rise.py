"""What raises the rate of `lr: auto`, as decisions: whatever the losses, which rate and what it costs."""

import json
import math

import pytest
from automations.simulate import controls, drive, facts, window

from traiNNer.automations.rate.rate_rise import GROWTH, LearningRateRise
from traiNNer.automations.rate.rate_search import MOST_ROUGH, SHORTEST_RUN, TRIAL_STEPS
from traiNNer.control import RunTrial
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


def raised(limit, *, found=1.0, total=TOTAL, restart=False, between=()):
    """The factor in force at the end, and the trials; rates from `limit` on are too high."""
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
                events += [TrialEvent(step, 0, decision.arms, [scores], decision.steps), *between]
    assert automation.done or not trials
    return in_force.lr_search, trials


@pytest.mark.parametrize("power", [-1, 0, 1, 2, 3])
def test_half_of_the_rate_that_is_too_high_is_taken_but_never_a_lower_one(power):
    factor, trials = raised(4.0 * 2.0**power)
    assert factor == pytest.approx(max(1.0, 2.0 * 2.0**power), rel=0.2)
    ((step, trial),) = trials
    assert step == 50 and trial.steps == 24 and not trial.kept and not trial.counts


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
