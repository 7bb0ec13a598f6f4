"""Stopping, and what the stabilizer does, in a real, tiny training."""

import math
from dataclasses import replace

import pytest
from tiny import assert_same
from training.automation_runs import (
    FACTS,
    Log,
    decisions,
    lines,
    restless,
    trainer_of,
    with_bicubic_at,
)
from training.test_resume import At

from traiNNer.archs.weights_file import read_weights
from traiNNer.automations.gradients.gradient_clipping import AdaptiveGradientClipping
from traiNNer.automations.gradients.stabilizer import GradientFlowStabilizer
from traiNNer.automations.rate.learning_rate import IntelligentLearningRateScheduler
from traiNNer.automations.stopping.early_stopping import IntelligentEarlyStopping
from traiNNer.runtime.signals import StopSignal

# --- stopping ----------------------------------------------------------------------------------------------


def stopping(**options):
    settings = {"patience": 20, "min_iterations": 5, "warmup_iterations": 0, "min_lr_factor": 1.0}
    return IntelligentEarlyStopping(**{**settings, **options}, facts=replace(FACTS, total_iter=400))


def declining_after(step):
    """Losses that are minimised until a step, and then made worse a little at a time."""
    return lambda now: 1.0 if now < step else -0.01


def run_to_a_stop(root, *automations, bicubic, steps=400):
    trainer = trainer_of(root, *automations, weight_at=restless(declining_after(15)))
    trainer.parts = replace(trainer.parts, plan=replace(trainer.parts.plan, total_iter=steps))
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
    trainer = trainer_of(tmp_path, *automations, weight_at=restless(weight_at))
    trainer.fit(At(trainer, 36))
    asked = [e for e in lines(tmp_path, "events") if e["kind"] == "RequestEvent"]
    said = [(e["control"], e["factor"], e["network"]) for e in asked]
    assert said == [("clip", 0.5, "g"), ("lr_factor", 0.5, "")]
    answers = [d for d in decisions(tmp_path) if "emergency" in d["reason"] or "request" in d["reason"]]
    assert ("lr_factor", 1.0, 0.5) in [(d["parameter"], d["old"], d["new"]) for d in answers]
    halved = next(d for d in answers if d["parameter"] == "grad_clip_threshold" and d["old"])
    assert halved["new"] == pytest.approx(halved["old"] / 2)
    assert trainer.controls.lr_factor == 0.5
