"""Decisions on learning rate, batch, clipping and losses reach a real, tiny training."""

import math

import pytest
import torch
from tiny import assert_same, make_model, tiny_network
from training.automation_runs import (
    FACTS,
    STEPS,
    Log,
    copied,
    decisions,
    lines,
    measure_other_losses,
    plateau_scheduler,
    resumed,
    trainer_of,
)
from training.test_resume import At, kill_at

from traiNNer.automations import Proposal
from traiNNer.automations.batch.batch_size import BatchFallback, DynamicBatchSizeOptimizer
from traiNNer.automations.gradients.gradient_clipping import AdaptiveGradientClipping
from traiNNer.automations.losses.loss_schedule import LossSchedule
from traiNNer.automations.losses.loss_scheduling import DynamicLossScheduling
from traiNNer.automations.rate.learning_rate import REWARM
from traiNNer.control import Controls, SetLossFactors
from traiNNer.models.sr_model import WeightedLoss
from traiNNer.runtime.signals import StopSignal
from traiNNer.training.window import losses_switched

# --- the learning rate -------------------------------------------------------------------------------------


def test_a_cut_of_the_learning_rate_is_in_the_optimizer_from_the_next_step_on(tmp_path):
    plain, cut = trainer_of(tmp_path / "a"), trainer_of(tmp_path / "b", plateau_scheduler())
    usual, log = Log(plain), Log(cut)
    plain.fit(StopSignal())
    cut.fit(StopSignal())
    factor, expected, told = 1.0, [], {d["iter"]: d["new"] for d in decisions(tmp_path / "b")}
    for step, rate in zip(usual.steps, usual.lr, strict=True):
        factor = told.get(step, factor)
        expected.append(rate * factor)
    assert log.lr == pytest.approx(expected, rel=1e-12)
    assert len(told) >= 2
    assert cut.controls.lr_factor == pytest.approx(0.8 ** len(told))


@pytest.mark.parametrize(("validate_every", "healthy"), [(10, 30), (0, 28), (60, 28)])
def test_a_network_that_has_blown_up_returns_to_its_last_healthy_weights_and_warms_up_again(
    tmp_path, validate_every, healthy
):
    """Of the validation at step 30, or of what was saved at 28 where nothing is measured on the way."""
    automation = plateau_scheduler(plateau_patience=10_000)
    trainer = trainer_of(tmp_path, automation, validate_every=validate_every)

    def disturb(step):
        if step == 33:
            with torch.no_grad():
                trainer.model.generator.net[0].weight.add_(1000.0)

    log = Log(trainer, before=disturb)
    trainer.fit(StopSignal())
    (returned,) = decisions(tmp_path)
    assert "blow-up" in returned["reason"]
    assert returned["new"] == 0.25
    assert returned["iter"] > 35
    for name, value in log.weights[returned["iter"]].items():
        assert torch.equal(value, log.weights[healthy][name]), name
    rising = log.lr[returned["iter"] :]
    assert rising[0] == 0.0
    assert rising[1] == pytest.approx(1e-2 * 0.1 * 0.25 / REWARM)  # 0.1 by the milestone at step 12
    assert max(log.weights[-1]["0.weight"].abs().flatten()) < 10


def test_an_old_state_without_a_snapshot_gives_one_to_return_to(tmp_path):
    first = trainer_of(tmp_path)
    first.fit(At(first, 15))
    second = resumed(tmp_path, lambda: [plateau_scheduler()])
    second.fit(At(second, 16))
    second.model.networks.roll_back()


@pytest.mark.parametrize(
    ("schedule", "news"),
    [
        (LossSchedule(), []),
        (LossSchedule(start_iter=12, disable_after=33), [20, 40]),
        (LossSchedule(start_iter=12, target_iter=37, target_weight=0.5), [20, 40]),
        (LossSchedule(target_iter=40, target_weight=2.0, schedule_type="cosine"), [40]),
        (LossSchedule(target_iter=25, target_weight=2.0, schedule_type="step"), [30]),
    ],
)
def test_a_weight_that_has_arrived_is_news_as_a_loss_that_is_switched_on_or_off(schedule, news):
    """What is measured from there on is of another aim."""
    loss = WeightedLoss(torch.nn.L1Loss(), lambda step: schedule.weight(step, 1.0))
    assert [now for now in range(10, 61, 10) if losses_switched({"a": loss}, now - 10, now)] == news


# --- the batch ---------------------------------------------------------------------------------------------


