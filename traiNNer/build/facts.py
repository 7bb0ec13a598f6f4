"""What automations may know about a run before it starts."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping

from traiNNer.archs import NetworkFacts
from traiNNer.automations.batch.batch_size import DynamicBatchSizeOptimizer
from traiNNer.build.automations import chosen, configured_controls
from traiNNer.build.model import BuiltLoss, training
from traiNNer.build.rehearsal import smallest_for_losses
from traiNNer.events import RunFacts
from traiNNer.losses import asks_networks, uses_discriminator
from traiNNer.models.precision import Precision
from traiNNer.models.sr_model import SRModel
from traiNNer.options import Options
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.runtime.memory import named_memory
from traiNNer.training.state import Plan
from traiNNer.training.validation import Validator


def run_facts(
    options: Options,
    model: SRModel,
    losses: Mapping[str, BuiltLoss],
    validator: Validator | None,
    plan: Plan,
    processes: DistributedContext,
    images: int,
) -> RunFacts:
    """What automations may know about the run."""
    train = training(options)
    anchor = anchor_loss(losses)
    weights = {label: loss.weight for label, loss in losses.items()}
    network = dict(options.network_g or {})
    return RunFacts(
        total_iter=train.total_iter,
        batch=plan.samples_per_step // processes.world_size,
        world_size=processes.world_size,
        learning_rates={
            name: learner.optimizer.param_groups[0]["lr"] for name, learner in model.networks.learners.items()
        },
        optimizer=type(model.generator.optimizer).__name__,
        precision=model.precision.name,
        ema_decay=train.ema_decay,
        loss_weights=weights,
        anchor_loss=anchor,
        higher_is_better={k: m.higher_is_better for k, m in validator.metrics.items()} if validator else {},
        validate_every=plan.validate_every if validator and validator.metrics else 0,
        warmup_iter=train.warmup_iter,
        images=images,
        deterministic=options.deterministic,
        fingerprint={
            "network": json.dumps(network, sort_keys=True),
            "parameters": str(sum(p.numel() for p in model.generator.net.parameters())),
            "losses": json.dumps(weights),
            "lq_size": str(options.datasets["train"].lq_size),
        },
        judged_losses=[label for label, loss in losses.items() if uses_discriminator(loss.module)],
        smallest_patch=max(smallest_patch(model), _smallest_for_losses(options, losses, model.precision)),
        measured_on=_measured_on(options, model, processes),
        lq_size=configured_controls(options).lq_size,
        scores_trials=not asks_networks(losses[anchor].module),
    )


def _measured_on(options: Options, model: SRModel, processes: DistributedContext) -> str:
    """What the memory and the time of a step rest on; the same on all processes."""
    train, data = training(options), options.datasets["train"]
    learners = {name: type(of.optimizer).__name__ for name, of in model.networks.learners.items()}
    networks = (options.network_g, options.network_d, learners, train.ema_decay > 0)
    settings = (networks, train.losses, data.lq_size, model.precision.name)
    compiled = (options.use_compile, options.compile_mode, options.use_channels_last)
    checksum = zlib.crc32(json.dumps((settings, compiled), sort_keys=True, default=str).encode())
    devices = dict.fromkeys(processes.gather(named_memory(model.precision.device)))
    return f"{'; '.join(devices)}; {processes.world_size} x {checksum:08x}"


def anchor_loss(losses: Mapping[str, BuiltLoss]) -> str:
    """Label of the loss that others are compared with, and that scores trials.

    Best is one that needs no other network and is on at the first step, then one that compares pixels, then one
    that compares with the ground truth and not with a teacher; the first of those.
    """

    def lacks(label: str) -> tuple[bool, ...]:
        loss = losses[label]
        off = loss.schedule.weight(0, loss.weight) == 0
        return asks_networks(loss.module), off, not getattr(loss.module, "pixel", False), loss.taught

    return min(losses, key=lacks)


def smallest_patch(model: SRModel) -> int:
    """Smallest side of a low-resolution patch that generator and discriminator take, in pixels."""
    if model.adversary is None:
        return model.networks.facts.min_size
    judged: NetworkFacts = model.adversary.learner.net.facts  # type: ignore[assignment]  # all registered have it
    return max(model.networks.facts.min_size, -(-judged.min_size // model.networks.facts.scale))


def _smallest_for_losses(options: Options, losses: Mapping[str, BuiltLoss], precision: Precision) -> int:
    """Smallest side of an LQ patch that the losses take, asked only where an automation may change it."""
    tuned = chosen(options).get(DynamicBatchSizeOptimizer.name, {}).get("tune", ())
    if "lq_size" not in tuned:
        return 1
    return smallest_for_losses(losses, configured_controls(options).lq_size, options.scale, precision)
