"""`lr: auto` in runs: what is found holds from the first step on, is part of the state, and is told."""

from dataclasses import replace

import pytest
import torch
from tiny import TIMES, assert_same, make_model, tiny_network
from training.automation_runs import FACTS, Log, decisions, lines, plateau_scheduler, trainer_of

from traiNNer.automations.rate.rate_rise import LearningRateRise
from traiNNer.automations.rate.rate_search import LearningRateSearch
from traiNNer.automations.rate.written_rate import WrittenRateTrial
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


def rising(root, found=1.0, *, rises=True):
    """A run whose rate is raised at step 25, after a trial at step 5 that is compared with the steps between."""
    settings = Controls(batch=4, micro_batch=4, lq_size=8, lr_search=found)
    model = make_model(window=5)
    automations = [LearningRateRise(facts=SEARCHED)] if rises else []
    return trainer_of(root, *automations, steps=60, controls=settings, model=model, validate_every=0)


@pytest.mark.parametrize("stopped_at", [5, 15])
def test_a_rise_that_is_stopped_in_its_trial_or_beside_it_goes_on_to_the_same_end(tmp_path, stopped_at):
    whole = rising(tmp_path / "whole", 0.1)
    whole.fit(StopSignal())
    assert whole.controls.lr_search > 0.1

    stopped, ends, read = rising(tmp_path / "stopped", 0.1), StopSignal(), []
    metrics = stopped.model.read_metrics

    def read_and_stop():
        read.append(stopped.progress.step)
        in_the_trial = read.count(5) == 4
        if in_the_trial if stopped_at == 5 else stopped.progress.step == stopped_at:
            ends.received = "SIGTERM"
        return metrics()

    stopped.model.read_metrics = read_and_stop
    assert stopped.fit(ends).status == "interrupted" and stopped.progress.step == stopped_at
    again = rising(tmp_path / "again", 0.1)
    state = read_state(tmp_path / f"stopped/training_states/{stopped_at}.state")
    again.load_state_dict({**state, "recorder": None})
    again.fit(StopSignal())
    assert_same(whole.state_dict() | {"recorder": {}}, again.state_dict() | {"recorder": {}}, but=TIMES)


def test_a_rate_that_diverges_beside_a_run_leaves_it_as_it_was(tmp_path):
    tried, plain = (rising(tmp_path / str(rises), 200.0, rises=rises) for rises in (True, False))
    for trainer in (tried, plain):
        trainer.fit(StopSignal())
    (trial,) = [event for event in lines(tmp_path / "True", "events") if event["kind"] == "TrialEvent"]
    assert tried.controls.lr_search == 200.0 and len(trial["scores"][0]) <= trial["steps"]
    for a, b in zip(tried.model.generator.parameters, plain.model.generator.parameters, strict=True):
        assert torch.equal(a, b)


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
    assert [row[0] for row in rows if row[2] == "best"] == [f"{rate:.3g}"]
    assert "could not be run" not in caplog.text  # the scheduler's own trials are others
    (shown,) = trial_texts(trials).values()
    assert sorted(shown.splitlines()[1:]) == sorted(table.splitlines()[2:])
