"""Automations in every form in which they are written: aliases, switches, misplaced or deprecated names."""

import logging

import pytest

from traiNNer.options import aliases as option_names
from traiNNer.registry import ConfigError

LEARNING_RATE = "IntelligentLearningRateScheduler"
BATCH = "DynamicBatchSizeOptimizer"
CLIPPING = "AdaptiveGradientClipping"
STOPPING = "IntelligentEarlyStopping"


def automations(options):
    return options.train.training_automations


def warnings(options):
    return [note.text for note in options.notes if note.level >= logging.WARNING]


def infos(options):
    return [note.text for note in options.notes if note.level == logging.INFO]


def problems(load, *args, **kwargs):
    with pytest.raises(ConfigError) as error:
        load(*args, **kwargs)
    return list(error.value.problems)


ALIASES = {
    "adaptive_gradient_clipping: {enabled: true}": CLIPPING,
    "early_stopping: {enabled: true}": STOPPING,
    "intelligent_learning_rate_scheduler: {enabled: true}": LEARNING_RATE,
    "dynamic_batch_size_optimizer: {enabled: true}": BATCH,
    "training_automations: {enabled: true, adaptive_gradient_clipping: {enabled: true}}": CLIPPING,
    "training_automations: {enabled: true, early_stopping: true}": STOPPING,
    "training_automations: {enabled: true, intelligent_early_stopping: true}": STOPPING,
    "training_automations: {enabled: true, dynamic_batch_size_optimizer: auto}": BATCH,
}


@pytest.mark.parametrize("train", ALIASES)
def test_an_alias_is_read_as_its_automation_with_one_info_line(load, train):
    options = load(train=train)
    assert automations(options) == {ALIASES[train]: {"enabled": True}}
    assert (
        len(infos(options)) == 1
        and f"read as train.training_automations.{ALIASES[train]}" in infos(options)[0]
    )
    assert not warnings(options)


def test_auto_vram_management_is_the_batch_size_optimizer(load):
    options = load("auto_vram_management: {enabled: true, target_vram_usage: 0.7}\n")
    assert automations(options) == {BATCH: {"enabled": True, "target_vram_usage": 0.7}}
    assert automations(load("auto_vram_management: true\n")) == {BATCH: {"enabled": True}}


def test_the_patch_size_optimizer_is_the_batch_size_optimizer_with_tuning(load):
    train = "training_automations: {enabled: true, DynamicBatchAndPatchSizeOptimizer: true}"
    assert automations(load(train=train)) == {BATCH: {"enabled": True, "tune": ["lq_size", "micro_batch"]}}


@pytest.mark.parametrize("place", ["dynamic_loss_scheduling", "training_automations.DynamicLossScheduling"])
@pytest.mark.parametrize("value", ["true", "auto", "{enabled: true}", "{enabled: auto, momentum: auto}"])
def test_loss_scheduling_has_two_places_and_short_forms(load, place, value):
    outer, _, inner = place.partition(".")
    text = f"{outer}: {value}" if not inner else f"{outer}:\n  enabled: true\n  {inner}: {value}"
    options = load(train=f"{text}")
    assert options.train.dynamic_loss_scheduling == {"enabled": True}
    assert automations(options) == {}


def test_the_same_automation_in_two_forms_is_merged_where_they_agree(load):
    train = "early_stopping: {patience: 5, enabled: true}\n"
    train += f"training_automations: {{enabled: true, {STOPPING}: {{patience: 5, min_improvement: 0.1}}}}"
    assert automations(load(train=train))[STOPPING] == {
        "patience": 5,
        "min_improvement": 0.1,
        "enabled": True,
    }


@pytest.mark.parametrize("outer", ["early_stopping: {patience: 5}", "early_stopping: false"])
def test_the_same_automation_in_two_forms_that_differ_is_an_error_with_both_lines(load, outer):
    train = f"{outer}\n"
    train += f"training_automations:\n  enabled: true\n  {STOPPING}: {{enabled: true, patience: 6}}"
    (line,) = problems(load, train=train)
    assert line.startswith("c.yml:8:") and "given twice with different values" in line
    assert "train.early_stopping" in line and "line 5" in line


@pytest.mark.parametrize("master", ["", "enabled: null, "])
def test_a_part_that_is_on_without_the_master_switch_is_on_with_a_warning(load, master):
    options = load(train=f"training_automations: {{{master}{CLIPPING}: {{enabled: true}}}}")
    assert automations(options)[CLIPPING]["enabled"] is True
    (warning,) = warnings(options)
    assert warning.startswith("c.yml:5:3: train.training_automations: 'enabled' is missing; taken as true")


