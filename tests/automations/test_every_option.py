"""What holds for every option of every automation: it changes something, and cannot be nonsense."""

import typing

import pytest
from automations import (
    test_batch_size,
    test_early_stopping,
    test_gradient_clipping,
    test_learning_rate,
    test_loss_scheduling,
)
from automations.simulate import ALL
from automations.test_every_automation import GIVEN

from traiNNer.automations import AUTOMATIONS
from traiNNer.build.automations import check_automation

SHOWN = {
    "AdaptiveGradientClipping": test_gradient_clipping.OPTIONS,
    "DynamicBatchSizeOptimizer": test_batch_size.OPTIONS,
    "DynamicLossScheduling": test_loss_scheduling.OPTIONS,
    "IntelligentEarlyStopping": test_early_stopping.OPTIONS,
    "IntelligentLearningRateScheduler": [
        *[changed for _, changed, _ in test_learning_rate.OPTIONS],
        *test_learning_rate.VALIDATION_OPTIONS,
    ],
    "GradientFlowStabilizer": [{"dynamic_loss_scale": True}],  # test_the_loss_scale_moves_in_fp16_only
}
"""Options for which a test named "every option changes behaviour" shows that they do."""


def is_number_or_switch(hint):
    return hint in (int, float, bool) or any(
        is_number_or_switch(part)
        for part in typing.get_args(hint)
        if isinstance(part, type) or typing.get_args(part)
    )


@pytest.mark.parametrize("name", ALL)
def test_every_number_and_switch_has_a_test_in_which_it_changes_behaviour(name):
    options = AUTOMATIONS.parameters(name, GIVEN[name]).values()
    shown = {key for case in SHOWN[name] for key in case}
    assert {option.name for option in options if is_number_or_switch(option.hint)} <= shown


@pytest.mark.parametrize(
    ("name", "option", "value", "allowed"),
    [
        ("IntelligentLearningRateScheduler", "plateau_patience", 0, 1),
        ("IntelligentLearningRateScheduler", "adaptation_threshold", 0.0, 0.01),
        ("DynamicBatchSizeOptimizer", "target_vram_usage", 85, 0.85),
        ("DynamicBatchSizeOptimizer", "adjustment_frequency", 0, 1),
        ("AdaptiveGradientClipping", "min_threshold", -1.0, 0.1),
        ("AdaptiveGradientClipping", "monitoring_frequency", 0, 1),
        ("IntelligentEarlyStopping", "patience", 0, 1),
        ("IntelligentEarlyStopping", "min_improvement", -0.1, 0.0),
        ("DynamicLossScheduling", "adaptation_rate", 0.0, 0.5),
    ],
)
def test_numbers_that_cannot_be_are_refused(name, option, value, allowed):
    ((path, text),) = check_automation(name, {"enabled": True, option: value})
    assert path == (option,)
    assert f"(got {value!r})" in text
    assert check_automation(name, {"enabled": True, option: allowed}) == []


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("spec", [{"max_adjustments": 0}, {"max_adjustments": "few"}, {"monitor_only": "x"}])
def test_limits_that_cannot_be_are_refused(name, spec):
    ((path, _),) = check_automation(name, {"enabled": True, **spec})
    assert path == tuple(spec)
    assert check_automation(name, {"max_adjustments": 1, "monitor_only": True}) == []
