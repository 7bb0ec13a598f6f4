"""All automations together in a real, tiny training: kills, replays, faults, limits, changed settings."""

from dataclasses import fields, replace

import pytest
from tiny import TIMES, assert_same
from training.automation_runs import (
    FULL,
    copied,
    decisions,
    everything,
    full_trainer,
    lines,
    plateau_scheduler,
    resumed,
    trainer_of,
)
from training.test_resume import At, kill_at

from traiNNer.automations import Limits
from traiNNer.automations.batch.batch_size import DynamicBatchSizeOptimizer
from traiNNer.automations.gradients.gradient_clipping import AdaptiveGradientClipping
from traiNNer.automations.losses.loss_scheduling import DynamicLossScheduling
from traiNNer.build.replay import replay
from traiNNer.control import Clip, Controls, Ramp
from traiNNer.runtime.signals import StopSignal


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run with everything on, and its folder."""
    root = tmp_path_factory.mktemp("whole")
    trainer = resumed(root)
    trainer.fit(StopSignal())
    return trainer, root


def test_every_automation_acts_in_the_run_with_all_of_them(whole):
    """Otherwise the tests below would compare nothing with nothing."""
    acted = {d["automation"] for d in decisions(whole[1])}
    assert acted == {automation.name for automation in everything()}


@pytest.mark.parametrize("kills", [(1,), (17, 28), (31, 42), (38, 43)])
def test_a_killed_run_with_everything_on_has_the_same_decisions_and_bits(whole, tmp_path, kills):
    for step in kills:
        kill_at(resumed(tmp_path), step)
    last = resumed(tmp_path)
    last.fit(StopSignal())
    assert_same(whole[0].state_dict(), last.state_dict(), but=TIMES)
    assert decisions(tmp_path) == decisions(whole[1])
    assert len(lines(tmp_path, "events")) == len(lines(whole[1], "events"))


def test_recorded_events_shown_to_fresh_automations_give_the_recorded_decisions(whole, tmp_path):
    again = full_trainer(tmp_path)
    decided = list(replay(lines(whole[1], "events"), again.parts.supervisor, again.controls))
    assert decided == decisions(whole[1])
    assert len(decided) > 10


WATCHED = {automation.name: Limits(monitor_only=True) for automation in everything()}


def test_automations_that_only_monitor_change_not_a_bit(tmp_path):
    plain = full_trainer(tmp_path / "a", lambda: [])
    watched = full_trainer(tmp_path / "b", limits=WATCHED)
    plain.fit(StopSignal())
    watched.fit(StopSignal())
    assert_same(copied(plain.model), copied(watched.model))
    assert_same(plain.state_dict()["controls"], watched.state_dict()["controls"])
    said = decisions(tmp_path / "b")
    assert len({d["automation"] for d in said}) >= 4
    assert not any(d["applied"] for d in said)


@pytest.mark.parametrize("automation", everything(), ids=lambda automation: automation.name)
def test_an_automation_that_raises_is_switched_off_and_training_ends_normally(
    tmp_path, monkeypatch, caplog, automation
):
    seen = []

    def fail_late(self, event):
        seen.append(event)
        if len(seen) > 7:
            raise RuntimeError("a fault in it")

    monkeypatch.setattr(type(automation), "observe", fail_late)
    trainer = full_trainer(tmp_path)
    assert trainer.fit(StopSignal()).status in ("completed", "stopped_early")
    assert len(seen) == 8
    deciding = {d["automation"] for d in decisions(tmp_path) if d["iter"] > seen[-1].step}
    assert deciding and automation.name not in deciding
    standing = trainer.parts.supervisor.status()
    assert standing.pop(automation.name) == "off (RuntimeError: a fault in it)"
    assert not any(word.startswith("off") for word in standing.values())
    assert f"Automation {automation.name} failed and is switched off" in caplog.text


def test_an_automation_stays_off_after_a_resume(tmp_path, monkeypatch):
    monkeypatch.setattr(AdaptiveGradientClipping, "decide", lambda self, controls: 1 / 0)
    first = resumed(tmp_path)
    first.fit(At(first, 20))
    monkeypatch.undo()
    second = resumed(tmp_path)
    second.fit(StopSignal())
    assert second.parts.supervisor.status()["AdaptiveGradientClipping"].startswith("off (ZeroDivisionError")


def test_the_limit_of_adjustments_freezes(tmp_path):
    limits = {"IntelligentLearningRateScheduler": Limits(max_adjustments=1)}
    trainer = trainer_of(tmp_path, plateau_scheduler(), limits=limits)
    trainer.fit(StopSignal())
    assert trainer.controls.lr_factor == 0.8
    assert len(decisions(tmp_path)) == 1
    assert trainer.parts.supervisor.status() == {"IntelligentLearningRateScheduler": "frozen"}


@pytest.mark.parametrize(
    ("automation", "control", "value"),
    [
        (lambda: plateau_scheduler(min_lr_factor=0.95), lambda c: c.lr_factor, 0.95),
        (
            lambda: AdaptiveGradientClipping(max_threshold=1e-4, facts=FULL),
            lambda c: c.clip["g"].threshold,
            1e-4,
        ),
        (
            lambda: DynamicLossScheduling(min_weight=1.0, max_weight=1.0, facts=FULL),
            lambda c: c.loss_factor["char"],
            1.0,
        ),
        (lambda: DynamicBatchSizeOptimizer(max_batch_size=4, facts=FULL), lambda c: c.batch, 4),
    ],
)
def test_a_changed_setting_wins_over_the_state(tmp_path, automation, control, value):
    first = resumed(tmp_path)
    first.fit(At(first, 41))
    assert control(first.controls) != value
    second = resumed(tmp_path, lambda: [automation()])
    second.fit(At(second, 45))
    assert control(second.controls) == pytest.approx(value)


@pytest.mark.parametrize(("at", "learned"), [(12, False), (31, True)])
def test_limits_that_were_learned_outlast_a_changed_prior(tmp_path, at, learned):
    """Which follows from the rate."""
    first = trainer_of(tmp_path, AdaptiveGradientClipping(facts=FULL))
    first.fit(At(first, at))
    second = trainer_of(tmp_path, AdaptiveGradientClipping(initial_threshold=5.0, facts=FULL))
    second.load_state_dict(first._checkpointer.newest_whole_state()[1])
    assert (second.controls.clip == first.controls.clip) == learned
    assert (second.controls.clip == second._configured.clip) != learned


@pytest.mark.parametrize("rule", ["patience", "broken"])
def test_what_an_automation_decided_goes_with_it_and_else_it_stays(tmp_path, rule):
    prior = full_trainer(tmp_path / "prior").controls.clip["g"]

    def fixed():
        """With a fixed threshold that is the one that clipping begins with."""
        return Controls(4, 4, 8, clip={"g": prior})

    first, ramp = full_trainer(tmp_path), Ramp(0, 1)
    decided = Controls(
        8, 2, 6, lr_factor=0.5, lr_batch_factor=1.4, loss_factor={"l1": 3.0}, loss_scale=4.0, rewarm=ramp,
        cooldown=ramp, clip={"g": Clip(0.5, 0.1, 0.9)},
    )  # fmt: skip
    for control in (item.name for item in fields(Controls)):
        setattr(first.controls, control, getattr(decided, control))
    first.progress.step, first.progress.position = 5, 20
    first.progress.stop_rule, first.progress.stop_reason = rule, "no gain"
    first.save()
    state = first._checkpointer.newest_whole_state()[1]
    same, without = full_trainer(tmp_path / "same"), trainer_of(tmp_path / "without", controls=fixed())
    watched = full_trainer(tmp_path / "watched", limits=WATCHED, controls=fixed())
    for trainer in (same, without, watched):
        trainer.load_state_dict(state)
    assert (same.controls, same._ended()) == (decided, True)
    assert (without.controls, without._ended()) == (fixed(), False)
    assert (watched.controls, watched._ended()) == (fixed(), False)
    told = [(event.control, event.by) for event in without._effects.changed]
    assert told == [
        ("lr_factor", "IntelligentLearningRateScheduler"),
        ("batch", "DynamicBatchSizeOptimizer"),
        ("lq_size", "DynamicBatchSizeOptimizer"),
        ("loss_factor", "DynamicLossScheduling"),
    ]
    assert not same._effects.changed


@pytest.mark.parametrize(
    ("weights", "told"), [({}, []), ({"char": 0.5}, ["losses"]), ({"gan": 0.1}, ["losses"])]
)
def test_other_losses_or_weights_on_resuming_are_told_as_a_loss_that_is_switched_on(tmp_path, weights, told):
    """Else scores are compared with those of another aim."""
    first = full_trainer(tmp_path, lambda: [])
    first.save()
    second = full_trainer(tmp_path, lambda: [])
    facts = second.parts.facts
    second.parts = replace(second.parts, facts=replace(facts, loss_weights=facts.loss_weights | weights))
    second.load_state_dict(first._checkpointer.newest_whole_state()[1])
    assert [event.control for event in second._effects.changed] == told
