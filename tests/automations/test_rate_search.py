"""`lr: auto` as decisions: whatever the losses of trials, which rate is taken and what it costs."""

import json
import math
import random

import pytest
from automations.simulate import controls, drive, facts, window

from traiNNer.automations.rate.rate_search import (
    LONG_STEPS,
    MOST_STEPS,
    SHORTEST_RUN,
    TRIAL_STEPS,
    LearningRateSearch,
    SetSearchedRate,
)
from traiNNer.automations.rate.written_rate import trial_steps
from traiNNer.control import RunTrial
from traiNNer.events import StartEvent, TrialEvent

START = StartEvent(0, 0)
TOTAL = 2_000


def search(total=TOTAL, *, rough=False):
    return LearningRateSearch(facts=facts(total_iter=total), rough=rough)


def searched(score, total=TOTAL, *, rough=False, restart=False, longer=None):
    """The rate that is taken where `score(factor)` are the losses of an arm, and the trials on the way.

    `longer` are those of the longer trials, as `score` where nothing is said. `restart` puts the state into a new
    search before every event, as a resumed run does.
    """
    automation, in_force, event, trials = search(total, rough=rough), controls(lr_search=1.0), START, []
    for _ in range(10):
        if restart:
            state = json.loads(json.dumps(automation.state_dict()))
            automation = search(total, rough=rough)
            automation.load_state_dict(state)
        (decisions,) = drive(automation, [event], in_force)
        (decision,) = decisions
        if not isinstance(decision, RunTrial):
            assert automation.done
            return decision, trials, in_force
        trials.append(decision)
        of_arm = score if decision.steps == TRIAL_STEPS or longer is None else longer
        event = TrialEvent(
            0, 0, decision.arms, [of_arm(arm.lr_factor) for arm in decision.arms], decision.steps
        )
    raise AssertionError("the search does not end")


def bowl(best):
    """Losses with their lowest at a factor, noise that all arms share."""
    return lambda factor: [0.1 * math.log2(factor / best) ** 2 + 0.3 * (index % 5) for index in range(16)]


def spent(trials):
    return sum(len(trial.arms) * trial.steps for trial in trials)


@pytest.mark.parametrize("total", [SHORTEST_RUN, TOTAL, 10_000])
@pytest.mark.parametrize("power", range(-6, 7))
def test_the_best_of_the_trials_is_found_from_64_times_below_to_above_within_the_budget(power, total):
    decision, trials, in_force = searched(bowl(2.0**power), total)
    assert decision.factor == 2.0**power
    assert decision.factor == in_force.lr_search and decision.rate == pytest.approx(2e-4 * decision.factor)
    assert spent(trials) <= 0.05 * total


def test_a_network_that_wakes_up_late_gets_twice_the_best_of_the_short_trials():
    def late(gain):
        return searched(bowl(1.0), longer=lambda factor: [gain * (factor == 2.0) * -1.0] * 16)

    assert late(0.05)[0].factor == 2.0 and late(0.03)[0].factor == 1.0
    *_, last = late(0.05)[1]
    assert [arm.lr_factor for arm in last.arms] == [1.0, 2.0] and last.steps >= LONG_STEPS
    failed = searched(bowl(1.0), longer=lambda factor: [] if factor > 1 else [0.0])
    assert failed[0].factor == 1.0


@pytest.mark.parametrize(("gain", "factor"), [(0.03, 1.0), (0.05, 2.0)])
def test_the_last_step_up_must_be_a_clear_one(gain, factor):
    losses = {0.25: 1.0, 1.0: 0.0, 4.0: 0.5, 2.0: -gain, 0.5: 0.5}
    assert searched(lambda tried: [losses[tried]] * 16, longer=lambda _: [0.0] * 16)[0].factor == factor


@pytest.mark.parametrize(("gain", "factor"), [(0.07, 1.0), (0.09, 4.0)])
def test_after_a_step_that_was_not_clear_four_times_the_rate_must_win_by_as_much_twice(gain, factor):
    losses = {0.25: 1.0, 1.0: 0.0, 4.0: 0.5, 2.0: -0.02, 0.5: 0.5}
    longer = lambda tried: [-gain * (tried == 4.0)] * 16  # noqa: E731
    assert searched(lambda tried: [losses[tried]] * 16, longer=longer)[0].factor == factor