def test_too_much_memory_shrinks_the_pieces_that_go_through_the_network(tmp_path):
    memory = lambda controls: 0.5 if controls.micro_batch == 1 else 0.99  # noqa: E731
    optimizer = DynamicBatchSizeOptimizer(adjustment_frequency=10, facts=FACTS)
    trainer = trainer_of(tmp_path, optimizer, memory=memory)
    pieces = []
    trainer.model.generator.net.register_forward_pre_hook(lambda net, args: pieces.append(len(args[0])))
    log = Log(trainer)
    trainer.fit(StopSignal())
    trained = [size for size in pieces if size != 11]
    assert [d["new"] for d in decisions(tmp_path)] == [2, 1]
    assert trained[:12] == [4] * 10 + [2, 2]
    assert trained[-1] == 1
    assert set(log.batches) == {4}


def test_unused_memory_grows_the_batch_in_the_loader_with_its_learning_rate(tmp_path):
    optimizer = DynamicBatchSizeOptimizer(adjustment_frequency=5, max_batch_size=8, facts=FACTS)
    trainer = trainer_of(tmp_path, optimizer, memory=lambda controls: 0.05 * controls.micro_batch)
    log = Log(trainer)
    trainer.fit(StopSignal())
    first = decisions(tmp_path)[0]
    assert (first["parameter"], first["iter"]) == ("batch", 10)
    assert log.batches[:10] == [4] * 10
    assert log.batches[10] == first["new"] > 4
    assert log.lr[10] == pytest.approx(1e-2 * math.sqrt(first["new"] / 4))
    assert trainer.progress.position == sum(log.batches)
    assert trainer.progress.step < STEPS  # the samples are used up earlier
    assert trainer.progress.time == pytest.approx(STEPS, abs=2)


def failing_above(size, trainer):
    def fail(net, args):
        if net.training and len(args[0]) > size:
            raise torch.OutOfMemoryError("out of memory")

    trainer.model.generator.net.register_forward_pre_hook(fail)


def test_a_step_that_does_not_fit_is_repeated_smaller_and_ends_in_the_same_weights(tmp_path):
    optimizer = DynamicBatchSizeOptimizer(facts=FACTS)
    small = trainer_of(tmp_path / "a", controls=Controls(batch=4, micro_batch=2, lq_size=8))
    failing = trainer_of(tmp_path / "b", optimizer)
    failing_above(2, failing)
    small.fit(StopSignal())
    failing.fit(StopSignal())
    assert_same(copied(small.model), copied(failing.model))
    (decision,) = decisions(tmp_path / "b")
    assert (decision["iter"], decision["old"], decision["new"]) == (0, 4, 2)
    assert optimizer.state.failed == {"8": 4}


def test_a_fallback_to_another_batch_in_the_middle_of_a_step_loses_no_sample(tmp_path, monkeypatch):
    optimizer = DynamicBatchSizeOptimizer(fallback=BatchFallback(2), facts=FACTS)
    monkeypatch.setattr(optimizer, "_survive", lambda *args: 1 / 0)
    trainer = trainer_of(tmp_path, optimizer)
    failing_above(2, trainer)
    starts, batches = [], trainer.loader.batches

    def noted(position, batch, lq_size):
        starts.append((position, batch))
        return batches(position, batch, lq_size)

    trainer.loader.batches = noted
    log = Log(trainer)
    trainer.fit(At(trainer, 4))
    assert log.batches == [4, 4, 2, 2, 2]  # the first step twice: it failed
    assert trainer.progress.position == 10
    assert starts[-1] == (4, 2)


# --- clipping ----------------------------------------------------------------------------------------------


def sgd_model():
    net = tiny_network()
    return make_model(net, optimizer=torch.optim.SGD(net.parameters(), lr=1e-2), window=5)


def norms_that_reach_the_weights(trainer):
    """The norm of the gradient as the optimizer gets it, per step."""
    reached, optimizer = [], trainer.model.generator.optimizer
    step = optimizer.step

    def noting_step(*args):
        grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
        reached.append(float(torch.linalg.vector_norm(torch.cat([g.flatten() for g in grads]))))
        return step(*args)

    optimizer.step = noting_step
    return reached


