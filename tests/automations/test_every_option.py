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
from traiNNer.engine.automate import check_automation

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
    return bool({int, float, bool} & {hint, *typing.get_args(hint)})


@pytest.mark.parametrize("name", ALL)
def test_every_number_and_switch_has_a_test_in_which_it_changes_behaviour(name):
    options = AUTOMATIONS.parameters(name, GIVEN[name]).values()
    shown = {key for case in SHOWN[name] for key in case}
    assert {option.name for option in options if is_number_or_switch(option.hint)} <= shown


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("spec", [{"max_adjustments": 0}, {"max_adjustments": "few"}, {"monitor_only": "x"}])
def test_limits_that_cannot_be_are_refused(name, spec):
    ((path, _),) = check_automation(name, {"enabled": True, **spec})
    assert path == tuple(spec)
    assert check_automation(name, {"max_adjustments": 1, "monitor_only": True}) == []
