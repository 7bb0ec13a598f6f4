"""Values that options leave to the program, as the machine has them."""

import multiprocessing

import pytest
import small_run
import torch

from traiNNer.build import defaults, worker_count
from traiNNer.options import load_options

WORKERS = "datasets.train.num_worker_per_gpu"


@pytest.mark.parametrize(
    ("cpus", "device", "world_size", "method", "workers"),
    [
        (2, "cpu", 1, "fork", 1),
        (12, "cpu", 1, "fork", 6),
        (12, "cpu", 1, "spawn", 4),
        (12, "cpu", 4, "fork", 1),
        (32, "cuda", 1, "fork", 8),
        (32, "cuda", 1, "forkserver", 4),
        (8, "cuda", 2, "fork", 3),
        (1, "cuda", 4, "spawn", 1),
    ],
)
def test_workers_follow_the_processors_that_may_be_used(
    tmp_path, monkeypatch, cpus, device, world_size, method, workers
):
    monkeypatch.setattr(worker_count, "usable_cpus", lambda: cpus)
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: method)
    tree = small_run.options(tmp_path)
    del tree["datasets"]["train"]["num_worker_per_gpu"]
    options = load_options(small_run.write_options(tmp_path, tree))
    assert defaults.derive(options, torch.device(device), world_size)[WORKERS] == workers


@pytest.mark.parametrize(
    ("cpus", "device", "world_size", "method", "ms", "workers"),
    [
        (32, "cuda", 1, "fork", 0.05, 8),  # as for images that are only read
        (32, "cuda", 1, "fork", 4.0, 16),
        (12, "cuda", 1, "fork", 4.0, 11),
        (32, "cuda", 2, "fork", 4.0, 15),
        (128, "cuda", 1, "fork", 20.0, 32),
        (32, "cuda", 1, "spawn", 4.0, 8),
        (12, "cpu", 1, "fork", 4.0, 11),
        (12, "cpu", 1, "fork", 0.2, 6),
        (1, "cpu", 1, "fork", 4.0, 1),
    ],
)
def test_samples_that_are_dear_to_make_get_more_workers(
    monkeypatch, cpus, device, world_size, method, ms, workers
):
    monkeypatch.setattr(worker_count, "usable_cpus", lambda: cpus)
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: method)
    assert worker_count.degrading_workers(torch.device(device), world_size, ms) == workers
