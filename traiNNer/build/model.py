"""From options to the model: networks, losses, learners, and the step over them.

What is wrong with a description is found before, by `build.check`, as far as it shows without building.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from traiNNer.archs import NETWORKS, NetworkFacts
from traiNNer.automations.losses.loss_schedule import LossSchedule, turns
from traiNNer.automations.losses.loss_scheduling import MEASURE_EVERY
from traiNNer.build.automations import LOSS_SCHEDULING, base_schedule, chosen
from traiNNer.build.check import is_idle, loss_schedule, loss_spec
from traiNNer.build.networks import build_discriminator, build_generator
from traiNNer.build.rehearsal import rehearse_adversary
from traiNNer.build.teacher import TARGET, build_teacher
from traiNNer.data.mixing import BatchAugmentation
from traiNNer.losses import LOSSES, uses_discriminator
from traiNNer.losses.adversarial import AdversarialLoss
from traiNNer.losses.targets import SharpTarget, TeacherTarget
from traiNNer.models.adversary import Adversary
from traiNNer.models.networks import Networks
from traiNNer.models.precision import Precision
from traiNNer.models.sr_model import SRModel, StepSettings, WeightedLoss
from traiNNer.optim.ema import Ema
from traiNNer.optim.learner import Learner
from traiNNer.optim.optimizers import build_optimizer, with_starting_rate
from traiNNer.optim.schedule_free import ScheduleFreeAverage, averages
from traiNNer.optim.schedules import SCHEDULES, ReduceLROnPlateau, Schedule, warmup
from traiNNer.options import DegradationOptions, Options
from traiNNer.options.fields import TrainOptions
from traiNNer.registry import ConfigError, normalise
from traiNNer.runtime.distributed import DistributedContext

_log = logging.getLogger(__name__)

WINDOW = 10  # steps between two readings of the metrics on the device
_LOSSES_EVERY = 500  # steps between measurements of each loss's gradient where no automation acts on them


class BuiltLoss(NamedTuple):
    """A loss with what the options say of its weight."""

    module: nn.Module
    weight: float
    schedule: LossSchedule
    sharp_target: bool = False
    """Whether it compares with sharpened ground truth."""
    taught: bool = False
    """Whether it compares with the output of the teacher."""

    def weighted(self) -> WeightedLoss:
        """As the model wants it."""
        module = SharpTarget(self.module) if self.sharp_target else self.module
        module = TeacherTarget(self.module) if self.taught else module
        return WeightedLoss(module, lambda step: self.schedule.weight(step, self.weight), self.taught)


class Model(NamedTuple):
    """The step, and the losses as the options describe them."""

    model: SRModel
    losses: dict[str, BuiltLoss]


def training(options: Options) -> TrainOptions:
    """The section `train`, which training needs."""
    if options.train is None:
        raise ConfigError("train: is required for training")
    return options.train


def build_precision(options: Options, device: torch.device) -> Precision:
    """Device and precision of a run."""
    low = torch.bfloat16 if options.amp_bf16 or device.type == "cpu" else torch.float16
    return Precision(
        device,
        autocast_dtype=low if options.use_amp else None,
        # torch's issue 180984: on Apple's devices convolutions of slices of channels come out wrong
        channels_last=options.use_channels_last and device.type != "mps",
        color=options.color,
    )


def build_adversary(
    options: Options, losses: Mapping[str, BuiltLoss], schedule: Schedule, precision: Precision
) -> Adversary | None:
    """The discriminator in training, with its adversarial loss; None without `network_d`."""
    train = training(options)
    loss = next((loss.module for loss in losses.values() if isinstance(loss.module, AdversarialLoss)), None)
    if options.network_d is None or loss is None:
        return None
    patch = (options.datasets["train"].lq_size or 0) * options.scale
    net = build_discriminator(options, patch, precision)
    optimizer = train.optim_d or train.optim_g or {}
    adversary = Adversary(
        build_learner(
            net, optimizer, train, _schedule_of_discriminator(train, optimizer, schedule), precision
        ),
        loss,
        trains_at=_training_time(losses, train.net_d_start_iter),
        precision=precision,
        generator_start=train.net_d_init_iters,
        generator_every=train.net_d_iters,
        penalty_every=train.net_d_reg_every,
        sharp_target=options.degradation is not None and options.degradation.gan_gt_usm,
    )
    rehearse_adversary(adversary, losses, patch, precision)
    return adversary


def _schedule_of_discriminator(
    train: TrainOptions, optimizer: Mapping[str, Any], schedule: Schedule
) -> Schedule:
    if train.scheduler_d is None:
        return schedule
    own = _schedule(train.scheduler_d, optimizer, train)
    if isinstance(own, ReduceLROnPlateau):
        raise ConfigError(
            "train.scheduler_d: ReduceLROnPlateau follows a validation, and no metric is of this network"
        )
    return own


def _training_time(losses: Mapping[str, BuiltLoss], start: int | None) -> Callable[[int], bool]:
    """Whether the discriminator trains at a step: from `start` on, by default while any loss asks it.

    In whole windows, so that a window has its numbers for all steps or for none.
    """
    asking = [loss for loss in losses.values() if uses_discriminator(loss.module)]

    def trains(step: int) -> bool:
        first = step - step % WINDOW
        if start is not None:
            return first + WINDOW > start
        return any(loss.schedule.on(at) for loss in asking for at in (first, first + WINDOW - 1))

    return trains


def build_model(
    options: Options, processes: DistributedContext, device: torch.device, schedule: Schedule
) -> Model:
    """Networks, losses and the step over them."""
    train = training(options)
    seed = int(options.manual_seed)
    precision = build_precision(options, device)
    torch.manual_seed(seed)
    net = build_generator(options, precision)
    losses = build_losses(options, device)
    facts: NetworkFacts = net.facts  # type: ignore[assignment]  # every registered network has it
    learner = build_learner(net, train.optim_g or {}, train, schedule, precision)
    networks = Networks(
        learner,
        facts,
        ema=_average(learner, train),
        adversary=build_adversary(options, losses, schedule, precision),
    )
    model = SRModel(
        networks,
        {label: loss.weighted() for label, loss in losses.items()},
        settings=StepSettings(
            seed,
            window=WINDOW,
            measure_losses_every=MEASURE_EVERY if LOSS_SCHEDULING in chosen(options) else _LOSSES_EVERY,
            compile_mode=options.compile_mode if options.use_compile else None,
        ),
        precision=precision,
        collectives=processes,
        augment=build_augmentation(train, seed, processes.rank),
        teacher=build_teacher(options, precision),
    )
    return Model(model, losses)


def _average(learner: Learner, train: TrainOptions) -> Ema | ScheduleFreeAverage | None:
    """The weights that validate, where they are not those in training."""
    if averages(learner.optimizer):
        return ScheduleFreeAverage(learner.net, learner.optimizer)
    if train.ema_decay > 0:
        return Ema(learner.net, train.ema_decay, train.ema_power, train.ema_update_after_step)
    return None


def build_augmentation(train: TrainOptions, seed: int, rank: int) -> BatchAugmentation | None:
    """What mixes the samples of a batch, or None."""
    if not train.use_moa:
        return None
    return BatchAugmentation(dict(zip(train.moa_augs, train.moa_probs, strict=True)), seed=seed, rank=rank)


def build_learner(
    net: nn.Module,
    optimizer: Mapping[str, Any],
    train: TrainOptions,
    schedule: Schedule,
    precision: Precision,
) -> Learner:
    """A network with its optimizer."""
    trained = [p for p in net.parameters() if p.requires_grad]
    return Learner(
        net,
        build_optimizer(optimizer, trained),
        lambda time: schedule(time) * warmup(time, train.warmup_iter),
        fp16=precision.autocast_dtype == torch.float16,
    )


def build_losses(options: Options, device: torch.device) -> dict[str, BuiltLoss]:
    """The losses by label: the `name` given, else the type without "Loss", numbered where it comes twice.

    One that compares with the teacher says so in its label: `l1_teacher`.
    """
    losses: dict[str, BuiltLoss] = {}
    for index, spec in enumerate(training(options).losses):
        if is_idle(spec):  # said at the start of the run
            continue
        taught = spec.get("target") == TARGET
        kind = normalise(LOSSES.own_name(spec["type"])).removesuffix("loss")
        base = spec.get("name") or (f"{kind}_{TARGET}" if taught else kind)
        taken = sum(re.fullmatch(rf"{re.escape(base)}(_\d+)?", label) is not None for label in losses)
        label = f"{base}_{taken + 1}" if taken else base
        try:
            schedule = loss_schedule(spec, training(options).net_d_start_iter)
            module = LOSSES.build(loss_spec(spec)).to(device)
        except ValueError as error:
            raise ConfigError(f"train.losses.{index}: {error}") from error
        weight = float(spec.get("loss_weight", 1.0))
        sharp = not taught and _has_sharp_target(module, options.degradation)
        losses[label] = BuiltLoss(module, weight, schedule, sharp, taught)
    if (step := _silent_step(losses, training(options).total_iter)) is not None:
        named = f"step {step:,} (start_iter, disable_after, target_weight)" if step else "the first step"
        raise ConfigError(f"train.losses: no loss is on at {named}")
    return losses


def _silent_step(losses: Mapping[str, BuiltLoss], total_iter: int) -> int | None:
    """The first step at which no loss has a weight, if there is one: looked for where one ends or begins."""
    for step in turns(loss.schedule for loss in losses.values()):
        if step < max(1, total_iter) and not any(
            loss.schedule.weight(step, loss.weight) for loss in losses.values()
        ):
            return step
    return None


def _has_sharp_target(loss: nn.Module, chain: DegradationOptions | None) -> bool:
    if chain is None:
        return False
    if uses_discriminator(loss):
        return chain.gan_gt_usm
    return chain.l1_gt_usm if getattr(loss, "pixel", False) else chain.percep_gt_usm


def build_schedule(options: Options) -> Schedule:
    """The base schedule, see `build.automations.base_schedule`."""
    train = training(options)
    return _schedule(base_schedule(options), train.optim_g or {}, train)


def _schedule(spec: Mapping[str, Any], optimizer: Mapping[str, Any], train: TrainOptions) -> Schedule:
    base_lr = float(with_starting_rate(optimizer).get("lr", 1e-3))
    return SCHEDULES.build(spec, base_lr=base_lr, total_iter=train.total_iter)


def released_metadata(options: Options, model: SRModel) -> dict[str, dict[str, str]]:
    """What files of weights say about themselves, per network: enough for `load_network` to rebuild it."""
    return {
        name: {
            "architecture": NETWORKS.own_name((getattr(options, f"network_{name}") or {})["type"]),
            "options": json.dumps(learner.net.options),
            "scale": str(options.scale if name == "g" else 1),
            "name": options.name,
            **({} if options.color == "rgb" else {"color": options.color}),
        }
        for name, learner in model.networks.learners.items()
    }