def test_a_rough_search_leaves_half_of_the_best_to_be_raised():
    decision, trials, _ = searched(bowl(4.0), rough=True)
    assert decision.factor == 2.0 and [len(trial.arms) for trial in trials] == [3, 1]


def test_a_rate_above_one_that_failed_has_failed():
    decision, _, _ = searched(lambda factor: [] if 0.1 < factor < 2 else bowl(1 / 16)(factor))
    assert decision.factor == 1 / 16


def test_only_a_best_at_the_end_costs_further_rates():
    assert [len(trial.arms) for trial in searched(bowl(1.0))[1]] == [3, 2, 2]
    assert [len(trial.arms) for trial in searched(bowl(2.0**7))[1]] == [3, 1, 1, 2]
    assert [len(trial.arms) for trial in searched(bowl(2.0**7), 10_000)[1]] == [3, 1, 1, 2, 2]


def test_where_samples_are_scarce_only_the_side_of_the_better_neighbour_is_tried():
    """Twice outwards, so that both sides would leave nothing for longer trials."""
    _, trials, _ = searched(bowl(2.0**-3.4))
    assert [len(trial.arms) for trial in trials] == [3, 1, 1, 1, 2]
    assert [arm.lr_factor for arm in trials[3].arms] == [1 / 8]


def test_arms_that_fail_lose_and_rates_above_them_too():
    decision, _, _ = searched(lambda factor: [] if factor > 1 else bowl(64.0)(factor))
    assert decision.factor == 1.0


def test_where_all_fail_lower_rates_are_tried():
    decision, trials, _ = searched(lambda factor: [] if factor > 0.1 else bowl(1 / 32)(factor))
    assert decision.factor == 1 / 32 and [len(trial.arms) for trial in trials][:3] == [3, 1, 1]


def test_the_starting_rate_stays_where_nothing_can_be_tried():
    for found in (searched(lambda factor: []), searched(bowl(4.0), total=SHORTEST_RUN - 1)):
        assert found[0].factor == 1.0 and found[0].counts is False
    assert searched(bowl(4.0), total=SHORTEST_RUN - 1)[1] == []


@pytest.mark.parametrize("power", [-7, 0, 1, 7])
def test_a_search_goes_on_from_its_state_to_the_same_rate(power):
    assert searched(bowl(2.0**power), restart=True) == searched(bowl(2.0**power))


@pytest.mark.parametrize("seed", range(8))
def test_processes_that_see_the_same_losses_decide_alike_whatever_the_losses(seed):
    """A rate that some trial could train, within the budget; the only input are the losses, equal on all."""
    draw = random.Random(seed)
    losses: dict[float, list[float]] = {}

    def score(factor):
        failed = draw.random() < 0.2
        return losses.setdefault(factor, [] if failed else [draw.gauss(0, 1) for _ in range(16)])

    one, other = searched(score), searched(score, restart=True)
    assert one == other
    (decision, trials, _) = one
    assert spent(trials) <= 0.05 * TOTAL
    assert losses[decision.factor] or not any(losses.values())


def test_nothing_is_decided_before_the_start_or_after_the_end():
    automation = search()
    assert automation.waiting and drive(automation, [window(10)]) == [[]]
    decision, trials, _ = searched(bowl(1.0))
    events = [START, *(TrialEvent(0, 0, t.arms, [bowl(1.0)(a.lr_factor) for a in t.arms]) for t in trials)]
    more = [START, window(10), events[1]]
    answers = drive(automation, [*events, *more])
    assert isinstance(answers[len(events) - 1][0], SetSearchedRate) and not automation.waiting
    assert answers[len(events) :] == [[], [], []] and decision == answers[len(events) - 1][0]


@pytest.mark.parametrize("total", [1_400, 10_000, 450_000, 10_000_000])
def test_trials_take_a_small_share_of_a_run_and_never_thousands_of_steps(total):
    assert TRIAL_STEPS <= trial_steps(total) <= min(0.05 * total / 7, MOST_STEPS)
    assert trial_steps(1_399) == 0
    assert max(trial.steps for trial in searched(bowl(1.0), total)[1]) <= MOST_STEPS
