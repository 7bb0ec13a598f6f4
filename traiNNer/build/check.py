"""What is wrong with the parts that a configuration names: networks, losses, metrics, optimizers, automations.

Their parameters are known to the registries alone, so these checks import everything that a run may be made of;
the tree itself is checked by `options`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from importlib.util import find_spec
from typing import Any

from pydantic import ValidationError

from traiNNer.automations.losses.loss_schedule import LossSchedule
from traiNNer.build.automations import LOSS_SCHEDULING, check_automation
from traiNNer.build.check_networks import check_generator, check_network, check_teacher, mapping
from traiNNer.build.data import DATASET_TYPES
from traiNNer.build.metrics import metric_spec
from traiNNer.control import from_plain
from traiNNer.losses import LOSSES, uses_discriminator
from traiNNer.losses.adversarial import AdversarialLoss
from traiNNer.metrics import METRICS
from traiNNer.optim.external_optimizers import is_schedule_free
from traiNNer.optim.optimizers import AUTO, check_optimizer
from traiNNer.optim.schedules import SCHEDULES
from traiNNer.registry import Problem, did_you_mean, normalise, problems_of
from traiNNer.tracking.wandb_board import INSTALL

SCHEDULE_KEYS = tuple(field.name for field in fields(LossSchedule))
"""Options of a loss that say when it is on."""
_ENGINE_LOSS_KEYS = ("loss_weight", "name", "target", *SCHEDULE_KEYS)
LOSSES_NOT_YET = ("topiq", "dinov2", "hrinversion", "average", "bicubic")
"""Losses that users know and that are still to come."""
_LOSSES_ELSEWHERE = {
    "consistency": "compares with the target in Oklab in neosr, which does not exist here; LQConsistencyLoss "
    "compares the reduced output with the LQ",
    "fdl": "compares the frequencies of features in neosr, which does not exist here; take a PerceptualLoss",
}
"""Losses of other trainers whose name would be taken for one of ours that computes something else."""


def check_parts(raw: Mapping[str, Any]) -> list[Problem]:
    """Everything wrong with the parts that a canonical tree of options names; paths are from its top."""
    train, val = mapping(raw.get("train")), mapping(raw.get("val"))
    problems = [p.below("network_g") for p in check_generator(raw)]
    problems += _check_sets(mapping(raw.get("datasets")))
    problems += [p.below("train", "optim_g") for p in check_optimizer(mapping(train.get("optim_g")))]
    problems += _check_average(train)
    for key in ("scheduler", "scheduler_d"):
        if scheduler := mapping(train.get(key)):
            problems += [p.below("train", key) for p in SCHEDULES.check(scheduler, ("base_lr", "total_iter"))]
    losses = train.get("losses")
    if not losses:
        problems.append(Problem(("train",), "needs at least one entry in losses, such as {type: L1Loss}"))
    for index, spec in enumerate(losses if isinstance(losses, list) else []):
        problems += [p.below("train", "losses", index) for p in _check_loss(mapping(spec), train)]
        problems += [p.below("train", "losses", index) for p in _check_colours(mapping(spec), raw)]
    problems += [*_check_adversary(raw, train), *check_teacher(raw)]
    for label, spec in mapping(val.get("metrics")).items():
        own = metric_spec(label, spec)
        if _measures(val) or METRICS.find(str(own["type"])) is not None:
            problems += [p.below("val", "metrics", label) for p in METRICS.check(own)]
    if mapping(mapping(raw.get("logger")).get("wandb")).get("project") and find_spec("wandb") is None:
        problems.append(Problem(("logger", "wandb", "project"), INSTALL))
    return [*problems, *_check_automations(train)]


def check_test_parts(raw: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with the parts that a test uses; a file of weights may stand in for the network."""
    used = ("network_g", "val") if raw.get("network_g") else ("val",)
    return [problem for problem in check_parts(raw) if problem.path[:1] and problem.path[0] in used]


def _check_average(train: Mapping[str, Any]) -> Iterator[Problem]:
    kind, decay = str(mapping(train.get("optim_g")).get("type", "")), train.get("ema_decay")
    if decay and is_schedule_free(kind):
        yield Problem(
            ("train", "ema_decay"), f"should be 0: {kind} averages the weights itself (got {decay})"
        )