def test_an_outlier_reaches_the_weights_at_an_ordinary_length_and_a_monster_not_at_all(tmp_path):
    spikes = {41: 1.6, 43: 1e6}
    trainer = trainer_of(
        tmp_path,
        AdaptiveGradientClipping(facts=FACTS),
        model=sgd_model(),
        weight_at=lambda step: spikes.get(step, 1.0),
    )
    reached = norms_that_reach_the_weights(trainer)
    log = Log(trainer)
    trainer.fit(StopSignal())
    windows = [e for e in lines(tmp_path, "events") if e["kind"] == "WindowEvent"]
    norms = [norm for event in windows for norm in event["grad_norm"]["g"]]
    applied = [flag for event in windows for flag in event["applied"]["g"]]
    last = [d for d in decisions(tmp_path) if d["iter"] <= 40][-1]
    target = float(last["reason"].split("target ")[1].split(",")[0])
    assert norms[41] > last["new"] > norms[40]
    assert reached[40] == pytest.approx(norms[40])
    assert reached[41] == pytest.approx(target, rel=1e-3)
    assert [step for step, flag in enumerate(applied) if not flag] == [43]
    assert torch.equal(log.weights[44]["0.weight"], log.weights[43]["0.weight"])


def test_the_prior_threshold_holds_from_the_first_step(tmp_path):
    clipping = AdaptiveGradientClipping(initial_threshold=1e-3, facts=FACTS)
    trainer = trainer_of(tmp_path, clipping, model=sgd_model())
    reached = norms_that_reach_the_weights(trainer)
    trainer.fit(At(trainer, 3))
    assert reached == pytest.approx([1e-3] * 3)


# --- losses ------------------------------------------------------------------------------------------------


def test_a_loss_factor_is_in_the_loss_from_the_next_step_on(tmp_path):
    scheduling = DynamicLossScheduling(auto_calibrate=True, facts=FACTS)
    trainer = trainer_of(tmp_path, scheduling, weight_at=lambda step: 3.0)
    measure_other_losses(trainer)
    trainer.fit(StopSignal())
    factors = {d["iter"]: d["new"] for d in decisions(tmp_path)}
    assert factors
    factor, step = 1.0, 0
    for event in lines(tmp_path, "events"):
        if event["kind"] != "WindowEvent":
            continue
        for l1, char, total in zip(*event["losses"].values(), event["total"], strict=True):
            factor, step = factors.get(step, factor), step + 1
            assert total == pytest.approx(3.0 * l1 + 0.3 * factor * char, rel=1e-12)
    assert factor == pytest.approx(trainer.controls.loss_factor["char"])
    assert factor != 1.0


def test_a_loss_that_its_schedule_switches_on_is_announced_also_after_a_kill(tmp_path):
    def begin(step):
        return 1.0 if step >= 22 else 0.0

    def build(root):
        trainer = trainer_of(root)
        losses = trainer.model.losses
        losses["char"] = losses["char"]._replace(weight_at=begin)
        found = trainer._checkpointer.newest_whole_state()
        if found:
            trainer.load_state_dict(found[1])
        return trainer

    build(tmp_path / "a").fit(StopSignal())
    kill_at(build(tmp_path / "b"), 21)  # a state of step 14 exists
    build(tmp_path / "b").fit(StopSignal())
    for run in "ab":
        changes = [e for e in lines(tmp_path / run, "events") if e["kind"] == "ChangeEvent"]
        assert [(e["step"], e["control"], e["by"]) for e in changes] == [(25, "losses", "schedule")]


@pytest.mark.parametrize("factor, forgotten", [(10.0, True), (0.1, True), (2.0, False)])
def test_a_jump_of_a_loss_factor_clears_the_moments_that_belong_to_other_gradients(
    tmp_path, factor, forgotten
):
    trainer = trainer_of(tmp_path)
    trainer.fit(At(trainer, 10))
    decision = SetLossFactors(factors={"char": factor}, reason="a test")
    trainer._apply(Proposal("DynamicLossScheduling", decision, applied=True))
    assert (not trainer.model.generator.optimizer.state) == forgotten
    assert trainer.controls.loss_factor == {"char": factor}


@pytest.mark.parametrize("factor, forgotten", [(10.0, True), (0.1, True), (2.0, False)])
def test_a_factor_that_falls_back_on_resuming_does_what_any_change_of_a_factor_does(
    tmp_path, factor, forgotten
):
    first = trainer_of(tmp_path, DynamicLossScheduling(facts=FACTS))
    first.fit(At(first, 4))
    first.controls.loss_factor, first._saved_at = {"char": factor}, (-1, -1)
    first.save()
    second = trainer_of(tmp_path)
    second.load_state_dict(second._checkpointer.newest_whole_state()[1])
    assert (not second.model.generator.optimizer.state) == forgotten
    second.begin()
    told = lines(tmp_path, "events")[-1]
    assert (told["kind"], told["control"]) == ("ChangeEvent", "loss_factor")
