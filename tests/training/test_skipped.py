"""What is said of the first step that a run skipped."""

import math

import pytest

from traiNNer.models.step_metrics import StepMetrics
from traiNNer.training.skipped import Skipped

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("losses", "total", "norm", "said"),
    [
        ({"l1": [0.1, 0.1]}, 0.1, NAN, "the gradient was not finite"),
        ({"l1": [0.1, INF]}, INF, NAN, "loss l1 inf was not finite"),
        ({"l1": [0.1, 0.1], "gan": [NAN, NAN]}, 0.1, NAN, "the gradient was not finite"),
        ({"l1": [0.1, 0.1]}, 0.1, 50.0, "a gradient of length 50 was out of the ordinary"),
    ],
    ids=["gradient", "loss", "a loss that is off", "too long"],
)
def test_the_first_skipped_step_is_told_with_its_cause(losses, total, norm, said):
    numbers = StepMetrics(losses, [0.1, total], {"g": [1.0, norm]}, {"g": [True, False]}, {}, None, 1.0, {})
    skipped = Skipped()
    skipped.add(numbers, 20, {"g": 1e-3})
    assert skipped.first == f"step 20 ({said}, learning rate 0.001)"
