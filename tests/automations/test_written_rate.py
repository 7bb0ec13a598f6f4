"""A written rate against four times as much: when it is doubled, and that nothing else happens."""

import json

import pytest
from automations.simulate import controls, drive, facts, window

from traiNNer.automations.rate.written_rate import WrittenRateTrial
from traiNNer.control import RunTrial, SetLearningRateFactor
from traiNNer.events import StartEvent, TrialEvent

START = StartEvent(0, 0)


def answers(written, higher, start=START):
    """What follows from the start and from the losses of the two arms, with a restart before each."""
    in_force, state, given = controls(), None, []
    for event in (start, TrialEvent(0, 0, [], [written, higher]), window(10), START):
        automation = WrittenRateTrial(facts=facts(total_iter=2000))
        if state:
            automation.load_state_dict(json.loads(json.dumps(state)))
        given += drive(automation, [event], in_force)
        state = automation.state_dict()
    return given, in_force.lr_factor


def shifted(by):
    return [-3.0 + 0.3 * (index % 5) - by for index in range(16)]


@pytest.mark.parametrize(("better_by", "factor"), [(0.05, 2.0), (0.01, 1.0), (0.0, 1.0), (-0.5, 1.0)])
def test_it_doubles_only_what_four_times_as_much_clearly_beats(better_by, factor):
    (first, second, *rest), taken = answers(shifted(0.0), shifted(better_by))
    (trial,) = first
    assert isinstance(trial, RunTrial) and [arm.lr_factor for arm in trial.arms] == [1.0, 4.0]
    assert trial.steps * 2 <= 0.015 * 2000 and not trial.kept
    assert taken == factor and rest == [[], []]
    assert [type(decision) for decision in second] == [SetLearningRateFactor] * (factor > 1)


@pytest.mark.parametrize("failed", [0, 1])
def test_a_trial_that_could_not_be_scored_changes_nothing(failed):
    losses = [shifted(0.0), shifted(1.0)]
    losses[failed] = []
    assert answers(*losses)[1] == 1.0


def test_a_run_that_is_under_way_is_not_tried():
    assert answers(shifted(0.0), shifted(1.0), start=StartEvent(100, 800)) == ([[], [], [], []], 1.0)