def _check_automations(train: Mapping[str, Any]) -> Iterator[Problem]:
    for name, spec in mapping(train.get("training_automations")).items():
        if name != "enabled":
            for problem in check_automation(name, mapping(spec)):
                yield problem.below("train", "training_automations", name)
    if scheduling := mapping(train.get("dynamic_loss_scheduling")):
        for problem in check_automation(LOSS_SCHEDULING, scheduling):
            yield problem.below("train", "dynamic_loss_scheduling")


def _check_sets(sets: Mapping[str, Any]) -> Iterator[Problem]:
    if "train" not in sets:
        yield Problem(("datasets",), "needs a set named train")
    for key, spec in sets.items():
        kind = str(mapping(spec).get("type", "PairedImageDataset"))
        if normalise(kind) not in ("paired", *map(normalise, DATASET_TYPES)):
            hint = did_you_mean(kind, DATASET_TYPES)
            known = ", ".join(DATASET_TYPES)
            yield Problem(("datasets", key, "type"), f"no data set named {kind!r}{hint}; known: {known}")


def _check_loss(spec: Mapping[str, Any], train: Mapping[str, Any]) -> list[Problem]:
    name = normalise(str(spec.get("type", ""))).removesuffix("loss")
    if is_idle(spec):
        return []
    if name in LOSSES_NOT_YET and LOSSES.find(f"{name}loss") is None:
        return [Problem(("type",), f"the loss {spec['type']!r} is not supported yet")]
    if name in _LOSSES_ELSEWHERE:
        return [Problem(("type",), f"the loss {spec['type']!r} {_LOSSES_ELSEWHERE[name]}")]
    if spec.get("reduction") in ("sum", "none"):
        text = "every loss here is a mean, whatever the sizes of patch and batch: leave it out, with a loss_weight"
        return [Problem(("reduction",), f"{text} for a mean (got {spec['reduction']})")]
    problems = [*LOSSES.check(loss_spec(spec)), *_check_weights(spec), *_check_schedule(spec)]
    counts = spec.get("loss_weight") != 0
    if counts and getattr(_loss(spec), "averaged", False) and not train.get("ema_decay"):
        needed = "compares with the EMA weights; set train.ema_decay, such as 0.999"
        problems.append(Problem((), needed))
    return problems


def _check_colours(spec: Mapping[str, Any], raw: Mapping[str, Any]) -> Iterator[Problem]:
    """A loss that compares colours, in a run of one channel."""
    color = mapping(mapping(raw.get("datasets")).get("train")).get("color", "rgb")
    if color != "rgb" and spec.get("loss_weight") != 0 and getattr(_loss(spec), "coloured", False):
        text = f"{spec['type']} compares colours, and datasets.train.color: {color} leaves none: leave it out"
        yield Problem(("type",), text)


def _check_weights(spec: Mapping[str, Any]) -> Iterator[Problem]:
    """Any weight below 0 trains away from the target; that of the whole loss is checked with the options."""
    for key, value in spec.items():
        if key.endswith(("_weight", "_weights")) and key != "loss_weight":
            inner = value.items() if isinstance(value, Mapping) else [("", value)]
            for name, weight in inner:
                if isinstance(weight, int | float) and weight < 0:
                    text = (
                        f"should be 0 or more: a negative weight trains away from the target (got {weight})"
                    )
                    yield Problem((key, str(name)) if name else (key,), text)


def _check_schedule(spec: Mapping[str, Any]) -> list[Problem]:
    try:
        from_plain(LossSchedule, _of_schedule(spec))
    except ValidationError as error:
        return problems_of(error)
    return []


