"""`lr: auto` in runs: what is found holds from the first step on, is part of the state, and is told."""

from dataclasses import replace

import pytest
import torch
from tiny import TIMES, assert_same, make_model, tiny_network
from training.automation_runs import FACTS, Log, decisions, lines, plateau_scheduler, trainer_of

from traiNNer.automations.rate_search import LearningRateSearch
from traiNNer.automations.written_rate import WrittenRateTrial
from traiNNer.control import Controls
from traiNNer.optim.learner import Learner
from traiNNer.runtime.signals import StopSignal
from traiNNer.tracking.trials import trial_texts
from traiNNer.training.checkpoint import read_state

SEARCHED = replace(FACTS, total_iter=1400)  # so that there are steps for trials; the runs here are short


def searching(root, *others, **options):
    settings = Controls(batch=4, micro_batch=4, lq_size=8, lr_search=1.0)
    search = LearningRateSearch(facts=SEARCHED)
    return trainer_of(root, search, *others, steps=10, controls=settings, validate_every=0, **options)


def test_the_run_is_the_one_with_the_rate_written(tmp_path):
    found = searching(tmp_path / "auto")
    log = Log(found)
    found.fit(StopSignal())
    factor = found.controls.lr_search
    assert factor not in (None, 1.0)

    net = tiny_network()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2 * factor, fused=True)
    learner = Learner(net, optimizer, make_model().generator._schedule)
    written = trainer_of(
        tmp_path / "written", steps=10, validate_every=0, model=make_model(window=5, learner=learner)
    )
    written.fit(StopSignal())
    assert log.lr[-1] == pytest.approx(written.model.generator.learning_rate, rel=1e-12)
    for a, b in zip(found.model.generator.parameters, written.model.generator.parameters, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_trials_take_the_samples_and_rates_of_a_run_that_has_warmed_up(tmp_path):
    trainer = searching(tmp_path)
    log = Log(trainer)
    trainer.begin()
    short = log.lr[:10]
    assert max(short) == pytest.approx(1e-2 / 4), "the warm-up of the run is taken twice"
    assert short[0] < max(short) and short[-1] < max(short), "no warm-up, or no annealing"
    assert trainer.progress.step == trainer.progress.position == 0


@pytest.mark.parametrize("asked_before", [3, 6])
def test_a_search_that_a_signal_stops_goes_on_to_the_same_end(tmp_path, asked_before):
    whole = searching(tmp_path / "whole")
    whole.fit(StopSignal())

    stopped, ends, asked = searching(tmp_path / "stopped"), StopSignal(), []
    read = stopped.model.read_metrics

    def read_and_stop():
        asked.append(1)
        ends.received = "SIGTERM" if len(asked) >= asked_before else None
        return read()

    stopped.model.read_metrics = read_and_stop
    assert stopped.fit(ends).status == "interrupted" and stopped.progress.step == 0
    again = searching(tmp_path / "again")
    again.load_state_dict({**read_state(tmp_path / "stopped/training_states/0.state"), "recorder": None})
    again.fit(StopSignal())
    assert_same(whole.state_dict() | {"recorder": {}}, again.state_dict() | {"recorder": {}}, but=TIMES)


def test_a_number_that_is_written_later_is_that_number(tmp_path):
    found = searching(tmp_path / "auto")
    found.fit(StopSignal())
    again, written = searching(tmp_path / "again"), trainer_of(tmp_path / "written", steps=20)
    again.load_state_dict({**found.state_dict(), "recorder": None})
    written.load_state_dict({**found.state_dict(), "recorder": None})
    assert again.controls.lr_search == found.controls.lr_search
    assert written.controls.lr_search is None and written.controls.learning_rate_factor(0) == 1.0


def test_a_written_rate_that_is_far_too_low_is_doubled_and_the_run_is_the_one_with_that(tmp_path):
    def learner(rate):
        net = tiny_network()
        return Learner(
            net, torch.optim.AdamW(net.parameters(), lr=rate, fused=True), make_model().generator._schedule
        )

    def ended(root, rate, *automations):
        model = make_model(window=5, learner=learner(rate))
        trainer = trainer_of(tmp_path / root, *automations, steps=10, validate_every=0, model=model)
        trainer.fit(StopSignal())
        return trainer

    tried = ended("tried", 1e-4, WrittenRateTrial(facts=SEARCHED))
    assert tried.controls.lr_factor == 2.0
    written = ended("written", 2e-4)
    for a, b in zip(tried.model.generator.parameters, written.model.generator.parameters, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_the_trials_are_told(tmp_path, caplog):
    caplog.set_level("INFO")
    trainer = searching(tmp_path, plateau_scheduler())
    trainer.begin()
    last = decisions(tmp_path)[-1]
    rate = 1e-2 * trainer.controls.lr_search
    assert (last["automation"], last["parameter"], last["old"]) == ("LearningRateSearch", "lr", 1e-2)
    assert last["new"] == pytest.approx(rate) and last["applied"]
    trials = [event for event in lines(tmp_path, "events") if event["kind"] == "TrialEvent"]
    arms = [arm["name"] for trial in trials for arm in trial["arms"]]
    (table,) = (m for r in caplog.records if "behind the best" in (m := r.getMessage()))
    rows = [line.split() for line in table.splitlines()[2:]]
    assert sorted(row[0] for row in rows) == sorted(arms) and len(arms) >= 5
    assert [row[0] for row in rows if row[2] == "best"] == [f"{2 * rate:.3g}"]
    assert "could not be run" not in caplog.text  # the scheduler's own trials are others
    (shown,) = trial_texts(trials).values()
    assert sorted(shown.splitlines()[1:]) == sorted(table.splitlines()[2:])
