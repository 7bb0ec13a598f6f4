"""Trials: the same samples under several settings, and a run that is as before after them."""

import copy
import math
from dataclasses import dataclass, field
from itertools import islice
from types import SimpleNamespace

import pytest
import torch
from tiny import TIMES, Waves, assert_same, make_model
from training.automation_runs import trainer_of

from traiNNer.automations import Automation
from traiNNer.control import Arm, Controls, Plain, RollBack, RunTrial
from traiNNer.data.loader import TrainLoader
from traiNNer.events import TrialEvent, WindowEvent
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.runtime.signals import StopSignal
from traiNNer.training.checkpoint import read_state
from traiNNer.training.trial import HELD_OUT, Moment, TrialRunner

ARMS = [Arm("low", 0.1), Arm("as it is", 1.0), Arm("return", 1.0, restored=True)]
MOMENT = Moment(step=7, position=28, time=7.0)


@pytest.fixture
def loader():
    return TrainLoader(Waves(), 3)


def controls(**changes):
    return Controls(**{"batch": 4, "micro_batch": 4, "lq_size": 8, **changes})


def trained(loader, steps=7):
    """A model in the middle of a run, its window open."""
    model = make_model()
    model.networks.take_snapshot()
    for step, batch in enumerate(islice(loader.batches(0, 4, 8), steps)):
        model.networks.set_learning_rates(step, 1.0)
        model.optimize_parameters(batch, step, controls())
    return model


def runner(model, loader):
    return TrialRunner(model, loader, DistributedContext(), "l1", window=10)


def asked_for(arms, steps):
    return RunTrial(arms=arms, steps=steps, reason="to see")


def tensors(state):
    if isinstance(state, torch.Tensor):
        return [state.clone()]
    return [t for value in state.values() for t in tensors(value)] if isinstance(state, dict) else []


def equal(a, b):
    pairs = ((x.nan_to_num(7.0), y.nan_to_num(7.0)) for x, y in zip(a, b, strict=True))
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("interrupted_at", [None, 0, 25])
def test_after_a_trial_the_model_is_as_before_to_the_bit(loader, interrupted_at):
    model, asked = trained(loader), []
    before = tensors(model.state_dict())

    def interrupted():
        asked.append(1)
        return interrupted_at is not None and len(asked) * 10 > interrupted_at

    scores = runner(model, loader).run(asked_for(ARMS, 12), controls(), MOMENT, interrupted)
    assert (scores is None) == (interrupted_at is not None)
    assert equal(before, tensors(model.state_dict()))
    numbers = model.read_metrics()
    assert len(numbers.total) == 7 and all(math.isfinite(value) for value in numbers.total)


def test_a_run_with_a_trial_in_it_goes_on_as_one_without(loader):
    def finished(trial):
        model = trained(loader)
        if trial:
            runner(model, loader).run(asked_for(ARMS, 5), controls(), MOMENT, lambda: False)
        for step, batch in enumerate(islice(loader.batches(28, 4, 8), 6), start=7):
            model.networks.set_learning_rates(step, 1.0)
            model.optimize_parameters(batch, step, controls())
            model.read_metrics()
        return tensors(model.state_dict())

    assert equal(finished(False), finished(True))


def test_a_trial_gives_the_same_scores_whenever_it_is_repeated(loader):
    model = trained(loader)
    first, second = (
        runner(model, loader).run(asked_for(ARMS, 8), controls(), MOMENT, lambda: False) for _ in range(2)
    )
    assert first == second and all(len(scores) == 16 for scores in first)
    assert runner(model, loader).run(asked_for(ARMS[:1], 8), controls(), MOMENT, lambda: False) == first[:1]


def test_arms_train_on_the_samples_to_come_and_are_scored_on_others(loader):
    model = trained(loader)
    seen, asked = [], loader.batches

    def batches(position, batch, lq_size):
        seen.append(position)
        return asked(position, batch, lq_size)

    loader.batches = batches
    runner(model, loader).run(asked_for(ARMS, 4), controls(), MOMENT, lambda: False)
    assert seen == [HELD_OUT, 28, 28, 28]


def test_a_rate_that_learns_scores_better_than_none_and_one_far_too_high_worse(loader):
    model = trained(loader)
    arms = [Arm("none", 0.0), Arm("good", 1.0), Arm("too high", 1000.0)]
    none, good, high = runner(model, loader).run(asked_for(arms, 60), controls(), MOMENT, lambda: False)
    assert sum(good) < sum(none) < sum(high)


