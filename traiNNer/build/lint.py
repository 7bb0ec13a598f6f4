"""What is allowed in a configuration and still unwise, and what a good one would have besides.

Rules of thumb, each with its reason; a run that breaks one trains all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import nn

from traiNNer.archs import NETWORKS
from traiNNer.archs.outline import outline
from traiNNer.automations.losses.loss_schedule import LossSchedule, turns
from traiNNer.automations.rate.rate_search import SHORTEST_RUN
from traiNNer.build.automations import LEARNING_RATE, STOPPING, searches_rate
from traiNNer.build.check import is_idle, loss_schedule
from traiNNer.build.data import is_bare
from traiNNer.build.metrics import KEEP_IMAGES, metric_specs, without_gt
from traiNNer.build.overlap import shared_images
from traiNNer.data.single_dataset import MeasuredDataset, SingleImageDataset
from traiNNer.data.training_set import smaller
from traiNNer.losses import compares_luma_alone
from traiNNer.metrics import METRICS
from traiNNer.options import Options
from traiNNer.options.aliases import ALL_AUTOMATIONS
from traiNNer.registry import ConfigError
from traiNNer.wording import counted

_USUAL_RATES = (1e-6, 1e-2)
"""Peak rates of the Adam family between which published recipes lie with room to spare."""

_COMPARED = 1000
"""Training images that are decoded to find validation images among them."""


class Advice(NamedTuple):
    """A remark on one option."""

    path: tuple[str | int, ...]
    text: str


# --- what is missing ---------------------------------------------------------------------------------------


def missing(options: Options) -> Iterator[Advice]:
    """What a training should have and this one has not."""
    train = options.train
    if train is None:
        return
    if not any(key != "train" for key in options.datasets) or not options.val.val_enabled:
        text = "no validation: there will be no best checkpoint, and nothing to stop or to cut the rate by"
        yield Advice(("datasets", "val"), text)
    if train.scheduler is None and not _enabled(options, LEARNING_RATE):
        text = "the learning rate stays at its peak to the end; annealing is worth tenths of a dB: "
        yield Advice(("train", "scheduler"), text + "scheduler: {type: CosineAnnealingLR}")
    if not train.ema_decay:
        yield Advice(("train", "ema_decay"), "no EMA of the weights; ema_decay: 0.999 is common")
    for name in ALL_AUTOMATIONS:
        if name not in train.training_automations:
            yield Advice(("train", "training_automations", name), "not mentioned, so off")


def automation_block(options: Options) -> str:
    """The YAML of the automations that a configuration does not mention, all with their own settings."""
    written = options.train.training_automations if options.train else {}
    absent = [name for name in ALL_AUTOMATIONS if name not in written]
    if not absent:
        return ""
    head = ["train:", "  training_automations:", "    enabled: true"]
    return "\n".join([*head, *(f"    {name}:\n      enabled: true" for name in absent)]) + "\n"


# --- what is unwise ----------------------------------------------------------------------------------------


def unwise(options: Options) -> Iterator[Advice]:
    """Values that work against each other or against the length of the run."""
    if options.train is None:
        return
    yield from _unwise_lengths(options)
    yield from _unwise_rates(options)
    yield from _unwise_automations(options)
    yield from _unmeasured(options)
    yield from _unheld_colours(options)
    data = options.datasets.get("train")
    if data is not None and data.type == "SingleGtDataset" and options.scale == 1:
        text = "only shrinks, which at scale 1 leaves LQ the same as GT: give dataroot_lq, or a degradation"
        yield Advice(("datasets", "train", "type"), text)
    batch = data.batch_size_per_gpu if data else None
    if (
        batch == 1
        and options.network_g
        and _normalises_over_the_batch({"scale": options.scale, **options.network_g})
    ):
        text = "batch normalisation over a batch of 1 leaves nothing of contrast; use at least 8"
        yield Advice(("datasets", "train", "batch_size_per_gpu"), text)


def _unwise_lengths(options: Options) -> Iterator[Advice]:
    train = options.train
    assert train is not None
    total = train.total_iter
    if train.ema_decay and (memory := 1 / (1 - train.ema_decay)) > total / 3:
        text = f"{train.ema_decay} averages over about {memory:,.0f} of {total:,} steps and would lag behind"
        yield Advice(("train", "ema_decay"), text)
    if train.warmup_iter > total / 5:
        text = f"{train.warmup_iter:,} of {total:,} steps would pass below the peak rate"
        yield Advice(("train", "warmup_iter"), text)
    for path, every, loss in (
        (("val", "val_freq"), options.val.val_freq, "the only validation is the last"),
        (("logger", "save_checkpoint_freq"), options.logger.save_checkpoint_freq, "a crash loses everything"),
    ):
        if isinstance(every, int) and every > total:
            yield Advice(path, f"{every:,} is more than the {total:,} steps of the run: {loss}")
    for index, spec in enumerate(train.losses):
        if (start := _number(spec.get("start_iter"))) and start >= total:
            text = f"the loss begins at step {start:,.0f}, the run ends at {total:,}"
            yield Advice(("train", "losses", index, "start_iter"), text)


def _unwise_rates(options: Options) -> Iterator[Advice]:
    train = options.train
    assert train is not None
    rate, kind = _number(train.optim_g.get("lr")), str(train.optim_g.get("type", ""))
    if searches_rate(options) and train.total_iter < SHORTEST_RUN:
        text = f"auto needs {SHORTEST_RUN:,} steps; the starting rate would stay: write a number"
        yield Advice(("train", "optim_g", "lr"), text)
    low, high = _USUAL_RATES
    if rate is not None and "adam" in kind.lower() and not low <= rate <= high:
        text = f"{rate:g} is outside of what {kind} is used with ({low:g} to {high:g})"
        yield Advice(("train", "optim_g", "lr"), text)
    schedule: Mapping[str, Any] = train.scheduler or {}
    lowest = _number(schedule.get("eta_min"))
    if rate is not None and lowest is not None and lowest >= rate:
        text = f"{lowest:g} is not below the peak rate {rate:g}: the rate would not fall"
        yield Advice(("train", "scheduler", "eta_min"), text)
    milestones = schedule.get("milestones")
    late = (
        [m for m in milestones if (_number(m) or 0) >= train.total_iter]
        if isinstance(milestones, list)
        else []
    )
    if late:
        text = f"{', '.join(map(str, late))}: the run ends at {train.total_iter:,}"
        yield Advice(("train", "scheduler", "milestones"), text)


def _unwise_automations(options: Options) -> Iterator[Advice]:
    train = options.train
    assert train is not None
    place, total = ("train", "training_automations"), train.total_iter
    longest = {
        (STOPPING, "patience"): (total, "stopping could never happen"),
        (STOPPING, "min_iterations"): (total, "stopping could never happen"),
        (LEARNING_RATE, "plateau_patience"): (total / 2, "no plateau could be seen in time"),
    }
    for (name, key), (limit, loss) in longest.items():
        value = _number(train.training_automations.get(name, {}).get(key))
        if _enabled(options, name) and value is not None and value >= limit:
            yield Advice((*place, name, key), f"{value:,.0f} of {total:,} steps: {loss}")
    largest = _number(train.training_automations.get("DynamicBatchSizeOptimizer", {}).get("max_batch_size"))
    data = options.datasets.get("train")
    batch = data.batch_size_per_gpu if data else None
    if largest is not None and isinstance(batch, int) and largest < batch:
        text = f"{largest:g} is below batch_size_per_gpu, which is {batch}"
        yield Advice((*place, "DynamicBatchSizeOptimizer", "max_batch_size"), text)


def _unmeasured(options: Options) -> Iterator[Advice]:
    """Validation sets without ground truth: what becomes of them."""
    keys = [key for key in options.datasets if key != "train"] if options.val.val_enabled else []
    bare = [key for key in keys if is_bare(options.datasets[key])]
    metrics = {label: METRICS.find(spec["type"]) for label, spec in metric_specs(options).items()}
    names = [options.datasets[key].name for key in bare]
    used, said = without_gt(metrics, names, all_bare=len(bare) == len(keys))
    if said:
        keep = f". {KEEP_IMAGES}" if not used and not options.val.save_img else ""
        yield Advice(("datasets", bare[0]), said + keep)


def _unheld_colours(options: Options) -> Iterator[Advice]:
    """Steps whose losses compare luma alone."""
    train, data = options.train, options.datasets.get("train")
    assert train is not None
    if data is not None and data.color != "rgb":
        return
    losses: list[tuple[int, bool, LossSchedule, float]] = []
    try:
        for index, spec in enumerate(train.losses):
            if not is_idle(spec):
                schedule = loss_schedule(spec, train.net_d_start_iter)
                losses.append((index, compares_luma_alone(spec), schedule, float(spec.get("loss_weight", 1))))
    except ValueError:  # steps in the wrong order: said elsewhere
        return
    for step in turns(schedule for _, _, schedule, _ in losses):
        on = {index: blind for index, blind, schedule, weight in losses if schedule.weight(step, weight)}
        if on and step < train.total_iter and all(on.values()):
            said = (
                f"from step {step:,} on nothing but luma is compared: colours may drift, which PSNR of luma "
            )
            advice = "does not show; add a loss of all channels beside it"
            yield Advice(("train", "losses", min(on)), said + advice)
            return


def _enabled(options: Options, automation: str) -> bool:
    spec = options.train.training_automations.get(automation) if options.train else None
    return bool(spec and spec["enabled"])


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _normalises_over_the_batch(spec: Mapping[str, Any]) -> bool:
    try:
        with outline():
            net = NETWORKS.build(spec)
    except ConfigError:  # said elsewhere
        return False
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules())


# --- what the data say -------------------------------------------------------------------------------------


def unwise_data(options: Options, sets: Mapping[str, MeasuredDataset]) -> Iterator[Advice]:
    """Crops that do not fit, validation images that are trained on, images that are never seen.

    Args:
        options: Of the run.
        sets: The data sets by key, as far as they could be opened.
    """
    train = sets.get("train")
    if train is None or isinstance(train, SingleImageDataset) or options.train is None:
        return
    data = options.datasets["train"]
    small = len(smaller(train, data.lq_size or 0))
    if small:
        text = f"{small:,} of {len(train):,} images are smaller than {data.lq_size} pixels and are padded"
        yield Advice(("datasets", "train", "lq_size"), text)
    batch = data.batch_size_per_gpu
    if isinstance(batch, int) and (seen := options.train.total_iter * batch * data.accum_iter) < len(train):
        samples = counted(seen, "sample", form=",")
        text = f"{samples} in all: {len(train) - seen:,} of {len(train):,} images are never seen"
        yield Advice(("train", "total_iter"), text)
    for key, images in sets.items():
        if key == "train" or isinstance(images, SingleImageDataset):
            continue
        shared = shared_images(train, images, _COMPARED)
        if shared:
            text = f"{len(shared)} of {len(images)} images are in the training set too, first {shared[0]}"
            yield Advice(("datasets", key), text)
