import math
import random
from statistics import fmean, pstdev, stdev

import numpy as np
import pytest

from traiNNer.automations.statistics import (
    RunningLine,
    RunningMoments,
    fit_line,
    paired_gain,
    robust_moments,
    scatter,
    t95,
    trimmed_mean,
    upper_projection,
)


def test_a_line_agrees_with_numpy():
    rng = np.random.default_rng(0)
    values = 0.3 * np.arange(50) + rng.standard_normal(50)
    (slope, _), covariance = np.polyfit(np.arange(50), values, 1, cov=True)
    line = fit_line(values.tolist())
    assert line.slope == pytest.approx(slope)
    assert math.sqrt(covariance[0, 0]) * (1 - 1e-9) <= line.se < 1.6 * math.sqrt(covariance[0, 0])


def test_the_error_of_a_slope_is_honest_for_independent_and_for_wandering_values():
    rng = random.Random(0)
    for memory in (0.0, 0.7):
        inside = 0
        for _ in range(400):
            value, values = 0.0, []
            for _ in range(100):
                value = memory * value + rng.gauss(0, 1)
                values.append(value)
            line = fit_line(values)
            inside += abs(line.slope) < 2 * line.se
        assert 0.88 < inside / 400 <= 1.0


def test_a_paired_gain_is_the_t_statistic():
    new, old = [3.0, 5.0, 4.0, 8.0], [2.0, 3.0, 4.0, 5.0]
    gain = paired_gain(new, old)
    assert gain.mean == 1.5 and gain.se == pytest.approx(stdev([1, 2, 0, 3]) / 2)
    assert paired_gain([2.0], [1.0]) == (1.0, 0.0)


def test_outliers_hardly_move_the_robust_ones():
    rng = random.Random(1)
    values = [rng.gauss(0, 1) for _ in range(100)]
    mean, deviation = robust_moments([*values, 1e6, -1e9], 0.1)
    assert mean == pytest.approx(fmean(values), abs=0.1) and deviation == pytest.approx(
        pstdev(values), rel=0.15
    )
    few = [rng.gauss(0, 1) for _ in range(8)]
    alone, beside = (robust_moments(few + bad, 0.1) for bad in ([], [30.0, 40.0]))
    assert beside == pytest.approx(alone, rel=1e-9)  # two of ten are left out wholly
    assert trimmed_mean([1.0] * 8 + [1e9, -1e9]) == 1.0
    assert scatter([0.1 * k + v for k, v in enumerate(values)]) == pytest.approx(1.0, rel=0.25)


def test_running_moments_begin_as_plain_ones():
    rng = random.Random(2)
    values = [rng.gauss(0, 1) for _ in range(60)]
    running = RunningMoments(values[0], 0.0, 1)
    for value in values[1:]:
        running.add(value, memory=10**9, floor=100.0)
    assert running.mean == pytest.approx(fmean(values)) and running.variance == pytest.approx(
        pstdev(values) ** 2
    )


def test_running_moments_forget():
    running = RunningMoments(0.0, 1.0, 100)
    for _ in range(1000):
        running.add(2.0, memory=100, floor=0.1)
    assert running.mean == pytest.approx(2.0, abs=0.01) and running.deviation(0.1) == 0.1


def test_a_running_line_agrees_with_the_plain_one():
    rng = random.Random(3)
    for slope in (-0.05, 0.0, 0.05):
        line = RunningLine()
        for x in range(200):
            line.add(x, slope * x + rng.gauss(0, 1))
        assert line.falls(3.0) == (slope < 0)
    assert not RunningLine().falls(3.0)


def test_the_points_of_students_t():
    for freedom, table in ((3, 2.353), (5, 2.015), (10, 1.812), (30, 1.697), (1000, 1.646)):
        assert t95(freedom) == pytest.approx(table, rel=0.03)


def test_the_upper_bound_of_a_projection_holds_in_most_cases_and_ignores_an_outlier():
    rng, xs = random.Random(4), [k / 10 for k in range(12)]
    holds = 0
    for _ in range(300):
        ys = [2 * x + rng.gauss(0, 0.1) for x in xs]
        holds += upper_projection(xs, ys, 2.0) >= 4.0
    assert holds > 0.9 * 300
    line = [2 * x for x in xs]
    assert upper_projection(xs, [*line[:5], 1e6, *line[6:]], 2.0) == pytest.approx(4.0)
