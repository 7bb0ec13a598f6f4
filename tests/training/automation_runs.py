"""Tiny trainings with real automations, and what they left behind."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from tiny import FACTS_OF_RUN, make_model, make_trainer
from torch import nn

from traiNNer.automations import Supervisor
from traiNNer.automations.batch.batch_size import DynamicBatchSizeOptimizer
from traiNNer.automations.gradients.gradient_clipping import AdaptiveGradientClipping
from traiNNer.automations.gradients.stabilizer import GradientFlowStabilizer
from traiNNer.automations.losses.loss_scheduling import MEASURE_EVERY, DynamicLossScheduling
from traiNNer.automations.metric_guard import MetricGuard
from traiNNer.automations.rate.learning_rate import IntelligentLearningRateScheduler
from traiNNer.automations.stopping.early_stopping import IntelligentEarlyStopping
from traiNNer.build.automations import set_starting_controls
from traiNNer.control import Controls
from traiNNer.training.state import Plan

STEPS = 60
FACTS = replace(FACTS_OF_RUN, total_iter=STEPS, validate_every=10)


class Memory:
    """As much memory in use as a function of the trainer says."""

    def __init__(self, trainer, share):
        self._trainer, self._share = trainer, share

    def peak(self):
        return self._share(self._trainer.controls)

    def restart(self): ...


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

    `weight_at(step)` multiplies the weights of both losses; `memory` None measures the real memory.
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
    trainer._clock = Clock()
    if memory:
        trainer.parts = replace(trainer.parts, memory=Memory(trainer, memory))
    if weight_at:
        losses = trainer.model.losses
        losses["l1"] = losses["l1"]._replace(weight_at=weight_at)
        losses["char"] = losses["char"]._replace(weight_at=lambda step: 0.1 * weight_at(step))
    with_bicubic_at(trainer, 0.0)  # or a run as short as these would count as broken
    return trainer


def lines(root: Path, name: str):
    path = root / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def decisions(root: Path):
    return lines(root, "decisions")


def with_bicubic_at(trainer, psnr):
    """Let validations believe that bicubic upscaling scores `psnr`."""
    trainer.parts.validator._measure_bicubic = lambda images, image: torch.tensor([psnr])


def plateau_scheduler(**options):
    """Everything counts as flat, so that the rate is cut as soon as the rules allow it."""
    settings = {"plateau_patience": 25, "adaptation_threshold": 50.0, "monitor_validation": False}
    return IntelligentLearningRateScheduler(**{**settings, **options}, facts=FACTS)


class TenfoldSquares(nn.Module):
    """A loss with a far longer gradient than the mean distance."""

    def forward(self, inputs):
        return 10 * (inputs.output - inputs.gt).square().mean()


def measure_other_losses(trainer):
    """With a second loss whose gradient differs from that of the first, measured every 16 steps."""
    losses = trainer.model.losses
    losses["char"] = losses["char"]._replace(module=TenfoldSquares())
    trainer.model.settings = replace(trainer.model.settings, measure_losses_every=MEASURE_EVERY)


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


def restless(weight_at):
    """The same weights, never still: one that stays where it has come is told as one that has arrived."""
    return lambda step: weight_at(step) * (1 + 1e-9 * step)


def full_trainer(root, automations=everything, **options):
    memory = lambda controls: 0.15 * controls.micro_batch if controls.batch < 6 else 0.97  # noqa: E731
    trainer = trainer_of(
        root,
        *automations(),
        memory=memory,
        weight_at=restless(weight_of_trouble),
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
        trainer._recorder.start_new()
    return trainer
