"""From options to parts: networks, losses, data, automations as the options describe them.

What is wrong with a description is found before, by `engine.check`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from traiNNer.archs import NETWORKS, NetworkFacts, build_network
from traiNNer.archs.loading import load_weights, read_weights
from traiNNer.automations import Supervisor
from traiNNer.automations.loss_schedule import LossSchedule
from traiNNer.automations.lr_decisions import ScheduleFallback
from traiNNer.control import Controls, RunFacts
from traiNNer.data.loader import TrainLoader
from traiNNer.data.sources import PairedImageDataset
from traiNNer.engine.automate import (
    LEARNING_RATE,
    LOSS_SCHEDULING,
    build_supervisor,
    chosen,
    configured_controls,
    set_starting_controls,
)
from traiNNer.engine.check import SCHEDULE_KEYS, loss_spec, metric_spec
from traiNNer.engine.distributed import Processes
from traiNNer.engine.progress import Plan
from traiNNer.engine.validation import ValidationSet, Validator
from traiNNer.losses import LOSSES
from traiNNer.metrics import METRICS
from traiNNer.models.arithmetic import Arithmetic
from traiNNer.models.sr_model import SRModel, WeightedLoss
from traiNNer.optim.ema import Ema
from traiNNer.optim.learner import Learner
from traiNNer.optim.optimizers import build_optimizer
from traiNNer.optim.schedules import SCHEDULES, ReduceLROnPlateau, Schedule, warmup
from traiNNer.options import Options, TrainOptions
from traiNNer.registry import ConfigError, normalise

_log = logging.getLogger(__name__)

WINDOW = 10  # steps between two readings of the device's numbers


@dataclass(frozen=True)
class Parts:
    """What a trainer is made of, before it has files or a loop."""

    model: SRModel
    loader: TrainLoader
    controls: Controls
    plan: Plan
    schedule: Schedule
    plateau: ReduceLROnPlateau | None
    supervisor: Supervisor
    facts: RunFacts
    validator: Validator | None
    metadata: dict[str, str]


class BuiltLoss(NamedTuple):
    """A loss with what the options say of its weight."""

    module: nn.Module
    weight: float
    schedule: LossSchedule

    def weighted(self) -> WeightedLoss:
        """As the model wants it."""
        return WeightedLoss(self.module, lambda step: self.schedule.weight(step, self.weight))


def arithmetic(options: Options, device: torch.device) -> Arithmetic:
    """Device and precision of a run."""
    low = torch.bfloat16 if options.amp_bf16 or device.type == "cpu" else torch.float16
    return Arithmetic(
        device, autocast=low if options.use_amp else None, channels_last=options.use_channels_last
    )


def build_validator(
    options: Options, sets: Mapping[str, PairedImageDataset], numbers: Arithmetic, processes: Processes
) -> Validator | None:
    """The validation that the options ask for, or None."""
    val = options.val
    if not val.val_enabled or not sets or not (val.metrics_enabled or val.save_img):
        return None
    metrics = {}
    for label, spec in (val.metrics or {"psnr": {}, "ssim": {}}).items():
        metrics[label] = METRICS.build({"crop_border": options.scale, **metric_spec(label, spec)})
    return Validator(
        [ValidationSet(name, images) for name, images in sets.items()],
        metrics,
        scale=options.scale,
        arithmetic=numbers,
        processes=processes,
        tile=val.tile_size,
        overlap=val.tile_overlap or 32,
    )


def build_generator(options: Options, numbers: Arithmetic) -> nn.Module:
    """The network to train, with pretrained weights where the options name a file."""
    assert options.network_g is not None
    net = build_network({"scale": options.scale, **options.network_g})
    path = options.path.pretrain_network_g
    if path:
        weights, _ = read_weights(path, options.path.param_key_g)
        for line in load_weights(net, weights, strict=options.path.strict_load_g):
            _log.warning("%s: %s", path, line)
    net = net.to(numbers.device)
    if numbers.channels_last:
        net = net.to(memory_format=torch.channels_last)
    return net


def training(options: Options) -> TrainOptions:
    """The section `train`, which training needs."""
    if options.train is None:
        raise ConfigError("train: is required for training")
    return options.train


def build_learner(options: Options, net: nn.Module, schedule: Schedule, numbers: Arithmetic) -> Learner:
    """The generator with its optimizer."""
    train = training(options)
    trained = [p for p in net.parameters() if p.requires_grad]
    optimizer = build_optimizer(train.optim_g or {}, trained)
    return Learner(
        net,
        optimizer,
        lambda time: schedule(time) * warmup(time, train.warmup_iter),
        fp16=numbers.autocast == torch.float16,
    )


def build_losses(options: Options, device: torch.device) -> dict[str, BuiltLoss]:
    """The losses by label: the `name` given, else the type without "Loss", numbered where it comes twice."""
    losses: dict[str, BuiltLoss] = {}
    for index, spec in enumerate(training(options).losses):
        base = spec.get("name") or normalise(LOSSES.own_name(spec["type"])).removesuffix("loss")
        taken = sum(label == base or label.startswith(f"{base}_") for label in losses)
        label = f"{base}_{taken + 1}" if taken else base
        try:
            schedule = LossSchedule(**{key: spec[key] for key in SCHEDULE_KEYS if key in spec})
        except ValueError as error:
            raise ConfigError(f"train.losses.{index}: {error}") from error
        module = LOSSES.build(loss_spec(spec)).to(device)
        losses[label] = BuiltLoss(module, float(spec.get("loss_weight", 1.0)), schedule)
    if not any(loss.schedule.weight(0, loss.weight) for loss in losses.values()):
        raise ConfigError("train.losses: no loss is on at the first step")
    return losses


def build_schedule(options: Options) -> Schedule:
    """The base schedule: the user's, or the peak rate throughout."""
    train = training(options)
    spec = train.scheduler or _fallback_schedule(options)
    rate = float((train.optim_g or {}).get("lr", 1e-3))
    return SCHEDULES.build(spec, base_lr=rate, total_iter=train.total_iter)