def test_a_part_that_is_off_needs_no_master_switch(load):
    options = load(train=f"training_automations: {{{CLIPPING}: {{enabled: false}}}}")
    assert automations(options)[CLIPPING]["enabled"] is False and not warnings(options)


def test_the_master_switch_turns_all_off(load):
    train = f"early_stopping: true\ntraining_automations:\n  enabled: false\n  {CLIPPING}: true\n"
    options = load(train=train + "  DynamicLossScheduling: true")
    assert {name: spec["enabled"] for name, spec in automations(options).items()} == {
        CLIPPING: False,
        STOPPING: False,
    }
    assert options.train.dynamic_loss_scheduling == {"enabled": False}
    (warning,) = warnings(options)
    assert "train.early_stopping: off, because" in warning


@pytest.mark.parametrize("value", ["true", "auto", "{enabled: true}", "{enabled: auto}"])
def test_automations_without_a_name_are_all_on_and_said(load, value):
    options = load(train=f"training_automations: {value}")
    assert automations(options) == {name: {"enabled": True} for name in option_names.ALL_AUTOMATIONS}
    assert f"all are on: {LEARNING_RATE}, {BATCH}, {CLIPPING}, {STOPPING}" in infos(options)[0]
    beside = load(train=f"training_automations: {value}\ndynamic_loss_scheduling: true")
    assert automations(beside) == automations(options)
    inside = load(train="training_automations: {enabled: true, DynamicLossScheduling: true}")
    assert automations(inside) == {} and inside.train.dynamic_loss_scheduling == {"enabled": True}


@pytest.mark.parametrize(
    ("value", "overrides"),
    [
        (f"{{enabled: true, {STOPPING}: false}}", ()),
        ("true", [f"train.training_automations.{STOPPING}=false"]),
        ("{enabled: true}", ["train.training_automations.early_stopping.enabled=false"]),
    ],
)
def test_taking_one_automation_away_leaves_the_others_on(load, value, overrides):
    options = load(train=f"training_automations: {value}", overrides=overrides)
    on = {name: spec["enabled"] for name, spec in automations(options).items()}
    assert on == {LEARNING_RATE: True, BATCH: True, CLIPPING: True, STOPPING: False}
    assert f"these are on: {LEARNING_RATE}, {BATCH}, {CLIPPING}" in infos(options)[-1]


def test_an_option_of_one_automation_on_the_command_line_switches_no_other_off(load):
    overrides = [f"train.training_automations.{STOPPING}.patience=5"]
    options = load(train="training_automations: true", overrides=overrides)
    assert len(automations(options)) == 4
    assert automations(options)[STOPPING] == {"enabled": True, "patience": 5}
    named = load(
        train=f"training_automations: {{enabled: true, {CLIPPING}: true}}",
        overrides=[f"train.training_automations.{CLIPPING}=false"],
    )
    assert automations(named) == {CLIPPING: {"enabled": False}}


@pytest.mark.parametrize("value", ["false", "{enabled: false}", "{}", "null"])
def test_automations_can_be_off(load, value):
    options = load(train=f"training_automations: {value}")
    assert automations(options) == {} and options.notes == ()


def test_an_option_of_another_automation_is_ignored_with_a_warning_that_names_the_right_place(load):
    train = f"training_automations:\n  enabled: true\n  {LEARNING_RATE}:\n    enabled: true\n"
    options = load(
        train=train + "    target_vram_usage: 0.8\n    auto_calibrate: true\n    plateau_patience: 9"
    )
    assert automations(options) == {LEARNING_RATE: {"enabled": True, "plateau_patience": 9}}
    assert warnings(options) == [
        f"c.yml:9:7: train.training_automations.{LEARNING_RATE}.target_vram_usage: ignored here; "
        f"it belongs under train.training_automations.{BATCH}",
        f"c.yml:10:7: train.training_automations.{LEARNING_RATE}.auto_calibrate: ignored here; "
        "it belongs under train.dynamic_loss_scheduling",
    ]


def test_an_option_beside_the_automations_is_told_where_it_belongs(load):
    train = f"training_automations: {{enabled: true, {BATCH}: true, patience: 3}}"
    assert f"it belongs under train.training_automations.{STOPPING}" in warnings(load(train=train))[0]


