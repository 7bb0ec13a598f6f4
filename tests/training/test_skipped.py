"""What is said of the first step that a run skipped."""

import math
from dataclasses import replace

import pytest
from automations.simulate import window

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
    steps = [{label: [*values, 0.1] for label, values in losses.items()}, [0.1, total, 0.1], [1.0, norm, 1.0]]
    event = window(20, losses=steps[1], norms=steps[2])
    rates = {"g": [2e-3, 1e-3, 5e-4]}
    skipped = Skipped()
    skipped.add(replace(event, losses=steps[0], applied={"g": [True, False, True]}, rates=rates))
    assert skipped.first == f"step 19 ({said}, learning rate 0.001)"
