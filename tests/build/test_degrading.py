"""What making samples costs is measured before a run, and decides how many workers make them."""

import numpy as np
import pytest
import small_run
import torch

from traiNNer.automations.data_cost import DataCost
from traiNNer.build import worker_count
from traiNNer.build.defaults import derive
from traiNNer.build.degrading import look_at_degrading, with_workers
from traiNNer.data.degraded_dataset import DegradedImageDataset
from traiNNer.data.images.image_io import write_image
from traiNNer.data.paired_dataset import PairedImageDataset
from traiNNer.data.synthetic import dead_leaves
from traiNNer.options import load_options
from traiNNer.runtime.distributed import DistributedContext

CPU = torch.device("cpu")


class Slow:
    """A chain of which a sample takes so many ms of a clock that only it moves."""

    def __init__(self, ms):
        self.ms, self.now = ms, 0.0

    def clock(self):
        return self.now

    def __call__(self, image, size, draws, trace=None):
        self.now += self.ms / 1e3
        return np.zeros((*size, 3), np.float32)


@pytest.fixture
def opened(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_count, "usable_cpus", lambda: 12)
    write_image(tmp_path / "gt/a.png", dead_leaves(64, 0, 1))
    images = PairedImageDataset([tmp_path / "gt"], [tmp_path / "gt"], 1)

    def look(ms, workers="auto"):
        tree = small_run.options(tmp_path)
        tree["datasets"]["train"]["num_worker_per_gpu"] = workers
        options = load_options(small_run.write_options(tmp_path, tree))
        options = options.with_derived(derive(options, CPU, 1))
        chain = Slow(ms)
        degrading = look_at_degrading(
            options,
            DegradedImageDataset(images, options.scale, chain),
            CPU,
            DistributedContext(),
            count=3,
            choose_workers=workers == "auto",
            clock=chain.clock,
        )
        return with_workers(options, degrading), degrading

    return look


def test_a_dear_chain_gets_more_workers_than_a_cheap_one(opened):
    options, degrading = opened(20.0)
    assert degrading.cost == DataCost(pytest.approx(20.0), workers=11, processors=12)
    assert options.datasets["train"].num_worker_per_gpu == 11
    lines = list(degrading.lines())
    assert "20.0 ms of CPU time each" in lines[0]
    assert lines[-1] == "11 workers can make 550 samples a second at most (num_worker_per_gpu: 11)"
    assert opened(0.1)[0].datasets["train"].num_worker_per_gpu == 6


def test_the_number_that_is_written_stays(opened):
    options, degrading = opened(20.0, workers=2)
    assert options.datasets["train"].num_worker_per_gpu == degrading.cost.workers == 2
    assert degrading.cost.per_second == pytest.approx(100)


def test_images_that_are_only_read_have_no_such_cost(tmp_path):
    write_image(tmp_path / "gt/a.png", dead_leaves(64, 0, 1))
    images = PairedImageDataset([tmp_path / "gt"], [tmp_path / "gt"], 1)
    options = load_options(small_run.write_options(tmp_path, small_run.options(tmp_path)))
    found = look_at_degrading(options, images, CPU, DistributedContext(), count=3, choose_workers=True)
    assert found is None and with_workers(options, None) is options