@pytest.mark.parametrize("alias", ["adaptation_frequency", "patience"])
def test_the_learning_rate_has_two_other_names_for_plateau_patience(load, alias):
    block = f"training_automations: {{enabled: true, {LEARNING_RATE}: {{enabled: true, %s}}}}"
    options = load(train=block % f"{alias}: 7")
    assert automations(options)[LEARNING_RATE]["plateau_patience"] == 7
    assert "read as plateau_patience" in infos(options)[0]
    (line,) = problems(load, train=block % f"{alias}: 7, plateau_patience: 8")
    assert "given twice with different values: 8 here, 7 as" in line


STRICTER = [
    ("max_no_improvement: 5", "patience", 5, 0),
    ("max_no_improvement: 5, patience: 5", "patience", 5, 0),
    ("max_no_improvement: 5, patience: 9", "patience", 5, 1),
    ("max_no_improvement: 9, patience: 5", "patience", 5, 1),
    ("improvement_threshold: 0.2, min_improvement: 0.1", "min_improvement", 0.2, 1),
    ("improvement_threshold: 0.1, min_improvement: 0.2", "min_improvement", 0.2, 1),
    ("improvement_threshold: 0.1, min_improvement: auto", "min_improvement", 0.1, 0),
]


@pytest.mark.parametrize(("written", "name", "value", "number"), STRICTER)
def test_of_two_names_of_a_rule_the_stricter_holds_with_a_warning(load, written, name, value, number):
    options = load(train=f"early_stopping: {{enabled: true, {written}}}")
    assert automations(options)[STOPPING] == {"enabled": True, name: value}
    assert len(warnings(options)) == number
    assert all(f"the stricter of the two, {value}, is used" in text for text in warnings(options))


@pytest.mark.parametrize(
    "option", ["lr_log_frequency", "convergence_window", "architecture_hints", "detailed_logging"]
)
def test_deprecated_options_have_no_effect_and_say_so(load, option):
    options = load(train=f"adaptive_gradient_clipping: {{enabled: true, {option}: 3}}")
    assert automations(options)[CLIPPING] == {"enabled": True}
    assert warnings(options) == [
        f"c.yml:5:47: train.adaptive_gradient_clipping.{option}: deprecated; it has no effect"
    ]


def test_manual_weights_is_an_error_that_points_to_loss_weight(load):
    (line,) = problems(load, train="dynamic_loss_scheduling: {enabled: true, manual_weights: {}}")
    assert (
        line.startswith("c.yml:5:44: train.dynamic_loss_scheduling.manual_weights:") and "loss_weight" in line
    )


def test_automations_of_no_such_name_or_kind_are_errors(load):
    train = "training_automations: {enabled: maybe, IntelligentEarlyStoping: true, early_stopping: 3}"
    assert problems(load, train=train) == [
        "c.yml:5:35: train.training_automations.enabled: should be true or false (got 'maybe')",
        "c.yml:5:42: train.training_automations.IntelligentEarlyStoping: "
        "unknown automation; did you mean 'IntelligentEarlyStopping'?",
        "c.yml:5:89: train.training_automations.early_stopping: "
        "should be true, false or a mapping (key: value) (got 3)",
    ]


def test_unknown_options_of_automations_are_left_to_the_registry(load):
    options = load(train="early_stopping: {enabled: true, patiense: 3}")
    assert automations(options)[STOPPING]["patiense"] == 3


def test_the_command_line_wins_over_every_form(load):
    train = f"training_automations: {{enabled: true, {STOPPING}: {{max_no_improvement: 5}}}}"
    for override in (
        f"train.training_automations.{STOPPING}.patience=9",
        f"train.training_automations.{STOPPING}.max_no_improvement=9",
        "train.early_stopping.patience=9",
    ):
        assert automations(load(train=train, overrides=[override]))[STOPPING]["patience"] == 9


def test_names_that_others_give_options_of_a_data_set_are_read_with_a_note(load):
    theirs = "patch_size: 24, batch_size: 3, accumulate: 2, use_flip: false, meta_info: names.txt"
    options = load(f"datasets: {{train: {{{theirs}}}}}\n")
    train = options.datasets["train"]
    assert (train.lq_size, train.gt_size, train.batch_size_per_gpu, train.accum_iter) == (24, 48, 3, 2)
    assert (train.meta_info_file, train.use_hflip) == ("names.txt", False)
    read = [text for text in infos(options) if "read as datasets.train." in text]
    assert len(read) == len(option_names.DATASET_NAMES)
