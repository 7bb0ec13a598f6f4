"""The stream of samples: a pure function of the position, whoever reads it."""

import numpy as np
import pytest
import torch
from tiny import Waves

from traiNNer.data.images.image_io import ImageError
from traiNNer.data.loader import TrainLoader
from traiNNer.data.sampler import Sampler


def test_every_epoch_visits_every_image_once_in_another_order():
    stream = Sampler(length=101, seed=5)
    epochs = [[stream[e * 101 + i].index for i in range(101)] for e in range(3)]
    assert all(sorted(epoch) == list(range(101)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_position_means_the_same_in_any_order():
    stream = Sampler(length=11, seed=5)
    forward = [stream[p] for p in range(50)]
    assert [stream[p] for p in reversed(range(50))] == forward[::-1]


def test_seeds_give_different_streams():
    assert [Sampler(100, 1)[p] for p in range(10)] != [Sampler(100, 2)[p] for p in range(10)]


def test_crops_are_uniform_and_flips_fair():
    draws = [Sampler(10, 0)[p] for p in range(4000)]
    for values in ([d.row for d in draws], [d.column for d in draws]):
        assert min(values) >= 0
        assert max(values) < 1
        assert np.histogram(values, 10, (0, 1))[0] == pytest.approx([400] * 10, abs=100)
    for coin in ("flip_rows", "flip_columns", "transpose"):
        assert np.mean([getattr(d, coin) for d in draws]) == pytest.approx(0.5, abs=0.04)


def test_recorded_draws():
    """Written once; a change here means that old runs can no longer be continued."""
    stream = Sampler(length=1000, seed=1234)
    assert [stream[p].index for p in (0, 1, 999, 1000)] == [172, 25, 98, 802]
    draw = stream[5]
    assert (draw.row, draw.column) == pytest.approx((0.8432877355083619, 0.6117952321924913))


def flat(loader, position, batch, count):
    batches = loader.batches(position, batch, 8)
    pairs = [next(batches) for _ in range(count)]
    return [(lq, gt) for b in pairs for lq, gt in zip(b.lq, b.gt, strict=True)]


def assert_same_samples(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_any_split_into_batches_workers_and_processes_gives_the_same_samples(workers, processes):
    reference = flat(TrainLoader(Waves(), seed=3), 0, 1, 24)
    loaders = [
        TrainLoader(Waves(), seed=3, num_workers=workers, rank=rank, world_size=processes)
        for rank in range(processes)
    ]
    for batch in (1, 2, 4):
        steps = 24 // (batch * processes)
        shares = [flat(loader, 0, batch, steps) for loader in loaders]  # the same workers, asked again
        regrouped = [
            sample
            for step in range(steps)
            for share in shares
            for sample in share[step * batch : (step + 1) * batch]
        ]
        assert_same_samples(regrouped, reference[: len(regrouped)])
    assert_same_samples(flat(TrainLoader(Waves(), seed=3, num_workers=workers), 9, 3, 5), reference[9:])


class Torn(Waves):
    """Some files of this set cannot be read."""

    def __init__(self, bad):
        self.bad = bad

    def read(self, draw, lq_size):
        if draw.index in self.bad:
            raise ImageError(f"wave{draw.index}.png: cut off")
        return super().read(draw, lq_size)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_file_is_replaced_by_the_next_position_and_named(workers):
    stream = Sampler(11, 3)
    bad = {stream[2].index}
    batches = TrainLoader(Torn(bad), seed=3, num_workers=workers).batches(0, 4, 8)
    batch = next(batches)
    whole = flat(TrainLoader(Waves(), seed=3), 0, 1, 8)
    expected = [whole[0], whole[1], whole[3], whole[3]]
    assert_same_samples(list(zip(batch.lq, batch.gt, strict=True)), expected)
    assert batch.replaced == (f"wave{stream[2].index}.png: cut off",)


def test_a_set_of_which_nothing_can_be_read_is_an_error_not_an_endless_search():
    with pytest.raises(ImageError, match="100 files in a row"):
        next(TrainLoader(Torn(set(range(11))), seed=3).batches(0, 1, 8))


def test_eight_and_sixteen_bit_images_meet_in_one_batch_without_changing_their_light():
    class Mixed(Waves):
        def read(self, draw, lq_size):
            patch = super().read(draw, lq_size)
            return patch if draw.index % 2 else type(patch)(*(p.astype(np.uint16) * 257 for p in patch))

    mixed = next(TrainLoader(Mixed(), seed=3).batches(0, 8, 8))
    plain = next(TrainLoader(Waves(), seed=3).batches(0, 8, 8))
    assert mixed.lq.dtype == torch.uint16
    assert torch.equal(mixed.lq.to(torch.int32), plain.lq.to(torch.int32) * 257)
