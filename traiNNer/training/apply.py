"""What decisions change of the controls: for the trainer that applies them, and for a replay of its records."""

from __future__ import annotations

from traiNNer.control import (
    Controls,
    Decision,
    RollBack,
    SetBatch,
    SetClip,
    SetLearningRateFactor,
    SetLossFactors,
    SetLossScale,
    Stop,
)


def turn(controls: Controls, decision: Decision) -> None:  # noqa: C901 - one case for each kind of decision
    """Change the controls as a decision says. A request changes none: its receiver decides."""
    match decision:
        case SetLearningRateFactor(factor=factor):
            controls.lr_factor = factor
        case RollBack(factor=factor, rewarm=rewarm):
            controls.lr_factor, controls.rewarm = factor, rewarm
        case SetBatch() as new:
            controls.batch, controls.micro_batch = new.batch, new.micro_batch
            controls.lq_size, controls.lr_batch_factor = new.lq_size, new.lr_batch_factor
        case SetClip(network=network, clip=clip):
            controls.clip.pop(network, None)
            if clip is not None:
                controls.clip[network] = clip
        case SetLossFactors(factors=factors):
            controls.loss_factor.update(factors)
        case SetLossScale(scale=scale):
            controls.loss_scale = scale
        case Stop(cooldown=cooldown):
            controls.cooldown = cooldown
        case _:
            pass
