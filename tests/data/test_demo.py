"""The demo data: the same everywhere, whole or absent, and with the statistics of photographs."""

import logging
from functools import cache

import numpy as np
import pytest

from traiNNer.data import synthetic as demo
from traiNNer.data.images.image_io import read_image
from traiNNer.data.images.resize import imresize
from traiNNer.data.paired_dataset import PairedImageDataset
from traiNNer.data.synthetic import dead_leaves, ensure_demo_data, make_demo_data

SMALL = {"train": (3, 48), "val": (1, 40)}


@cache
def _leaves(index, size=256):
    return dead_leaves(size, 0, index)


def _contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_an_image_is_a_function_of_seed_and_index():
    np.testing.assert_array_equal(_leaves(1), dead_leaves(256, 0, 1))
    assert (_leaves(1) != _leaves(2)).mean() > 0.5
    assert (_leaves(1) != dead_leaves(256, 1, 1)).mean() > 0.5


def test_the_first_image_is_the_recorded_one():
    # with numpy 2 and OpenCV 5; other versions may round a few values differently
    np.testing.assert_allclose(_leaves(0).mean(axis=(0, 1)), [101.974, 125.365, 131.363], atol=0.3)
    np.testing.assert_allclose(_leaves(0).std(axis=(0, 1)), [58.642, 66.811, 73.041], atol=0.3)


def test_images_have_contrast_edges_and_heavy_tailed_gradients_like_photographs():
    for index in range(4):
        grey = _leaves(index).mean(axis=2)
        assert grey.std() > 20, "little contrast"
        step = np.abs(np.diff(grey, axis=1))
        assert np.median(step) < 6, "no smooth areas"
        assert (step > 40).mean() > 0.01, "no sharp edges"
        kurtosis = ((step - step.mean()) ** 4).mean() / step.var() ** 2
        assert kurtosis > 6, "gradients without heavy tails"


def test_the_spectrum_falls_with_frequency_as_that_of_photographs():
    power = 0
    for index in range(6):
        grey = _leaves(index).mean(axis=2)
        window = np.hanning(256)[:, None] * np.hanning(256)
        power = power + np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    edges = np.geomspace(0.02, 0.4, 9)
    bands = [
        power[(radius >= low) & (radius < high)].mean() for low, high in zip(edges, edges[1:], strict=False)
    ]
    slope = np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.log(bands), 1)[0]
    assert -3.2 < slope < -1.5, "photographs have about -2"


def test_the_folder_holds_matching_sets_without_a_common_image(tmp_path):
    seen = []
    make_demo_data(
        tmp_path / "demo", scales=[2, 3], sets=SMALL, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [p.name for p in tmp_path.iterdir()] == ["demo"]
    for name, (count, size) in SMALL.items():
        for scale in (2, 3):
            root = tmp_path / "demo" / name
            data = PairedImageDataset([root / "HR"], [root / f"LRx{scale}"], scale)
            assert len(data) == count
            lq, gt, _ = data.pair(0)
            assert gt is not None and gt.shape[0] == size // scale * scale
            np.testing.assert_array_equal(imresize(gt, 1 / scale), lq)
    images = [p.read_bytes() for p in tmp_path.rglob("HR/*.png")]
    assert len(set(images)) == 4


def test_two_makings_are_equal_byte_for_byte(tmp_path):
    make_demo_data(tmp_path / "a", sets=SMALL)
    make_demo_data(tmp_path / "b", sets=SMALL)
    assert _contents(tmp_path / "a") == _contents(tmp_path / "b")
    with pytest.raises(FileExistsError, match="remove it"):
        make_demo_data(tmp_path / "a", sets=SMALL)


def test_a_making_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fail(size, seed, index):
        if index == 2:
            raise RuntimeError("no disk")
        return dead_leaves(size, seed, index)

    monkeypatch.setattr(demo, "dead_leaves", fail)
    with pytest.raises(RuntimeError, match="no disk"):
        make_demo_data(tmp_path / "demo", sets=SMALL)
    assert not list(tmp_path.iterdir())


def test_ensuring_makes_it_once_and_adds_another_scale_without_touching_the_rest(
    tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(demo, "_SETS", SMALL)
    folder = tmp_path / "datasets/demo"
    assert ensure_demo_data(folder, 2)
    assert "is missing: drawing 4 synthetic photographs" in caplog.text
    before = _contents(folder)
    assert not ensure_demo_data(folder, 2)
    assert ensure_demo_data(folder, 4)
    after = _contents(folder)
    assert {name: after[name] for name in before} == before
    hr = read_image(folder / "train/HR/leaves_001.png")
    np.testing.assert_array_equal(read_image(folder / "train/LRx4/leaves_001.png"), imresize(hr, 1 / 4))
    assert len(after) == 12
    assert not ensure_demo_data(tmp_path, 4), "a folder of the user's own is left alone"
