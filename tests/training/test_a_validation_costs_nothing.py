"""A run is saved before it validates, and goes on without a validation that fails."""

import json
import os
import random
import signal
import time

import pytest
from tiny import TIMES, assert_same, make_trainer
from training.test_resume import Killed, records, resumed

from traiNNer.runtime.distributed import DistributedContext
from traiNNer.runtime.signals import GivenUp, StopSignal
from traiNNer.training.agreement import all_or_none
from traiNNer.training.checkpoint import read_state


def validating(trainer, at, error):
    """Let the validation of a step raise."""
    run = trainer.parts.validator.run

    def run_or_raise(model, *, step, **options):
        if step == at:
            raise error
        return run(model, step=step, **options)

    trainer.parts.validator.run = run_or_raise
    return trainer


@pytest.mark.parametrize("step", [4, 8, 20])
def test_a_kill_during_a_validation_loses_no_step_and_changes_no_bit(tmp_path, step):
    plan = {"checkpoints": {"keep_states": 9}}
    whole = make_trainer(tmp_path / "a", **plan)
    every = whole.parts.plan
    object.__setattr__(every, "save_every", 4)
    whole.fit(StopSignal())
    part = make_trainer(tmp_path / "b", **plan)
    object.__setattr__(part.parts.plan, "save_every", 4)
    with pytest.raises(Killed):
        validating(part, step, Killed()).fit(StopSignal())
    last = resumed(tmp_path / "b", **plan)
    object.__setattr__(last.parts.plan, "save_every", 4)
    assert last.progress.step == step
    last.fit(StopSignal())
    assert_same(whole.state_dict(), last.state_dict(), but=TIMES)
    for name in ("metrics.jsonl", "events.jsonl"):
        assert records(tmp_path / "a", name) == records(tmp_path / "b", name)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_validation_raises_the_run_ends_as_it_would(tmp_path, seed, caplog):
    rng = random.Random(seed)
    kind = rng.choice([RuntimeError, OSError, ValueError, KeyError, MemoryError, AssertionError])
    trainer = validating(make_trainer(tmp_path), rng.choice([4, 8, 12, 16, 20]), kind("broken"))
    whole = make_trainer(tmp_path / "whole")
    whole.fit(StopSignal())
    assert trainer.fit(StopSignal()) == ("completed", "20 iterations")
    assert "the run goes on without it" in caplog.text and "broken" in caplog.text
    assert_same(trainer.state_dict()["model"], whole.state_dict()["model"], but=TIMES)


def test_the_closing_validation_is_in_the_last_state(tmp_path):
    trainer = make_trainer(tmp_path, total=15)  # saves every 5 steps, validates every 4
    trainer.fit(StopSignal())
    state = read_state(tmp_path / "training_states/15.state")
    assert state["progress"]["validated"] == 15
    again = resumed(tmp_path, total=15)
    again.fit(StopSignal())
    steps = [r["iter"] for r in map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())]
    assert steps.count(15) == 1


def test_a_failing_run_saves_its_last_whole_step(tmp_path):
    whole = make_trainer(tmp_path / "a")
    whole.fit(StopSignal())
    part = make_trainer(tmp_path / "b")
    forward = part.model._forward

    def forward_or_fail(*arguments):
        if part.progress.step == 13:
            raise RuntimeError("a loss fails")
        return forward(*arguments)

    part.model._forward = forward_or_fail
    with pytest.raises(RuntimeError):
        part.fit(StopSignal())
    part.save_after_failure()
    last = resumed(tmp_path / "b")
    assert last.progress.step == 13
    last.fit(StopSignal())
    assert_same(whole.state_dict(), last.state_dict(), but=TIMES)


@pytest.mark.parametrize("fault", ["not finite", "half updated"])
def test_weights_that_are_not_sound_are_not_saved(tmp_path, fault):
    trainer = make_trainer(tmp_path, total=3)
    trainer.begin()
    trainer.advance()
    if fault == "not finite":
        next(trainer.model.generator.net.parameters()).data[0] = float("nan")
    else:
        trainer.model.updating = True
    trainer.save_after_failure()
    assert not (tmp_path / "training_states").exists()


@pytest.mark.parametrize(("number", "step"), [("SIGTERM", 8), ("SIGUSR1", 20), ("SIGINT", 15)])
def test_a_signal_in_a_validation_gives_it_up_at_once_and_changes_no_bit(tmp_path, caplog, number, step):
    """Also in the middle of one image, and in the last validation (of 15 steps, which are none of four)."""
    plan = {"checkpoints": {"keep_states": 9}, "total": 15 if step == 15 else 20}
    whole = make_trainer(tmp_path / "a", **plan)
    whole.fit(StopSignal())
    part = make_trainer(tmp_path / "b", **plan)
    measure, sent = part.parts.validator._measure, []

    def forever(*arguments, **options):
        if part.progress.step == step:
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.Signals[number])
            time.sleep(60)
        return measure(*arguments, **options)

    part.parts.validator._measure = forever
    with StopSignal() as stop:
        stop.defer()
        ended = part.fit(stop)
    assert time.monotonic() - sent[0] < 2
    assert len(sent) == 1
    assert ended.status == "interrupted"
    assert ended.reason.startswith(number)
    assert f"The validation at iteration {step} was given up ({number})" in caplog.text
    assert f"{number}: giving up the validation and saving" in caplog.text
    last = resumed(tmp_path / "b", **plan)
    assert last.progress.step == step
    assert last.fit(StopSignal()).status == "completed"
    assert_same(whole.state_dict(), last.state_dict(), but=TIMES)
    for name in ("metrics.jsonl", "events.jsonl"):
        assert records(tmp_path / "a", name) == records(tmp_path / "b", name)


def test_a_signal_that_comes_before_a_validation_keeps_it_from_beginning(tmp_path):
    trainer = make_trainer(tmp_path)
    stop = StopSignal()
    advance = trainer.advance

    def at_four():
        advance()
        stop.received = "SIGTERM" if trainer.progress.step == 4 else None

    trainer.advance = at_four
    trainer.parts.validator._measure = lambda *a, **k: 1 / 0
    assert trainer.fit(stop) == ("interrupted", "SIGTERM at step 4")
    assert trainer.progress.validated != 4


class Beside(DistributedContext):
    """One of two processes; the other one's share is `theirs`."""

    theirs = None

    def gather(self, value):
        return [value, self.theirs]


@pytest.mark.parametrize(
    ("theirs", "error", "words"),
    [
        ((None, "GivenUp: SIGUSR1", True), GivenUp, "a signal to process 1"),
        ((None, "KeyError: 'x'", False), RuntimeError, "process 1: KeyError: 'x'"),
    ],
)
def test_what_ends_the_share_of_one_process_ends_that_of_the_others(theirs, error, words):
    processes = Beside()
    processes.theirs = theirs
    with pytest.raises(error, match=words):
        all_or_none(processes, lambda: 1)
    processes.theirs = (2, "", False)
    assert all_or_none(processes, lambda: 1) == [1, 2]


def test_a_run_that_nothing_was_measured_of_says_so(tmp_path):
    trainer = make_trainer(tmp_path, total=5)

    def failing(*args, **options):
        raise RuntimeError("broken")

    trainer.parts.validator.run = failing
    assert trainer.fit(StopSignal()).reason == "5 iterations; no validation succeeded: nothing was measured"
