import numpy as np
import pytest
import torch
from chains import OFF, chain, degraded, draws, picture, traced

from traiNNer.data.degradations.chain import StageOf
from traiNNer.data.degradations.resizing import resize
from traiNNer.options.degradation import PRESETS

MOVES = {**OFF, "blur_prob": 1, "blur_prob2": 1, "final_sinc_prob": 0.8, "resize_prob": [0.2, 0.7, 0.1],
         "resize_prob2": [0.3, 0.4, 0.3]}  # fmt: skip


def dots(size=256, step=32):
    """Soft dots in the middles of cells."""
    place = (np.arange(size) + 0.5) % step - step / 2
    bump = np.exp(-(place**2) / 2 / 5.0**2)
    return np.repeat((20 + 210 * bump[:, None] * bump[None, :])[..., None], 3, 2).astype(np.float32)


def displacement(lq, step=8):
    """(2,), mean over the inner cells of how far the centres of gravity are from those of the cells, in pixels."""
    cells = lq.mean(2).reshape(len(lq) // step, step, len(lq) // step, step).swapaxes(1, 2)[2:-2, 2:-2]
    weight = np.maximum(cells - cells.min((2, 3), keepdims=True), 0)
    offset = np.arange(step) - (step - 1) / 2
    total = weight.sum((2, 3))
    down, across = (weight.sum(axis) @ offset / total for axis in (3, 2))
    return np.array([down.mean(), across.mean()])


def displacements(made, count):
    image = dots()
    return np.array([displacement(made(image, (64, 64), draws(position))) for position in range(count)])


@pytest.mark.parametrize("modes", [["area", "bilinear", "bicubic"], ["nearest-exact", "lanczos"]])
def test_lq_and_gt_stay_aligned(modes):
    equal = [1] * len(modes)
    lists = {f"resize_mode_list{n}": modes for n in ("", "2", "3")}
    made = chain(**MOVES | lists | {f"resize_mode_prob{n}": equal for n in ("", "2", "3")})
    found = displacements(made, 500)
    assert np.abs(found.mean(0)).max() < 0.02
    assert np.abs(found).max() < 0.1


def test_lq_and_gt_stay_aligned_through_the_whole_published_chain():
    found = displacements(chain("realesrgan", noise_range=[0, 0], noise_range2=[0, 0]), 200)
    assert np.abs(found.mean(0)).max() < 0.02


@pytest.mark.parametrize("preset", PRESETS)
def test_a_sample_is_a_function_of_its_position(preset):
    made, again = chain(preset), chain(preset)
    first = [degraded(made, position).tobytes() for position in range(6)]
    assert [degraded(again, position).tobytes() for position in reversed(range(6))] == first[::-1]
    assert len(set(first)) == 6


def test_threads_change_nothing():
    made = chain()
    alone = [degraded(made, position, 256) for position in range(12)]
    torch.set_num_threads(2)
    try:
        together = [degraded(made, position, 256) for position in range(12)]
    finally:
        torch.set_num_threads(1)
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_another_range_of_one_stage_leaves_the_draws_of_the_others_alone():
    before, after = chain(), chain(jpeg_range=[80, 81], resize_prob=[0, 0, 1])
    for position in range(10):
        ours = [dict(stages) for stages in (traced(before, position), traced(after, position))]
        changed = {stage for stage in ours[0].keys() | ours[1] if ours[0].get(stage) != ours[1].get(stage)}
        assert changed <= {"compression_1", "resize_1"}


def test_lq_is_of_whole_numbers_in_range():
    for preset in PRESETS:
        for position in range(5):
            lq = degraded(chain(preset), position)
            assert lq.shape == (24, 24, 3)
            assert np.array_equal(lq, np.rint(lq)) and lq.min() >= 0 and lq.max() <= 255


def test_presets_grow_in_strength():
    def error(preset):
        made = chain(preset)
        return np.mean([
            np.abs(degraded(made, p, 128, p % 6) - resize(picture(128, p % 6), 32, 32, "bicubic")).mean()
            for p in range(60)
        ])  # fmt: skip

    errors = [error(preset) for preset in ("weak", "medium", "strong", "realesrgan")]
    assert errors == sorted(errors) and errors[0] < 0.7 * errors[1]


def test_clean_samples_are_shrunk_by_bicubic_alone():
    made = chain(p_clean=0.5)
    small = np.rint(np.clip(resize(picture(), 24, 24, "bicubic"), 0, 255))
    clean = sum(np.array_equal(degraded(made, position), small) for position in range(100))
    assert 35 < clean < 65


def order(made, position):
    """Every stage of one sample, whether it changed it or not."""
    return [stage for stage, _ in made._steps((96, 96), (24, 24), draws(position))]


def test_the_order_is_that_of_real_esrgan():
    orders = {tuple(order(chain(), position)) for position in range(50)}
    assert len(orders) == 2
    for stages in orders:
        assert list(stages[1:8]) == [
            StageOf.BLUR_1, StageOf.RESIZE_1, StageOf.NOISE_1, StageOf.COMPRESSION_1, StageOf.BLUR_2,
            StageOf.RESIZE_2, StageOf.NOISE_2,
        ]  # fmt: skip
        assert stages.index(StageOf.SINC) == stages.index(StageOf.FINAL) + 1
    late = sum(order(chain(), p)[8] == StageOf.FINAL for p in range(400))
    assert 150 < late < 250


def test_shuffled_stages_come_in_any_order_that_ends_at_the_right_size():
    orders = [order(chain("bsrgan"), position) for position in range(300)]
    assert len({tuple(stages) for stages in orders}) > 250
    assert all(stages.index(StageOf.RESIZE_1) < stages.index(StageOf.FINAL) for stages in orders)
    assert all(stages.index(StageOf.COMPRESSION_2) > stages.index(StageOf.FINAL) for stages in orders)
    assert {stages[1] for stages in orders} == {
        StageOf.BLUR_1, StageOf.BLUR_2, StageOf.RESIZE_1, StageOf.NOISE_1, StageOf.NOISE_2,
        StageOf.COMPRESSION_1,
    }  # fmt: skip


def test_a_trace_ends_with_the_result():
    trace = []
    lq = chain()(picture(), (24, 24), draws(3), trace)
    assert np.array_equal(np.rint(np.clip(trace[-1].image, 0, 255)), lq)
