"""Mixed batches: pairs stay pairs, and what a step does is drawn from (seed, step, rank) alone."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from traiNNer.data.mixing import BatchAugmentation, Mixture, _Draws
from traiNNer.data.purposes import Purpose
from traiNNer.options.fields import TrainOptions

SCALES = (1, 2, 3, 4)
MIXTURES = ("mixup", "cutmix", "resizemix", "cutblur")
DEFAULTS = {name: TrainOptions.model_fields[f"moa_{name}"].default for name in ("augs", "probs")}
EVERY = dict(zip(DEFAULTS["augs"], DEFAULTS["probs"], strict=True))


def only(mixture: Mixture, *, seed: int = 3, rank: int = 0) -> BatchAugmentation:
    return BatchAugmentation({mixture: 1.0}, seed=seed, rank=rank)


def batch(scale: int, samples: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Random LQ, and as GT the same with every pixel repeated; float64."""
    lq = torch.rand(samples, 3, 12, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return lq, F.interpolate(lq, scale_factor=scale, mode="nearest")


def flat(scale: int, samples: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """A level a sample, so that a pixel says which samples it is made of."""
    levels = (0.1 * torch.arange(1, samples + 1, dtype=torch.float64))[:, None, None, None]
    return levels.expand(-1, 3, 12, 10), levels.expand(-1, 3, 12 * scale, 10 * scale)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("mixture", ["mixup", "cutmix"])
def test_a_gt_that_is_the_enlarged_lq_stays_so(mixture, scale):
    for step in range(20):
        lq, gt = only(mixture)(*batch(scale), step)
        assert torch.allclose(F.interpolate(lq, scale_factor=scale, mode="nearest"), gt, rtol=0, atol=1e-15)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("mixture", MIXTURES)
def test_every_gt_shows_the_same_samples_as_its_lq_at_the_same_place(mixture, scale):
    for step in range(20):
        lq, gt = only(mixture)(*flat(scale), step)
        assert torch.allclose(F.interpolate(lq, scale_factor=scale, mode="nearest"), gt, atol=1e-12)


def shares(mixture: Mixture, step: int) -> torch.Tensor:
    """How much of sample j there is in sample i of the mixed batch, (3, 3), by samples of one colour each."""
    colours = torch.eye(3, dtype=torch.float64)[:, :, None, None].expand(-1, -1, 12, 10)
    return only(mixture)(colours, colours, step)[0].mean((2, 3))


RANGES = {"mixup": (0.4, 0.6), "cutmix": (0.0, 0.95), "resizemix": (0.15, 0.8)}


@pytest.mark.parametrize("mixture", RANGES)
def test_every_sample_is_mixed_with_one_other_and_no_two_with_the_same(mixture):
    for step in range(50):
        matrix = shares(mixture, step)
        own = matrix.diagonal()
        assert torch.allclose(own, own[:1].expand(3))
        other = matrix - own.diag()
        assert torch.allclose(other.sum(0), 1 - own) and torch.allclose(other.amax(1), 1 - own)


@pytest.mark.parametrize("mixture", RANGES)
def test_the_share_of_a_sample_that_stays_fills_its_range(mixture):
    low, high = RANGES[mixture]
    kept = [float(shares(mixture, step)[0, 0]) for step in range(200)]
    assert low <= min(kept) < low + 0.1 and high - 0.1 < max(kept) <= high


def ramp_and_grey() -> tuple[torch.Tensor, torch.Tensor]:
    ramp = torch.linspace(0, 1, 12, dtype=torch.float64)[:, None].expand(1, 3, 12, 10)
    return ramp, torch.full_like(ramp, 0.5)


def test_cutmix_shows_another_sample_at_the_same_place():
    ramp, grey = ramp_and_grey()
    for step in range(20):
        mixed = only("cutmix")(torch.cat([ramp, grey]), torch.cat([ramp, grey]), step)[0][1]
        assert ((mixed == ramp[0]) | (mixed == grey[0])).all() and not torch.equal(mixed, grey[0])


def test_resizemix_shows_another_sample_from_edge_to_edge():
    ramp, grey = ramp_and_grey()
    for step in range(20):
        mixed = only("resizemix")(torch.cat([ramp, grey]), torch.cat([ramp, grey]), step)[0][1]
        assert mixed.min() < 0.05 and mixed.max() > 0.95


def test_cutblur_puts_the_shrunk_gt_inside_the_box_or_outside_and_leaves_the_gt():
    _, gt = batch(2)
    lq = torch.zeros(5, 3, 12, 10, dtype=torch.float64)
    clean = F.interpolate(gt, (12, 10), mode="bicubic", antialias=True).clamp(0, 1)
    changed = []
    for step in range(100):
        mixed, kept = only("cutblur")(lq, gt, step)
        from_gt = mixed == clean
        assert torch.equal(kept, gt) and torch.equal(mixed, torch.where(from_gt, clean, lq))
        changed.append(float(from_gt.double().mean()))
    assert min(changed) < 0.1 and max(changed) > 0.9  # boxes take 4 to 49 percent
    assert 35 <= sum(share > 0.5 for share in changed) <= 65


@pytest.mark.parametrize("mixture", ["none", *MIXTURES])
def test_a_step_repeats_itself_and_leaves_what_it_is_given(mixture):
    lq, gt = batch(2)
    first = only(mixture)(lq, gt, 7)
    torch.rand(3), torch.manual_seed(99)
    again = only(mixture)(lq.clone(), gt.clone(), 7)
    assert all(map(torch.equal, first, again))
    assert all(map(torch.equal, (lq, gt), batch(2)))


@pytest.mark.parametrize("mixture", MIXTURES)
def test_steps_seeds_and_processes_draw_apart(mixture):
    runs = [only(mixture)(*batch(2), 0), only(mixture)(*batch(2), 1)]
    runs += [only(mixture, seed=4)(*batch(2), 0), only(mixture, rank=1)(*batch(2), 0)]
    for index, (lq, _) in enumerate(runs):
        assert not any(torch.equal(lq, other) for other, _ in runs[:index])


def test_mixtures_come_as_often_as_they_should_over_10000_steps():
    augmentation = BatchAugmentation(EVERY, seed=0)
    counts = Counter(augmentation.choice(step) for step in range(10_000))
    for mixture, probability in EVERY.items():
        assert (
            abs(counts[mixture] - 10_000 * probability)
            < 4 * (10_000 * probability * (1 - probability)) ** 0.5
        )


def test_a_step_does_what_it_chose():
    augmentation = BatchAugmentation(EVERY, seed=1)
    for step in range(60):
        mixed = augmentation(*batch(2), step)
        assert all(map(torch.equal, mixed, only(augmentation.choice(step), seed=1)(*batch(2), step)))


@pytest.mark.parametrize("mixture", MIXTURES)
def test_a_single_pixel_and_a_single_sample_are_mixed_without_complaint(mixture):
    lq, gt = torch.rand(1, 3, 1, 1), torch.rand(1, 3, 4, 4)
    mixed = only(mixture)(lq, gt, 0)
    assert mixed[0].shape == lq.shape and mixed[1].shape == gt.shape


@pytest.mark.parametrize("mixture", MIXTURES)
def test_values_stay_from_0_to_1_in_the_order_of_memory_that_was_given(mixture):
    lq, gt = (images.round().float().to(memory_format=torch.channels_last) for images in batch(4))
    for mixed in only(mixture)(lq, gt, 2):
        assert mixed.min() >= 0 and mixed.max() <= 1 and mixed.dtype == torch.float32
        assert mixed.is_contiguous(memory_format=torch.channels_last)


def test_the_options_name_exactly_what_there_is():
    assert tuple(DEFAULTS["augs"]) == get_args(Mixture)


@pytest.mark.parametrize("purpose", set(Purpose) - {Purpose.MIXTURE})
def test_what_is_drawn_for_a_step_repeats_nothing_that_is_drawn_for_a_sample(purpose):
    words = np.random.Philox(key=(7, purpose), counter=(0, 0, 0, 123)).random_raw(64)
    assert int(_Draws(7, 123, 0).between(0, 2**53)) not in {int(word) >> 11 for word in words}
