"""Whether a chain of degradations keeps a training waiting, and what it is told then."""

import pytest

from traiNNer.automations.data_cost import DataCost
from traiNNer.automations.diagnosis import RunNumbers, diagnose

SEVEN = DataCost(sample_ms=4.0, workers=7, processors=24)  # at most 1,750 samples a second


def advice(cost, samples_per_s, wait):
    numbers = RunNumbers(progress=1.0, data_wait_share=wait, samples_per_s=samples_per_s, data_cost=cost)
    return next(row.advice for row in diagnose(numbers) if row.quantity == "data_wait_share")


def test_busy_workers_name_the_chain_and_how_many_would_keep_up():
    assert SEVEN.per_second == 1750 and SEVEN.busy(875) == 0.5
    said = advice(SEVEN, 1690, 0.32)  # it would take 2,485 a second, which are 10 workers' work
    assert "4.0 ms" in said and "2,485 a second" in said and said.endswith("num_worker_per_gpu: 10")


def test_without_enough_processors_the_chain_has_to_become_cheaper():
    said = advice(DataCost(4.0, 4, 8), 950, 0.5)
    assert "num_worker_per_gpu: 7, and a smaller patch or a cheaper chain (8 workers" in said
    said = advice(DataCost(4.0, 7, 8), 1700, 0.5)
    assert "num_worker_per_gpu" not in said and "cheaper chain" in said


@pytest.mark.parametrize(
    ("cost", "samples_per_s", "wait"),
    [
        (SEVEN, 300, 0.5),  # the workers wait for something else, such as a disk
        (None, 1700, 0.32),
        (DataCost(0.05, 0, 4), 100, 0.5),  # one process, whose half second of waiting has 5 ms of making
    ],
)
def test_waiting_for_anything_else_is_not_laid_at_its_door(cost, samples_per_s, wait):
    assert "cache" in advice(cost, samples_per_s, wait)


def test_a_training_that_makes_its_samples_itself_waits_for_the_chain():
    alone = DataCost(4.0, 0, 4)
    assert alone.holds_up(100, 0.41)  # 0.4 of every second
    assert advice(alone, 100, 0.41).endswith("num_worker_per_gpu: 1")


def test_little_waiting_is_no_complaint():
    assert not SEVEN.holds_up(1750, 0.05) and advice(SEVEN, 1750, 0.05) == ""
