"""Putting the automations of a run together: which are on, what the program tells them, what they start with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from traiNNer.automations import AUTOMATIONS, Automation, Limits, Supervisor
from traiNNer.automations.gradients.gradient_clipping import AdaptiveGradientClipping
from traiNNer.automations.gradients.gradient_norms import plain_clip
from traiNNer.automations.metric_guard import MetricGuard
from traiNNer.automations.rate.learning_rate import IntelligentLearningRateScheduler
from traiNNer.automations.rate.lr_decisions import ScheduleFallback
from traiNNer.automations.rate.rate_rise import LearningRateRise, can_rise
from traiNNer.automations.rate.rate_search import LearningRateSearch
from traiNNer.automations.rate.written_rate import TAKEN, WrittenRateTrial, trial_steps
from traiNNer.build.data import is_bare
from traiNNer.build.metrics import metric_specs
from traiNNer.control import Controls, from_plain
from traiNNer.events import RunFacts
from traiNNer.metrics import METRICS
from traiNNer.optim.optimizers import AUTO
from traiNNer.options import Options
from traiNNer.registry import ConfigError, Problem, normalise, problems_of
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.training.learned_patterns import stored_pattern
from traiNNer.training.validation import needs_gt

LEARNING_RATE = "IntelligentLearningRateScheduler"
CLIPPING = "AdaptiveGradientClipping"
STOPPING = "IntelligentEarlyStopping"
STABILIZER = "GradientFlowStabilizer"
LOSS_SCHEDULING = "DynamicLossScheduling"

_SUPERVISED = ("enabled", "monitor_only", "max_adjustments")
"""Options that the supervisor keeps, not the automation."""
GIVEN = {
    CLIPPING: ("facts", "ceiling", "monitors"),
    STOPPING: ("facts", "min_lr_factor", "rate_stays", "rescue", "settled_from"),
    STABILIZER: ("facts", "unanswered"),
}
"""What the program passes to an automation besides its options; `facts` where nothing is said."""
_ANSWER = {"clip": CLIPPING, "lr_factor": LEARNING_RATE}
"""Which automation changes a control when another asks for it."""
_DEFAULT_LIMITS = {CLIPPING: 100}
_NO_SCORE = (
    "train.optim_g.lr: auto compares rates by a loss that needs neither a discriminator nor train.ema_decay: "
    "add one, such as L1Loss, or write a rate"
)
_MAX_NORM = 1.0  # of `grad_clip` alone


def chosen(options: Options) -> dict[str, dict[str, Any]]:
    """The automations that are switched on, by class name, with their options.

    The stabilizer goes with adaptive clipping, whose prior threshold and report it provides.
    """
    train = options.train
    assert train is not None
    found = {name: dict(spec) for name, spec in train.training_automations.items() if spec["enabled"]}
    if CLIPPING in found and STABILIZER not in train.training_automations:
        found[STABILIZER] = {}
    scheduling = train.dynamic_loss_scheduling
    if scheduling and scheduling["enabled"]:
        found[LOSS_SCHEDULING] = dict(scheduling)
    return found


def searches_rate(options: Options) -> bool:
    """Whether the learning rate is to be found (`lr: auto`)."""
    return options.train is not None and options.train.optim_g.get("lr") == AUTO


def _tries_rate(options: Options, facts: RunFacts, specs: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a written rate is tried against a higher one: where that was measured, and may be taken."""
    allowed = specs.get(LEARNING_RATE, {}).get("max_lr_factor", TAKEN) >= TAKEN
    triable = trial_steps(facts.total_iter) > 0 and facts.scores_trials
    return _acts(LEARNING_RATE, specs) and allowed and _from_scratch(options, facts) and triable


def _from_scratch(options: Options, facts: RunFacts) -> bool:
    """Where rates higher than those of the trials have been measured."""
    return not options.path.pretrain_network_g and not facts.judged_losses


