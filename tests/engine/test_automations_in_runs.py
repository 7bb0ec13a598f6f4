"""Decisions reach the run: each automation in a real, tiny training, and all of them together."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from automations.simulate import apply
from engine.test_resume import At, kill_at
from tiny import FACTS_OF_RUN, assert_same, make_model, make_trainer, tiny_network
from torch import nn

from traiNNer.archs.loading import read_weights
from traiNNer.automations import Limits, Supervisor
from traiNNer.automations.batch_size import BatchFallback, DynamicBatchSizeOptimizer
from traiNNer.automations.early_stopping import IntelligentEarlyStopping
from traiNNer.automations.gradient_clipping import AdaptiveGradientClipping
from traiNNer.automations.learning_rate import REWARM, IntelligentLearningRateScheduler
from traiNNer.automations.loss_scheduling import DynamicLossScheduling
from traiNNer.automations.metric_guard import MetricGuard
from traiNNer.automations.stabilizer import GradientFlowStabilizer
from traiNNer.control import (
    ChangeEvent,
    Controls,
    OutOfMemoryEvent,
    RequestEvent,
    ValidationEvent,
    WindowEvent,
    from_plain,
)
from traiNNer.engine.automate import set_starting_controls
from traiNNer.engine.signals import StopSignal
from traiNNer.engine.trainer import Plan

STEPS = 60
FACTS = replace(FACTS_OF_RUN, total_iter=STEPS, validate_every=10)
EVENTS = {
    kind.__name__: kind
    for kind in (WindowEvent, ValidationEvent, OutOfMemoryEvent, ChangeEvent, RequestEvent)
}
HARDWARE = (
    "seconds",
    "speed",
    "data_wait",
    "memory_peak",
    "lengths.events",
    "lengths.metrics",
    "lengths.health",
)


class Memory:
    """As much memory in use as a function of the trainer says."""

    def __init__(self, trainer, share):
        self._trainer, self._share = trainer, share

    def peak(self):
        return self._share(self._trainer.controls)


class Clock:
    """Every window takes a second."""

    def start(self): ...

    def data_arrived(self): ...

    def stop(self): ...

    def read(self):
        return 1.0, 0.0


class Log:
    """What every step of a trainer began with."""

    def __init__(self, trainer, *, before=lambda step: None):
        self.lr, self.batches, self.steps, self.weights = [], [], [], []
        optimize, model = trainer.model.optimize_parameters, trainer.model

        def optimize_and_log(batch, step, controls):
            before(step)
            self.steps.append(step)
            self.lr.append(model.generator.learning_rate)
            self.batches.append(len(batch.lq))
            self.weights.append(copied(model))
            optimize(batch, step, controls)

        trainer.model.optimize_parameters = optimize_and_log


def copied(model):
    return {name: value.clone() for name, value in model.generator.net.state_dict().items()}


def supervised(*automations, limits=None):
    guard = MetricGuard(FACTS.higher_is_better)
    return Supervisor({automation.name: automation for automation in automations}, limits, guard)


def trainer_of(
    root, *automations, limits=None, memory=lambda controls: 0.5, weight_at=None, steps=STEPS, **options
):
    """Windows of 5 steps, with the controls that the automations begin with.

    `weight_at(step)` multiplies the weights of both losses.
    """
    options.setdefault("model", make_model(window=5))
    options.setdefault("controls", Controls(batch=4, micro_batch=4, lq_size=8))
    supervisor = supervised(*automations, limits=limits)
    set_starting_controls(options["controls"], supervisor)
    validate_every = options.pop("validate_every", 10)
    plan = Plan(
        steps, validate_every=validate_every, save_every=14, window=5, samples_per_step=4, warmup_iter=5
    )
    trainer = make_trainer(root, total=steps, plan=plan, supervisor=supervisor, **options)
    trainer._memory, trainer._clock = Memory(trainer, memory), Clock()
    if weight_at:
        losses = trainer.model.losses
        losses["l1"] = losses["l1"]._replace(weight_at=weight_at)
        losses["char"] = losses["char"]._replace(weight_at=lambda step: 0.1 * weight_at(step))
    return trainer


def lines(root: Path, name: str):
    path = root / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def decisions(root: Path):
    return lines(root, "decisions")


def with_bicubic_at(trainer, psnr):
    """Let validations believe that bicubic enlargement scores `psnr`."""
    (waves,) = trainer._validator.sets
    scores = {"psnr": [psnr] * len(waves.images)}
    of = trainer._validator._origin(waves)
    trainer._validator.load_state_dict({"waves": {"of": of, "scores": scores}})


# --- the learning rate -------------------------------------------------------------------------------------


def plateau_scheduler(**options):
    """Everything counts as flat, so that the rate is cut as soon as the rules allow it."""
    settings = {"plateau_patience": 25, "adaptation_threshold": 50.0, "monitor_validation": False}
    return IntelligentLearningRateScheduler(**{**settings, **options}, facts=FACTS)


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


def test_a_network_that_has_blown_up_returns_to_its_last_healthy_weights_and_warms_up_again(tmp_path):
    trainer = trainer_of(tmp_path, plateau_scheduler(plateau_patience=10_000))

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
        assert torch.equal(value, log.weights[30][name]), name  # the validation at step 30 was healthy
    rising = log.lr[returned["iter"] :]
    assert rising[0] == 0.0
    assert rising[1] == pytest.approx(1e-2 * 0.1 * 0.25 / REWARM)  # 0.1 by the milestone at step 12
    assert max(log.weights[-1]["0.weight"].abs().flatten()) < 10


def test_an_old_state_without_a_snapshot_gives_one_to_return_to(tmp_path):
    first = trainer_of(tmp_path)
    first.fit(At(first, 15))
    second = resumed(tmp_path, lambda: [plateau_scheduler()])
    second.fit(At(second, 16))
    second.model.roll_back()


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


class TenfoldSquares(nn.Module):
    """A loss with a far longer gradient than the mean distance."""

    def forward(self, inputs):
        return 10 * (inputs.output - inputs.gt).square().mean()


def measure_other_losses(trainer):
    """With a second loss whose gradient differs from that of the first, measured every 16 steps."""
    losses = trainer.model.losses
    losses["char"] = losses["char"]._replace(module=TenfoldSquares())
    trainer.model._measure_losses_every = 16


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


# --- stopping ----------------------------------------------------------------------------------------------


def stopping(**options):
    settings = {"patience": 20, "min_iterations": 5, "warmup_iterations": 0, "min_lr_factor": 1.0}
    return IntelligentEarlyStopping(**{**settings, **options}, facts=replace(FACTS, total_iter=400))


def declining_after(step):
    """Losses that are minimised until a step, and then made worse a little at a time."""
    return lambda now: 1.0 if now < step else -0.01


def run_to_a_stop(root, *automations, bicubic, steps=400):
    trainer = trainer_of(root, *automations, weight_at=declining_after(15))
    trainer.plan = replace(trainer.plan, total_iter=steps)
    with_bicubic_at(trainer, bicubic)
    log = Log(trainer)
    return trainer, log, trainer.fit(StopSignal())


def test_a_run_with_nothing_to_gain_anneals_to_zero_and_ends(tmp_path):
    trainer, log, outcome = run_to_a_stop(tmp_path, stopping(), bicubic=0.0)
    (decision,) = decisions(tmp_path)
    stopped, end = decision["iter"], trainer.progress.step
    assert outcome.status == "stopped_early"
    assert decision["new"] == trainer.progress.stop_rule
    length = round(0.1 * 4 * stopped)  # samples
    assert end == stopped + math.ceil(length / 4)
    annealing = [1e-3 * (1 - 4 * steps / length) for steps in range(end - stopped)]
    assert log.lr[stopped:] == pytest.approx(annealing)


def test_without_cooldown_the_run_ends_at_the_decision(tmp_path):
    trainer, _, outcome = run_to_a_stop(tmp_path, stopping(cooldown=False), bicubic=0.0)
    assert outcome.status == "stopped_early"
    assert trainer.progress.step == decisions(tmp_path)[0]["iter"]


def test_a_broken_run_ends_with_its_best_weights(tmp_path):
    trainer, _, outcome = run_to_a_stop(tmp_path, stopping(), bicubic=99.0)
    assert (outcome.status, trainer.progress.stop_rule) == ("stopped_early", "broken")
    best, _ = read_weights(tmp_path / "models/net_g_best.safetensors")
    last, _ = read_weights(tmp_path / f"models/net_g_{trainer.progress.step}.safetensors")
    assert_same(best, last)
    assert trainer.progress.best_step < trainer.progress.step


# --- the stabilizer ----------------------------------------------------------------------------------------


def test_the_loss_scale_reaches_the_backward_pass_and_is_undone_in_the_norm(tmp_path):
    tiny = lambda step: 1e-8  # noqa: E731
    stabilizer = GradientFlowStabilizer(dynamic_loss_scale=True, facts=FACTS)
    trainer = trainer_of(tmp_path, stabilizer, weight_at=tiny)
    losses, backward = [], trainer.model.generator.backward

    def noting_backward(loss):
        losses.append(float(loss.detach()))
        backward(loss)

    trainer.model.generator.backward = noting_backward
    trainer.fit(StopSignal())
    windows = [e for e in lines(tmp_path, "events") if e["kind"] == "WindowEvent"]
    totals = [total for event in windows for total in event["total"]]
    scales = {d["iter"]: d["new"] for d in decisions(tmp_path)}
    assert scales[5] == 1.5
    scale = 1.0
    for step, (loss, total) in enumerate(zip(losses, totals, strict=True)):
        scale = scales.get(step, scale)
        assert loss == pytest.approx(scale * total)
    norms = [norm for event in windows for norm in event["grad_norm"]["g"]]
    assert max(norms) < 1e-7
    assert scale == 64.0


def test_an_emergency_asks_the_owners_of_clip_and_learning_rate(tmp_path):
    automations = (
        IntelligentLearningRateScheduler(plateau_patience=10_000, facts=FACTS),
        AdaptiveGradientClipping(facts=FACTS),
        GradientFlowStabilizer(facts=FACTS),
    )
    weight_at = lambda step: 1e4 if 30 <= step < 35 else 1.0  # noqa: E731
    trainer = trainer_of(tmp_path, *automations, weight_at=weight_at)
    trainer.fit(At(trainer, 36))
    asked = [e for e in lines(tmp_path, "events") if e["kind"] == "RequestEvent"]
    assert [(e["control"], e["factor"]) for e in asked] == [("clip", 0.5), ("lr_factor", 0.5)]
    answers = [d for d in decisions(tmp_path) if "emergency" in d["reason"] or "request" in d["reason"]]
    assert ("lr_factor", 1.0, 0.5) in [(d["parameter"], d["old"], d["new"]) for d in answers]
    halved = next(d for d in answers if d["parameter"] == "grad_clip_threshold" and d["old"])
    assert halved["new"] == pytest.approx(halved["old"] / 2)
    assert trainer.controls.lr_factor == 0.5


# --- all together ------------------------------------------------------------------------------------------


FULL = replace(FACTS, total_iter=90)


def everything():
    """All automations, with settings that make them act in 60 steps."""
    return [
        plateau_scheduler(plateau_patience=40),
        DynamicBatchSizeOptimizer(adjustment_frequency=5, max_batch_size=6, facts=FULL),
        AdaptiveGradientClipping(monitoring_frequency=5, facts=FULL),
        GradientFlowStabilizer(dynamic_loss_scale=True, facts=FULL),
        IntelligentEarlyStopping(
            patience=12,
            min_improvement=100.0,  # dB: nothing counts as a gain
            min_iterations=5,
            warmup_iterations=0,
            rescue=True,
            min_lr_factor=0.8,
            facts=FULL,
        ),
        DynamicLossScheduling(auto_calibrate=True, adaptation_threshold=1.0, facts=FULL),
    ]


def weight_of_trouble(step):
    """A spike, and a stretch of explosions."""
    return 30.0 if step == 23 else 1e3 if 35 <= step < 41 else 1.0


def full_trainer(root, automations=everything, **options):
    memory = lambda controls: 0.15 * controls.micro_batch if controls.batch < 6 else 0.97  # noqa: E731
    trainer = trainer_of(
        root,
        *automations(),
        memory=memory,
        weight_at=weight_of_trouble,
        steps=FULL.total_iter,
        validate_every=5,
        **options,
    )
    measure_other_losses(trainer)
    return trainer


def resumed(root, automations=everything, **options):
    trainer = full_trainer(root, automations, **options)
    found = trainer._checkpointer.newest_whole_state()
    if found:
        trainer.load_state_dict(found[1])
    else:
        trainer._recorder.start_afresh()
    with_bicubic_at(trainer, 0.0)
    return trainer


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
    assert_same(whole[0].state_dict(), last.state_dict(), but=HARDWARE)
    assert decisions(tmp_path) == decisions(whole[1])
    assert len(lines(tmp_path, "events")) == len(lines(whole[1], "events"))


def test_recorded_events_shown_to_fresh_automations_give_the_recorded_decisions(whole, tmp_path):
    again = full_trainer(tmp_path)
    supervisor, controls = again._supervisor, again.controls
    for record in lines(whole[1], "events"):
        kind = EVENTS[record.pop("kind")]
        step = record.pop("iter")
        proposals = supervisor.react(from_plain(kind, record), controls)
        for proposal in proposals:
            again._recorder.decision(step, proposal)
            if proposal.applied:
                apply(proposal.decision, controls)
    assert decisions(tmp_path) == decisions(whole[1])
    assert len(decisions(tmp_path)) > 10


def test_automations_that_only_monitor_change_not_a_bit(tmp_path):
    limits = {automation.name: Limits(monitor_only=True) for automation in everything()}
    plain = full_trainer(tmp_path / "a", lambda: [])
    watched = full_trainer(tmp_path / "b", limits=limits)
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
    assert trainer.fit(StopSignal()).status == "completed"
    assert len(seen) == 8
    standing = trainer.standing()
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
    assert second.standing()["AdaptiveGradientClipping"].startswith("off (ZeroDivisionError")


def test_the_limit_of_adjustments_freezes(tmp_path):
    limits = {"IntelligentLearningRateScheduler": Limits(max_adjustments=1)}
    trainer = trainer_of(tmp_path, plateau_scheduler(), limits=limits)
    trainer.fit(StopSignal())
    assert trainer.controls.lr_factor == 0.8
    assert len(decisions(tmp_path)) == 1
    assert trainer.standing() == {"IntelligentLearningRateScheduler": "frozen"}


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
