"""The cache of decoded pairs: the same pixels as the files, decoded once for all processes."""

import pickle

import numpy as np
import pytest
import torch

from traiNNer.data.cache import SharedPairs
from traiNNer.data.demo import make_demo_data
from traiNNer.data.image_io import read_image, write_image
from traiNNer.data.loader import TrainLoader
from traiNNer.data.sources import PairedImageDataset


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "demo"
    make_demo_data(folder, scales=(2,), sets={"train": (3, 64)})
    return folder / "train"


def opened(demo, cache_bytes):
    return PairedImageDataset([demo / "HR"], [demo / "LRx2"], 2, cache_bytes=cache_bytes)


@pytest.mark.parametrize("workers", [0, 2])
def test_cached_samples_are_those_of_the_files(demo, workers):
    def samples(cache_bytes):
        batches = TrainLoader(opened(demo, cache_bytes), seed=1, num_workers=workers).batches(0, 4, 8)
        return [next(batches) for _ in range(5)]

    for cached, decoded in zip(samples(2**30), samples(0), strict=True):
        assert torch.equal(cached.lq, decoded.lq)
        assert torch.equal(cached.gt, decoded.gt)


def test_every_file_is_decoded_once(demo, monkeypatch):
    images, decoded = opened(demo, 2**30), []
    decode = images._decode
    monkeypatch.setattr(images, "_decode", lambda path: decoded.append(path) or decode(path))
    for _ in range(3):
        for index in range(len(images)):
            images.pair(index)
    assert len(decoded) == len(set(decoded)) == 6


def test_what_a_worker_decodes_its_parent_need_not(demo):
    images = opened(demo, 2**30)
    batches = TrainLoader(images, seed=1, num_workers=1).batches(0, 8, 8)
    next(batches)
    assert all(images._cache.get(index) for index in range(3))


def test_sets_beyond_the_budget_are_decoded_each_time(demo):
    size = opened(demo, 0).decoded_bytes
    assert size == 3 * (64 * 64 + 32 * 32) * 3
    assert not opened(demo, size - 1).caches
    assert opened(demo, size).caches


def test_sixteen_bit_images_are_not_kept_and_keep_their_depth(tmp_path):
    deep = np.arange(32 * 32 * 3, dtype=np.uint16).reshape(32, 32, 3) * 21
    for folder, image in (("HR", deep), ("LR", deep[::2, ::2].copy())):
        (tmp_path / folder).mkdir()
        write_image(tmp_path / folder / "a.png", image)
    images = PairedImageDataset([tmp_path / "HR"], [tmp_path / "LR"], 2, cache_bytes=2**30)
    for _ in range(2):
        assert np.array_equal(images.pair(0).gt, read_image(tmp_path / "HR/a.png"))
    assert images.pair(0).gt.dtype == np.uint16


def test_a_spawned_process_starts_with_an_empty_cache_of_its_own():
    cache = SharedPairs(np.array([[2, 3]], np.int32), 2)
    cache.put(0, np.ones((2, 3, 3), np.uint8), np.ones((4, 6, 3), np.uint8))
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.get(0) is None
    assert cache.get(0)[0].sum() == 18
