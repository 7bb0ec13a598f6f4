"""What holds for every automation, whatever it decides."""

import copy
import inspect
import json

import pytest
import yaml
from automations.simulate import ALL, controls, drive, facts, flat, random_history
from pydantic import ValidationError

from traiNNer.automations import AUTOMATIONS
from traiNNer.control import to_plain
from traiNNer.options.aliases import AUTOMATION_OPTIONS

SETTINGS = {
    "AdaptiveGradientClipping": {},
    "DynamicBatchSizeOptimizer": {"max_batch_size": 32, "tune": ["batch", "micro_batch", "lq_size"]},
    "DynamicLossScheduling": {"baseline_iterations": 100},
    "GradientFlowStabilizer": {"dynamic_loss_scale": True, "pattern_store": "patterns"},
    "IntelligentEarlyStopping": {
        "patience": 200, "min_iterations": 300, "warmup_iterations": 100, "min_lr_factor": 1.0,
    },
    "IntelligentLearningRateScheduler": {"plateau_patience": 100},
}  # fmt: skip

GIVEN = {
    "AdaptiveGradientClipping": {"facts", "ceiling", "monitors"},
    "DynamicBatchSizeOptimizer": {"facts"},
    "DynamicLossScheduling": {"facts"},
    "GradientFlowStabilizer": {"facts", "learned", "unanswered"},
    "IntelligentEarlyStopping": {"facts", "min_lr_factor", "rate_stays", "rescue", "settled_from"},
    "IntelligentLearningRateScheduler": {"facts"},
}

RUN = {"loss_weights": {"l1": 1.0, "gan": 0.1}, "learning_rates": {"g": 2e-4, "d": 1e-4}}


def build(name, **changes):
    given = {k: v for k, v in SETTINGS[name].items() if k in GIVEN[name]}
    written = {k: v for k, v in SETTINGS[name].items() if k not in GIVEN[name]}
    return AUTOMATIONS.build({"type": name, **written}, facts=facts(**RUN, **changes), **given)


def test_all_automations_are_registered_under_the_names_that_users_write():
    assert set(AUTOMATIONS.names()) == set(ALL)
    for name in ALL:
        assert AUTOMATIONS.find(name).name == name


@pytest.mark.parametrize("name", ALL)
def test_the_options_are_those_in_the_table_of_names(name):
    assert set(AUTOMATIONS.parameters(name, GIVEN[name])) == set(AUTOMATION_OPTIONS[name])
    signature = inspect.signature(AUTOMATIONS.find(name))
    assert all(p.kind is p.KEYWORD_ONLY for p in signature.parameters.values())


@pytest.mark.parametrize("name", ALL)
def test_enabled_alone_is_enough(name):
    automation = AUTOMATIONS.build({"type": name}, facts=facts(**RUN))
    drive(automation, random_history(0, 30))


@pytest.mark.parametrize("name", ALL)
def test_a_random_history_leads_to_decisions(name):
    """Otherwise the tests below would compare nothing with nothing."""
    decisions = flat(a for seed in range(4) for a in drive(build(name), random_history(seed)))
    assert len(decisions) >= 2


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("seed", [1, 2])
def test_saving_and_restoring_after_every_event_changes_no_decision(name, seed):
    events = random_history(seed)
    expected = drive(build(name), events)
    automation, in_force, answers = build(name), controls(), []
    for event in events:
        restored = build(name)
        restored.load_state_dict(json.loads(json.dumps(automation.state_dict())))
        automation = restored
        answers += drive(automation, [event], in_force)
    assert answers == expected


@pytest.mark.parametrize("name", ALL)
def test_a_state_between_observing_and_deciding_can_be_restored_too(name):
    events = random_history(3, 60)
    expected = drive(build(name), events)
    automation, in_force, answers = build(name), controls(), []
    for event in events:
        automation.observe(event)
        state = json.loads(json.dumps(automation.state_dict()))
        automation = build(name)
        automation.load_state_dict(state)
        decisions = list(automation.decide(in_force))
        answers.append(decisions)
        for decision in decisions:
            decision.apply(in_force)
    assert answers == expected


@pytest.mark.parametrize("name", ALL)
def test_nothing_but_the_state_changes(name):
    automation = build(name)
    settings = copy.deepcopy({k: v for k, v in vars(automation).items() if k != "state"})
    drive(automation, random_history(4))
    assert {k: v for k, v in vars(automation).items() if k != "state"} == settings


@pytest.mark.parametrize("name", ALL)
def test_unknown_fields_of_a_state_are_refused(name):
    automation = build(name)
    with pytest.raises(ValidationError):
        automation.load_state_dict({**automation.state_dict(), "surprise": 1})


@pytest.mark.parametrize("name", ALL)
def test_decisions_can_be_written_and_say_why(name):
    for decision in flat(drive(build(name), random_history(5))):
        assert json.dumps(to_plain(decision))
        assert decision.reason and decision.change(controls()).parameter


@pytest.mark.parametrize("name", ALL)
def test_the_fallback_leaves_valid_controls(name):
    in_force = controls()
    automation = build(name)
    drive(automation, random_history(6), in_force)
    for decision in automation.fallback(in_force):
        decision.apply(in_force)
    assert in_force.batch % in_force.micro_batch == 0 and in_force.lr_factor > 0
    assert all(clip.skip_above == float("inf") for clip in in_force.clip.values()) or name != ALL[0]


@pytest.mark.parametrize("name", ALL)
def test_what_is_only_monitored_is_said_once_and_not_at_every_window(name):
    """Decisions that are not applied leave the controls as they are; the automation must cope."""
    automation, in_force, said = build(name), controls(), 0
    events = random_history(7)
    for event in events:
        automation.observe(event)
        said += len(automation.decide(in_force))
    assert said < len(events) / 2


ENGINES = {"enabled", "max_adjustments", "monitor_only", "max_no_improvement", "improvement_threshold"}
"""Options that the engine takes, or that are other names in the stopping block."""


@pytest.mark.parametrize("name", ["guide_full.yml", "analysis_recommended.fragment.yml"])
def test_the_blocks_of_the_contract_build(contract_root, name):
    tree = yaml.safe_load((contract_root / name).read_text())
    blocks = tree["train"]["training_automations"]
    for automation, block in blocks.items():
        if automation == "enabled":
            continue
        other = ENGINES if automation == "IntelligentEarlyStopping" else ENGINES - {"improvement_threshold"}
        options = {k: v for k, v in block.items() if k not in other}
        AUTOMATIONS.build({"type": automation, **options}, facts=facts())