def check_automation(name: str, spec: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with the options of one automation."""
    own = {key: value for key, value in spec.items() if key not in _SUPERVISED}
    problems = AUTOMATIONS.check({"type": name, **own}, GIVEN.get(name, ("facts",)))
    try:
        from_plain(Limits, {key: spec[key] for key in ("max_adjustments", "monitor_only") if key in spec})
    except ValidationError as error:
        problems += problems_of(error)
    return problems


def pattern_store(options: Options) -> str | None:
    """The folder of what runs learn of their gradients, where the options name one."""
    return chosen(options).get(STABILIZER, {}).get("pattern_store")


def with_learned_pattern(
    options: Options, facts: RunFacts, processes: DistributedContext, state: Mapping[str, Any]
) -> RunFacts:
    """The facts with what the main process finds of earlier runs like this one, for every process.

    A run that goes on keeps what its `state` says it began with: the store may hold its own pattern by now.
    """
    if "learned" in state:
        return replace(facts, learned=state["learned"])
    found = processes.gather(stored_pattern(pattern_store(options), facts) if processes.is_main else None)[0]
    return replace(facts, learned=found)


def build_supervisor(options: Options, facts: RunFacts, *, settled_from: int) -> Supervisor:
    """The automations that are switched on, learning rate first: others depend on its bounds.

    Args:
        options: Of the run.
        facts: What automations may know.
        settled_from: Step from which no loss is ramping up any more.
    """
    specs = chosen(options)
    _check_monitored_set(options, specs.get(STOPPING, {}))
    automations = _of_the_rate(options, facts, specs)
    constant = normalise(base_schedule(options)["type"]) == "constant"

    def rate_stays() -> bool:
        """Whether nothing lowers the rate any more: the schedule does not, and who would is off or frozen."""
        return constant and supervisor.status().get(LEARNING_RATE) != "active"

    for name in sorted(specs, key=lambda key: key != LEARNING_RATE):
        own = {key: value for key, value in specs[name].items() if key not in _SUPERVISED}
        given = _given(name, options, specs, automations, facts)
        if name == STOPPING:
            given |= {"rate_stays": rate_stays, "settled_from": settled_from}
        automations[name] = AUTOMATIONS.build({"type": name, **own}, **given)
    limits = {
        name: Limits(spec.get("max_adjustments", _DEFAULT_LIMITS.get(name)), spec.get("monitor_only", False))
        for name, spec in specs.items()
    }
    supervisor = Supervisor(automations, limits, MetricGuard(facts.higher_is_better))
    return supervisor


def _of_the_rate(
    options: Options, facts: RunFacts, specs: Mapping[str, Mapping[str, Any]]
) -> dict[str, Automation[Any]]:
    """Those that look for a learning rate by trials: `lr: auto`, or a written one against a higher."""
    if not searches_rate(options):
        tried = _tries_rate(options, facts, specs)
        return {WrittenRateTrial.name: WrittenRateTrial(facts=facts)} if tried else {}
    if not facts.scores_trials:
        raise ConfigError(_NO_SCORE)
    raised = can_rise(facts) and _from_scratch(options, facts)
    found: dict[str, Automation[Any]] = {
        LearningRateSearch.name: LearningRateSearch(facts=facts, rough=raised)
    }
    return found | ({LearningRateRise.name: LearningRateRise(facts=facts)} if raised else {})


def _given(
    name: str,
    options: Options,
    specs: Mapping[str, Mapping[str, Any]],
    built: Mapping[str, Automation[Any]],
    facts: RunFacts,
) -> dict[str, Any]:
    assert options.train is not None
    match name:
        case "AdaptiveGradientClipping":
            monitors = not _acts(CLIPPING, specs)
            return {"facts": facts, "ceiling": options.train.grad_clip_max_norm, "monitors": monitors}
        case "GradientFlowStabilizer":
            unanswered = {control: owner for control, owner in _ANSWER.items() if not _acts(owner, specs)}
            return {"facts": facts, "unanswered": unanswered}
        case "IntelligentEarlyStopping":
            scheduler = built.get(LEARNING_RATE)
            acting = _acts(LEARNING_RATE, specs)
            lowest = scheduler.min_factor if isinstance(scheduler, IntelligentLearningRateScheduler) else None
            return {"facts": facts, "min_lr_factor": lowest if acting else None, "rescue": acting}
    return {"facts": facts}


def base_schedule(options: Options) -> Mapping[str, Any]:
    """The options of the schedule: written, or what the learning-rate automation falls back to, or constant."""
    assert options.train is not None
    if options.train.scheduler:
        return options.train.scheduler
    spec = chosen(options).get(LEARNING_RATE)
    if spec is None:
        return {"type": "constant"}
    fallback = ScheduleFallback(**spec.get("fallback", {}))
    return {"type": fallback.scheduler_type, **fallback.scheduler_params}


def _acts(name: str, specs: Mapping[str, Mapping[str, Any]]) -> bool:
    return name in specs and not specs[name].get("monitor_only", False)


def _check_monitored_set(options: Options, spec: Mapping[str, Any]) -> None:
    """`<set>/psnr` must name a validation set that psnr can measure; `psnr` and `val/psnr` mean the first."""
    name, _, metric = str(spec.get("monitor_metric", "")).rpartition("/")
    sets = {data.name: data for key, data in options.datasets.items() if key != "train"}
    path = f"train.training_automations.{STOPPING}.monitor_metric"
    if name in ("", "val"):
        return
    if name not in sets:
        raise ConfigError(f"{path}: no validation set is named {name!r}; known: {', '.join(sets) or 'none'}")
    measured = metric_specs(options).get(metric)
    kind: Any = METRICS.find(measured["type"]) if measured else None
    if kind is not None and is_bare(sets[name]) and needs_gt(kind):
        raise ConfigError(
            f"{path}: {name} has no ground truth, with which {metric} compares; take niqe, or another set"
        )


# --- beginning ---------------------------------------------------------------------------------------------


def configured_controls(options: Options) -> Controls:
    """The controls as the options have them, `auto` replaced by values."""
    train, data = options.train, options.datasets["train"]
    assert train is not None and data.lq_size is not None
    micro_batch = int(data.batch_size_per_gpu)
    controls = Controls(micro_batch * data.accum_iter, micro_batch, data.lq_size)
    controls.lr_search = 1.0 if searches_rate(options) else None
    if train.grad_clip:
        limit = plain_clip(train.grad_clip_max_norm or _MAX_NORM)
        controls.clip = {"g": limit, "d": limit} if options.network_d else {"g": limit}
    return controls


def set_starting_controls(controls: Controls, supervisor: Supervisor) -> None:
    """What holds before the first window: the prior threshold of adaptive clipping."""
    clipping = supervisor.automations.get(CLIPPING)
    if isinstance(clipping, AdaptiveGradientClipping) and not supervisor.monitors_only(CLIPPING):
        controls.clip.update(clipping.prior())