def test_an_arm_that_does_not_fit_has_no_scores_and_leaves_no_trace(loader):
    model = trained(loader)
    before = tensors(model.state_dict())
    forward, calls = model.generator.net.forward, []

    def fails(x):
        calls.append(len(x))
        raise torch.OutOfMemoryError("as if")

    model.generator.net.forward = fails
    scores = runner(model, loader).run(asked_for(ARMS[:1], 4), controls(), MOMENT, lambda: False)
    model.generator.net.forward = forward
    assert scores == [[]] and calls[:3] == [4, 2, 1]
    assert equal(before, tensors(model.state_dict()))


def test_the_winner_of_a_trial_can_be_gone_on_with(loader):
    model, trial = trained(loader), None
    trial = runner(model, loader)
    trial.run(asked_for(ARMS, 6), controls(), MOMENT, lambda: False)
    before = copy.deepcopy(tensors(model.state_dict()))
    trial.adopt("return")
    after = tensors(model.state_dict())
    assert not equal(before, after)
    trial.adopt("return")
    assert equal(after, tensors(model.state_dict()))


# --- in a run ----------------------------------------------------------------------------------------------


@dataclass
class Seen(Plain):
    asked: bool = False
    scores: list[list[float]] = field(default_factory=list)


class AsksOnce(Automation[Seen]):
    """Asks for a trial at step 10 and goes on with its first arm where that scored."""

    name = "AsksOnce"

    def __init__(self, arms=ARMS[:2]):
        self.arms, self.state, self.found = arms, Seen(), False

    def observe(self, event):
        self.found = isinstance(event, TrialEvent)
        if self.found:
            self.state.scores = event.scores
        self.due = isinstance(event, WindowEvent) and event.step == 10

    def decide(self, controls):
        if self.found:
            self.found = False
            return [RollBack(factor=0.5, rewarm=None, arm=self.arms[0].name, reason="it was first")]
        if not self.due:
            return []
        self.state.asked, self.due = True, False
        return [RunTrial(arms=self.arms, steps=6, reason="to see")]

    def fallback(self, controls):
        return []


def asking(root, **options):
    return trainer_of(root, AsksOnce(), steps=30, model=make_model(window=5), **options)


def test_a_run_killed_after_or_stopped_in_a_trial_goes_on_to_the_same_end(tmp_path):
    whole = asking(tmp_path / "whole")
    whole.fit(StopSignal())
    assert not whole._effects._trials._ends, "the arms take memory for the rest of the run"
    state = whole.state_dict()
    assert state["automations"]["AsksOnce"]["state"]["scores"] != []

    stopped = asking(tmp_path / "stopped")

    ends, asked = StopSignal(), []

    def in_the_trial():
        asked.append(1)
        ends.received = "SIGTERM" if len(asked) == 2 else ends.received
        return ends.received is not None

    stopped.begin()
    stopped._stop = SimpleNamespace(came=in_the_trial)
    while not ends.received and stopped.progress.step < 30:
        stopped.advance()
    stopped.save()
    assert stopped.progress.step == 10 and len(asked) == 2
    path = tmp_path / "stopped" / "training_states" / "10.state"
    again = asking(tmp_path / "again")
    again.load_state_dict({**read_state(path), "recorder": None})
    again.fit(StopSignal())
    assert_same(state | {"recorder": {}}, again.state_dict() | {"recorder": {}}, but=TIMES)


def test_the_steps_of_the_open_window_survive_going_on_from_an_arm(loader):
    model = trained(loader, steps=7)
    trials = runner(model, loader)
    assert trials.run(asked_for(ARMS, 5), controls(), MOMENT, lambda: False)
    trials.adopt("low")
    assert len(model.read_metrics().total) == 7


def test_a_trial_and_a_later_snapshot_leave_the_memory_of_the_first_in_use(loader):
    """On a card a second copy of all weights would be what does not fit."""
    model = trained(loader, steps=3)
    kept = model.state_dict()["snapshot"]["net"]
    before, places = tensors(kept), [tensor.data_ptr() for tensor in kept.values()]
    assert runner(model, loader).run(asked_for(ARMS, 3), controls(), MOMENT, lambda: False)
    again = model.state_dict()["snapshot"]["net"]
    assert equal(before, tensors(again))
    model.networks.take_snapshot()
    assert [t.data_ptr() for t in model.state_dict()["snapshot"]["net"].values()] == places
    assert equal(tensors(model.generator.net.state_dict()), tensors(model.state_dict()["snapshot"]["net"]))