def _of_schedule(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {key: spec[key] for key in SCHEDULE_KEYS if spec.get(key) is not None}


def is_idle(spec: Mapping[str, Any]) -> bool:
    """Whether an entry of `train.losses` names a loss that does not exist here, with a weight of 0."""
    return spec.get("loss_weight") == 0 and isinstance(spec.get("type"), str) and _loss(spec) is None


def idle_parts(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """What is read and changes nothing: losses of weight 0 and metrics that are not here, a wrong `better`."""
    losses = mapping(raw.get("train")).get("losses")
    for index, spec in enumerate(losses if isinstance(losses, list) else []):
        if is_idle(mapping(spec)):
            text = f"the loss {spec['type']!r} does not exist here; left out, because its weight is 0"
            yield Problem(("train", "losses", index), text)
    val = mapping(raw.get("val"))
    for label, spec in mapping(val.get("metrics")).items():
        if not _measures(val) and METRICS.find(str(metric_spec(label, spec)["type"])) is None:
            text = "the metric does not exist here; left out, because nothing is measured"
            yield Problem(("val", "metrics", label), text)
        elif text := _wrong_direction(label, mapping(spec)):
            yield Problem(("val", "metrics", label, "better"), text)


def _wrong_direction(label: str, spec: Mapping[str, Any]) -> str:
    """What is to be said of a `better` that contradicts what is known of a metric, or nothing."""
    metric = METRICS.find(str(metric_spec(label, spec)["type"]))
    higher = getattr(metric, "higher_is_better", None)  # functions that make one of another's kind do not say
    if higher is None or str(spec.get("better", "")).lower() != ("lower" if higher else "higher"):
        return ""
    return f"has no effect: {'higher' if higher else 'lower'} is better of this metric"


def _measures(val: Mapping[str, Any]) -> bool:
    return val.get("val_enabled", True) is not False and val.get("metrics_enabled", True) is not False


def _loss(spec: Mapping[str, Any]) -> object:
    """The class that an entry of `train.losses` names, or None."""
    return LOSSES.find(str(spec.get("type", "")))


def _check_adversary(raw: Mapping[str, Any], train: Mapping[str, Any]) -> Iterator[Problem]:
    """A discriminator and the losses that ask it belong together."""
    losses = train.get("losses")
    specs = losses if isinstance(losses, list) else []
    parts = [_loss(mapping(spec)) for spec in specs]
    asking = [index for index, part in enumerate(parts) if uses_discriminator(part)]
    playing = [i for i in asking if isinstance(part := parts[i], type) and issubclass(part, AdversarialLoss)]
    for index in playing[1:]:
        yield Problem(
            ("train", "losses", index), "is a second adversarial loss; a discriminator plays for one"
        )
    if spec := mapping(raw.get("network_d")):
        yield from (problem.below("network_d") for problem in check_network(spec, enlarges=False))
        if not playing:
            yield Problem(
                ("network_d",), "no loss trains it; add {type: GANLoss, loss_weight: 0.1} to train.losses"
            )
        if optimizer := mapping(train.get("optim_d")):
            yield from (problem.below("train", "optim_d") for problem in check_optimizer(optimizer))
            yield from _check_rates(mapping(train.get("optim_g")), optimizer)
        return
    for index in asking:
        yield Problem(
            ("train", "losses", index), "needs a discriminator; add network_d, such as {type: munet}"
        )


def _check_rates(generator: Mapping[str, Any], discriminator: Mapping[str, Any]) -> Iterator[Problem]:
    """One search finds one factor for both networks, so that neither rate is searched for alone."""
    if (generator.get("lr") == AUTO) != (discriminator.get("lr") == AUTO):
        yield Problem(
            ("train", "optim_d", "lr"),
            "auto is for both networks or for none: the search is for the generator's rate, and the "
            "discriminator's follows it; write auto, or a number, in optim_g and optim_d",
        )


def loss_schedule(spec: Mapping[str, Any], game_from: int | None) -> LossSchedule:
    """When a loss is on: one that asks the discriminator not before `net_d_start_iter`.

    Raises:
        ValueError: If the steps are in the wrong order, or no numbers.
    """
    schedule = from_plain(LossSchedule, _of_schedule(spec))
    if game_from and uses_discriminator(_loss(spec)):
        return replace(schedule, start_iter=max(schedule.start_iter, game_from))
    return schedule


def loss_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Without what the engine reads, and without `reduction: mean`, which every loss here is anyway."""
    own = {key: value for key, value in spec.items() if key not in _ENGINE_LOSS_KEYS}
    if own.get("reduction") == "mean":
        del own["reduction"]
    return own
