import json
import logging
import math
import random
from dataclasses import replace

import pytest
from automations.simulate import controls, facts, validation, window

from traiNNer.automations import Supervisor
from traiNNer.automations.metric_guard import MetricGuard
from traiNNer.automations.rate.learning_rate import IntelligentLearningRateScheduler
from traiNNer.automations.stopping.early_stopping import IntelligentEarlyStopping
from traiNNer.events import ChangeEvent, SetScores

DIRECTIONS = {"psnr": True, "lpips": False}


def other(event, **changes):
    """The same validation with a changed set."""
    old = event.sets["val"]
    scores = SetScores(**{**vars(old), **changes})
    return type(event)(**{**vars(event), "sets": {"val": scores}})


def supervisor():
    automations = {
        a.name: a
        for a in (
            IntelligentLearningRateScheduler(facts=facts()),
            IntelligentEarlyStopping(facts=facts(), min_lr_factor=0.1),
        )
    }
    return Supervisor(automations, guard=MetricGuard(DIRECTIONS))


@pytest.mark.parametrize(
    "change, words",
    [
        ({"images": ["0.png", "x.png"]}, "other images"),
        ({"sizes": [(64, 64), (32, 64)]}, "1.png has other sizes"),
        ({"baseline": {"psnr": [20.0, 20.1]}}, "psnr of bicubic is 20.0500, 20.0000 before"),
    ],
)
def test_a_validation_of_something_else_raises_the_alarm_and_is_not_shown(caplog, change, words):
    guard = MetricGuard(DIRECTIONS)
    first = validation(1000, [30.0, 31.0])
    assert guard.check(first) is first and caplog.text == ""
    changed = other(validation(2000, [24.0, 25.0]), **change)
    shown = guard.check(changed)
    assert isinstance(shown, ChangeEvent) and shown.control == "validation" and shown.step == 2000
    assert [r.levelno for r in caplog.records] == [logging.ERROR] and words in caplog.text
    again = other(validation(3000, [24.0, 25.0]), **change)
    assert guard.check(again) is again


def test_a_set_that_comes_or_goes_is_a_change(caplog):
    guard = MetricGuard(DIRECTIONS)
    guard.check(validation(1000, [30.0], name="a"))
    assert isinstance(guard.check(validation(2000, [30.0], name="b")), ChangeEvent)
    assert "set b is new" in caplog.text and "set a is gone" in caplog.text


def test_another_order_of_sets_or_metrics_is_a_change(caplog):
    """The first ones decide where nobody says more: a set that is harder by 6 dB is no collapse."""
    guard, sets = MetricGuard(DIRECTIONS), {"easy": 30.0, "hard": 24.0}
    for step, names in ((1, ["easy", "hard"]), (2, ["hard", "easy"]), (3, ["hard", "easy"])):
        parts = {name: validation(step, [sets[name]], name=name).sets[name] for name in names}
        event = replace(validation(step, [0.0]), sets=parts)
        assert isinstance(guard.check(event), ChangeEvent) == (step == 2)
    assert "hard/psnr comes first, easy/psnr before" in caplog.text


def test_outputs_that_are_not_finite_are_no_other_measurement():
    guard = MetricGuard(DIRECTIONS)
    guard.check(other(validation(1000, [30.0, 31.0]), baseline={"psnr": [20.0, 25.0]}))
    broken = other(validation(2000, [30.0, math.nan]), baseline={"psnr": [20.0, 25.0]})
    assert guard.check(broken) is broken


@pytest.mark.parametrize(
    "metric, above, below, bicubic", [("psnr", 30.0, 19.0, 20.0), ("lpips", 0.1, 0.5, 0.4)]
)
def test_a_fall_below_bicubic_is_an_error_once(caplog, metric, above, below, bicubic):
    guard = MetricGuard(DIRECTIONS)
    for step, score in ((1, below), (2, above), (3, below), (4, below), (5, above)):
        event = validation(step, [score], metric=metric, bicubic=bicubic)
        assert guard.check(event) is event
    assert caplog.text.count("fell below bicubic") == 1 and "iter 3" in caplog.text


def test_automations_begin_afresh_instead_of_acting_on_a_measuring_error():
    """Scores 6 dB lower on other images would be broken, were they compared."""
    watch, in_force, rng = supervisor(), controls(), random.Random(0)
    decisions = []
    for k in range(1, 13):
        event = validation(1000 * k, [30 + 0.1 * k + rng.gauss(0, 0.01), 31 + 0.1 * k])
        if k > 6:
            event = other(event, sizes=[(32, 32), (32, 32)], metrics={"psnr": [24 + 0.1 * k, 25 + 0.1 * k]})
        decisions += watch.react(window(1000 * k - 500), in_force) + watch.react(event, in_force)
    assert decisions == []
    stopping = watch.automations["IntelligentEarlyStopping"]
    assert stopping.state.record.highest == pytest.approx(24.5 + 1.2)


def test_without_the_guard_the_same_history_would_have_been_acted_upon():
    watch, in_force = supervisor(), controls()
    watch._guard = None
    decisions = []
    for k in range(1, 13):
        event = validation(1000 * k, [30.0 if k <= 6 else 24.0, 31.0 if k <= 6 else 25.0])
        decisions += watch.react(window(1000 * k - 500), in_force) + watch.react(event, in_force)
    assert decisions != []


def test_the_guard_is_part_of_the_state_of_a_run(caplog):
    first, second = supervisor(), supervisor()
    first.react(validation(1000, [30.0, 31.0]), controls())
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    second.react(other(validation(2000, [30.0, 31.0]), images=["a", "b"]), controls())
    assert "other images" in caplog.text


def test_a_state_without_a_guard_can_be_loaded():
    state = supervisor().state_dict()
    del state["metric_guard"]
    supervisor().load_state_dict(state)
