import numpy as np
from scipy import stats

from traiNNer.data.degradations.draws import Draws
from traiNNer.data.purposes import Purpose


def test_numbers_are_those_of_philox_at_the_position():
    philox = np.random.Philox(key=(7, Purpose.TRAIN), counter=(0, 0, 0, 123))
    words = philox.random_raw(32 * 6)
    stage = Draws(7, Purpose.TRAIN, 123).stage(5)
    assert [stage.unit() for _ in range(32)] == [(int(word) >> 11) / 2**53 for word in words[160:]]


def test_fields_are_those_of_philox_at_position_and_stage():
    philox = np.random.Philox(key=(7, Purpose.TRAIN), counter=(0, 1, 5, 123))
    field = Draws(7, Purpose.TRAIN, 123).stage(5).sixteen_bits(10, 10, 3)
    assert np.array_equal(field.ravel(), philox.random_raw(75).view(np.uint16))


def test_a_stage_draws_the_same_whatever_was_drawn_before():
    fresh, used = Draws(0, Purpose.TRAIN, 9), Draws(0, Purpose.TRAIN, 9)
    used.stage(3).sixteen_bits(5, 5)
    used.stage(1).unit()
    assert used.stage(2).unit() == fresh.stage(2).unit()
    assert np.array_equal(used.stage(2).sixteen_bits(9), fresh.stage(2).sixteen_bits(9))


def test_seeds_purposes_positions_and_stages_draw_differently():
    numbers = {
        Draws(seed, purpose, position).stage(stage).unit()
        for seed in range(3)
        for purpose in Purpose
        for position in range(5)
        for stage in range(8)
    }
    assert len(numbers) == 3 * len(Purpose) * 5 * 8


def test_draws_are_even():
    stages = [Draws(1, Purpose.TRAIN, position).stage(4) for position in range(10_000)]
    units = [stage.unit() for stage in stages]
    assert stats.kstest(units, "uniform").pvalue > 1e-3
    wholes = np.bincount([stage.whole(2, 6) for stage in stages])
    assert len(wholes) == 7 and stats.chisquare(wholes[2:]).pvalue > 1e-3
    shares = [sum(stage.pick("abc", [1, 0, 3]) == letter for stage in stages) for letter in "abc"]
    assert shares[1] == 0 and stats.binomtest(shares[0], 10_000, 0.25).pvalue > 1e-3
    hits = sum(stage.chance(0.3) for stage in stages)
    assert stats.binomtest(hits, 10_000, 0.3).pvalue > 1e-3
    orders = np.unique([tuple(stage.order(3)) for stage in stages], axis=0, return_counts=True)[1]
    assert len(orders) == 6 and stats.chisquare(orders).pvalue > 1e-3


def test_bits_are_even():
    bits = Draws(1, Purpose.TRAIN, 0).stage(4).sixteen_bits(300_000)
    assert stats.chisquare(np.bincount(bits >> 8, minlength=256)).pvalue > 1e-3
    assert stats.chisquare(np.bincount(bits & 255, minlength=256)).pvalue > 1e-3