def _fallback_schedule(options: Options) -> Mapping[str, Any]:
    """Without a scheduler: the peak rate throughout, or what the learning-rate automation falls back to."""
    spec = chosen(options).get(LEARNING_RATE)
    if spec is None:
        return {"type": "constant"}
    fallback = ScheduleFallback(**spec.get("fallback", {}))
    return {"type": fallback.scheduler_type, **fallback.scheduler_params}


def build_parts(
    options: Options,
    processes: Processes,
    device: torch.device,
    train_set: PairedImageDataset,
    val_sets: Mapping[str, PairedImageDataset],
) -> Parts:
    """Everything that computes. `auto` must have been replaced by values."""
    train, data = training(options), options.datasets["train"]
    seed = int(options.manual_seed)
    numbers = arithmetic(options, device)
    torch.manual_seed(seed)
    net = build_generator(options, numbers)
    schedule = build_schedule(options)
    ema = None
    if train.ema_decay > 0:
        ema = Ema(net, train.ema_decay, train.ema_power, train.ema_update_after_step)
    losses = build_losses(options, device)
    facts: NetworkFacts = net.facts  # type: ignore[assignment]  # every registered network has it
    model = SRModel(
        build_learner(options, net, schedule, numbers),
        facts,
        {label: loss.weighted() for label, loss in losses.items()},
        ema=ema,
        arithmetic=numbers,
        peers=processes,
        seed=seed,
        rank=processes.rank,
        window=WINDOW,
        compile_mode=options.compile_mode if options.use_compile else None,
        measure_losses_every=16 if LOSS_SCHEDULING in chosen(options) else 500,
    )
    controls = configured_controls(options)
    loader = TrainLoader(
        train_set,
        seed,
        num_workers=int(data.num_worker_per_gpu),
        rank=processes.rank,
        world_size=processes.world_size,
        pin_memory=data.pin_memory and device.type == "cuda",
        prefetch_factor=data.prefetch_factor,
    )
    plan = Plan(
        total_iter=train.total_iter,
        validate_every=int(options.val.val_freq) if options.val and val_sets else 0,
        save_every=int(options.logger.save_checkpoint_freq),
        window=WINDOW,
        samples_per_step=controls.batch * processes.world_size,
        warmup_iter=train.warmup_iter,
    )
    validator = build_validator(options, val_sets, numbers, processes)
    known = run_facts(options, model, losses, validator, plan, processes, len(train_set))
    settled_from = max(loss.schedule.settled_from for loss in losses.values())
    supervisor = build_supervisor(options, known, settled_from=settled_from)
    set_starting_controls(controls, supervisor)
    plateau = schedule if isinstance(schedule, ReduceLROnPlateau) else None
    if plateau:
        _check_plateau(plateau, validator)
    about = released_metadata(options, net)
    return Parts(model, loader, controls, plan, schedule, plateau, supervisor, known, validator, about)


def _check_plateau(plateau: ReduceLROnPlateau, validator: Validator | None) -> None:
    """`monitor` is the label of a metric; `val/psnr` means the same. Nothing to follow is a mistake."""
    if validator is None:
        raise ConfigError("train.scheduler: ReduceLROnPlateau follows a validation, and there is none")
    plateau.monitor = plateau.monitor.rpartition("/")[2] if plateau.monitor else None
    if plateau.monitor not in (None, *validator.metrics):
        known = ", ".join(validator.metrics)
        raise ConfigError(
            f"train.scheduler.monitor: no metric {plateau.monitor!r} in val.metrics; known: {known}"
        )


def run_facts(
    options: Options,
    model: SRModel,
    losses: Mapping[str, BuiltLoss],
    validator: Validator | None,
    plan: Plan,
    processes: Processes,
    images: int,
) -> RunFacts:
    """What automations may know about the run."""
    train = training(options)
    pixel = [label for label, loss in losses.items() if getattr(loss.module, "pixel", False)]
    weights = {label: loss.weight for label, loss in losses.items()}
    network = dict(options.network_g or {})
    return RunFacts(
        total_iter=train.total_iter,
        batch=plan.samples_per_step // processes.world_size,
        world_size=processes.world_size,
        learning_rates={"g": model.generator.optimizer.param_groups[0]["lr"]},
        optimizer=type(model.generator.optimizer).__name__,
        precision=model.arithmetic.precision,
        ema_decay=train.ema_decay,
        loss_weights=weights,
        anchor_loss=(pixel or list(losses))[0],
        higher_is_better={k: m.higher_is_better for k, m in validator.metrics.items()} if validator else {},
        validate_every=plan.validate_every,
        warmup_iter=train.warmup_iter,
        images=images,
        deterministic=options.deterministic,
        fingerprint={
            "network": json.dumps(network, sort_keys=True),
            "parameters": str(sum(p.numel() for p in model.generator.net.parameters())),
            "losses": json.dumps(weights),
            "lq_size": str(options.datasets["train"].lq_size),
        },
    )


def released_metadata(options: Options, net: nn.Module) -> dict[str, str]:
    """What a file of weights says about itself: enough for `load_network` to rebuild the network."""
    assert options.network_g is not None
    return {
        "architecture": NETWORKS.own_name(options.network_g["type"]),
        "options": json.dumps(net.options),
        "scale": str(options.scale),
        "name": options.name,
    }
