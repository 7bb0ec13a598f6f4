"""What the end of a window of steps tells the automations."""

from __future__ import annotations

from collections.abc import Mapping

from traiNNer.events import WindowEvent
from traiNNer.models.sr_model import WeightedLoss
from traiNNer.models.step_metrics import StepMetrics
from traiNNer.training.parts import Parts
from traiNNer.training.state import Progress


def window_event(
    parts: Parts, progress: Progress, metrics: StepMetrics, *, seconds: float, wait: float
) -> WindowEvent:
    """The event of a window that has just ended, whose rates `progress` gives up; every process must ask.

    Times are those of the slowest.

    Args:
        parts: What was trained, with the controls of the window's last step.
        progress: Where the run stands.
        metrics: Of the window's steps.
        seconds: That this process spent in them.
        wait: Of those, waiting for data.
    """
    controls, plan, networks = parts.controls, parts.plan, parts.model.networks
    seconds, wait, memory = parts.processes.maximum([seconds, wait, parts.memory.peak()])
    return WindowEvent(
        step=progress.step,
        position=progress.position,
        progress=min(1.0, progress.time / plan.total_iter),
        batch=controls.batch,
        micro_batch=controls.micro_batch,
        lq_size=controls.lq_size,
        lr=networks.learning_rates,
        schedule=parts.schedule(progress.time),
        warming_up=progress.time < plan.warmup_iter,
        memory_peak=memory,
        seconds=seconds,
        data_wait=wait / seconds if seconds else 0.0,
        rates=progress.take_rates(len(metrics.total)),
        **metrics._asdict(),
    )


def losses_switched(losses: Mapping[str, WeightedLoss], before: int, now: int) -> bool:
    """Whether the schedule of a loss has switched it on or off between two steps, or its weight has arrived."""

    def news(loss: WeightedLoss) -> bool:
        then, at, next_ = (loss.weight_at(step) for step in (before, now, now + 1))
        return bool(then) != bool(at) or then != at == next_

    return any(map(news, losses.values()))
