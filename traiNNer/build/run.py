"""From options to everything that computes: model, data, controls, automations, validation.

What is wrong with a description is found before, by `build.check`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch

from traiNNer.build.automations import (
    build_supervisor,
    configured_controls,
    set_starting_controls,
    with_learned_pattern,
)
from traiNNer.build.facts import run_facts
from traiNNer.build.metrics import KEEP_IMAGES, measurable
from traiNNer.build.model import (
    WINDOW,
    build_model,
    build_schedule,
    released_metadata,
    training,
)
from traiNNer.build.rehearsal import rehearse_losses, rehearse_network
from traiNNer.data.loader import TrainLoader
from traiNNer.data.single_dataset import MeasuredDataset, SingleImageDataset
from traiNNer.data.training_set import TrainingSet
from traiNNer.models.precision import Precision
from traiNNer.optim.schedules import ReduceLROnPlateau
from traiNNer.options import Options
from traiNNer.registry import ConfigError
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.runtime.memory import memory_source
from traiNNer.training.parts import Parts
from traiNNer.training.state import Plan
from traiNNer.training.validation import ValidationSet, Validator

_log = logging.getLogger(__name__)


def build_validator(
    options: Options,
    sets: Mapping[str, MeasuredDataset],
    precision: Precision,
    processes: DistributedContext,
) -> Validator | None:
    """The validation that the options ask for, or None."""
    val = options.val
    if not val.val_enabled or not sets or not (val.metrics_enabled or val.save_img):
        return None
    metrics = measurable(options, sets)
    if not metrics and not val.save_img:
        _log.warning("There is no validation: %s", KEEP_IMAGES)
        return None
    measured = [ValidationSet(k, s, has_gt=not isinstance(s, SingleImageDataset)) for k, s in sets.items()]
    return Validator(
        sorted(measured, key=lambda s: not s.has_gt),
        metrics,
        scale=options.scale,
        precision=precision,
        processes=processes,
        tile=val.tile_size,
        overlap=val.tile_overlap or 32,
    )


def build_parts(
    options: Options,
    processes: DistributedContext,
    device: torch.device,
    train_set: TrainingSet,
    val_sets: Mapping[str, MeasuredDataset],
    state: Mapping[str, Any] | None = None,
) -> Parts:
    """Everything that computes, beside `state` where a run goes on. `auto` must have been replaced by values."""
    train, data = training(options), options.datasets["train"]
    schedule = build_schedule(options)
    model, losses = build_model(options, processes, device, schedule)
    precision = model.precision
    controls = configured_controls(options)
    rehearse_network(model.generator.net, controls.lq_size, options.scale, precision)
    rehearse_losses(losses, controls.lq_size, options.scale, precision)
    loader = TrainLoader(
        train_set,
        int(options.manual_seed),
        num_workers=int(data.num_worker_per_gpu),
        rank=processes.rank,
        world_size=processes.world_size,
        pin_memory=data.pin_memory and device.type == "cuda",
        prefetch_factor=data.prefetch_factor,
    )
    validator = build_validator(options, val_sets, precision, processes)
    plan = Plan(
        total_iter=train.total_iter,
        validate_every=int(options.val.val_freq) if validator else 0,
        save_every=int(options.logger.save_checkpoint_freq),
        window=WINDOW,
        samples_per_step=controls.batch * processes.world_size,
        warmup_iter=train.warmup_iter,
    )
    known = run_facts(options, model, losses, validator, plan, processes, len(train_set))
    known = with_learned_pattern(options, known, processes, state or {})
    settled_from = max(loss.schedule.settled_from for loss in losses.values())
    supervisor = build_supervisor(options, known, settled_from=settled_from)
    set_starting_controls(controls, supervisor)
    if isinstance(schedule, ReduceLROnPlateau):
        _check_plateau(schedule, validator)
    return Parts(
        model,
        loader,
        controls,
        plan,
        schedule,
        supervisor,
        known,
        processes,
        memory_source(device),
        validator,
        metadata=released_metadata(options, model),
        settled_from=settled_from,
    )


def _check_plateau(plateau: ReduceLROnPlateau, validator: Validator | None) -> None:
    """`monitor` is the label of a metric; `val/psnr` means the same. Nothing to follow is a mistake."""
    if validator is None or not validator.metrics:
        raise ConfigError("train.scheduler: ReduceLROnPlateau follows a validation, and there is none")
    plateau.monitor = plateau.monitor.rpartition("/")[2] if plateau.monitor else None
    if plateau.monitor not in (None, *validator.metrics):
        known = ", ".join(validator.metrics)
        raise ConfigError(
            f"train.scheduler.monitor: no metric {plateau.monitor!r} in val.metrics; known: {known}"
        )
