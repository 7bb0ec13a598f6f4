"""Memory that runs out, in a step, in the first update and in validation, and how much of it a run asks for."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_run
import torch
from safetensors.torch import load_file
from tiny import assert_same, make_model
from torch import nn
from training import limited_run
from training.automation_runs import decisions, lines, trainer_of

from traiNNer.archs import NetworkFacts, build_network
from traiNNer.build.auto_batch import fit
from traiNNer.control import Controls
from traiNNer.inference.network import EvalNetwork
from traiNNer.inference.tiles import Tiles
from traiNNer.models.out_of_memory import unless_out_of_memory
from traiNNer.optim.optimizers import build_optimizer
from traiNNer.runtime.memory import HostMemory, MemoryTooSmallError, keep_freed_memory
from traiNNer.runtime.memory import _glibc as memory_functions
from traiNNer.runtime.signals import StopSignal

# --- what is out of memory ---------------------------------------------------------------------------------


def test_the_allocators_say_that_memory_is_out_and_nothing_else_does():
    def failing(error):
        def work():
            raise error

        return work

    assert unless_out_of_memory(lambda: torch.empty(1 << 60, dtype=torch.uint8)) is None
    on_windows = "DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."
    for error in (torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(on_windows)):
        assert unless_out_of_memory(failing(error)) is None
    for error in (
        RuntimeError("could not create a primitive"),
        RuntimeError("the memory format is not supported"),
        MemoryError("not enough memory: you tried to allocate 8 bytes"),
    ):
        with pytest.raises(type(error), match=str(error)):
            unless_out_of_memory(failing(error))


# --- how much there is and how much is used ----------------------------------------------------------------


def system(root, membership, limits):
    """The files that say what the cgroups of a process allow."""
    for path, text in {"proc/self/cgroup": membership, **limits}.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    status = root / "proc/self/status"
    status.write_text("VmSize:\t 9000 kB\nVmHWM:\t 600 kB\nVmRSS:\t 300 kB\n")
    return root


@pytest.mark.parametrize(
    ("membership", "limits", "limit"),
    [
        ("0::/app/run\n", {"app/run/memory.max": "max", "app/memory.max": "1024000"}, 1024000),
        ("0::/app/run\n", {"app/run/memory.max": "512000", "app/memory.max": "1024000"}, 512000),
        ("0::/not/visible/here\n", {"memory.max": "2048000"}, 2048000),
        (
            "5:devices:/x\n4:memory:/docker/abc\n",
            {"memory/docker/abc/memory.limit_in_bytes": "768000", "devices/x/memory.limit_in_bytes": "1"},
            768000,
        ),
        ("4:cpu,memory:/docker/abc\n", {"memory/memory.limit_in_bytes": "4096000"}, 4096000),
        ("0::/x\n", {"unified/x/memory.max": "1024000"}, 1024000),
    ],
)
def test_the_limit_is_the_smallest_of_the_cgroups_around_the_process(tmp_path, membership, limits, limit):
    root = system(tmp_path, membership, {f"sys/fs/cgroup/{path}": text for path, text in limits.items()})
    assert HostMemory(root).peak() == pytest.approx(600 * 1024 / limit)


def test_without_a_cgroup_the_limit_is_the_memory_of_the_machine(tmp_path):
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert HostMemory(system(tmp_path, "0::/\n", {})).peak() == pytest.approx(600 * 1024 / machine)


def test_the_peak_is_what_was_in_use_between_two_readings():
    memory = HostMemory()
    if not memory._can_lower:
        pytest.skip("this system does not let a process lower its high-water mark")
    share = 256 * 2**20 / memory._limit
    before = memory.peak()
    np.ones(256 * 2**20, np.uint8)
    assert memory.peak() - before > 0.9 * share
    assert memory.peak() - before < 0.1 * share


def test_freed_memory_is_kept_for_the_next_step_and_given_back_when_the_work_changes():
    if memory_functions() is None:
        pytest.skip("the C library has no functions for it")
    keep_freed_memory()

    def step():
        kept = [torch.ones(5 * 2**20) for _ in range(8)]  # 20 MiB each
        kept.clear()

    for _ in range(3):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 2000  # pages; all of them are 40960
    memory = HostMemory()
    kept = memory.peak()
    memory.restart()
    assert kept - memory.peak() > 0.9 * 160 * 2**20 / memory._limit


# --- a real limit ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_a_run_under_a_limit_ends_with_the_weights_of_one_that_began_with_the_smaller_micro_batch(tmp_path):
    tests = small_run.ROOT / "tests"
    path = f"{tests}{os.pathsep}{small_run.ROOT}"
    printed = subprocess.run(
        [sys.executable, str(tests / "training/limited_run.py"), str(tmp_path / "limited"), "160", "16"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert printed.returncode == 0, printed.stderr
    limited_run.main(tmp_path / "free", room=0, micro_batch=8)
    limited, free = (torch.load(tmp_path / name / "end.pt") for name in ("limited", "free"))
    assert (limited["status"], limited["step"], limited["micro_batch"]) == ("completed", 5, 8)
    assert_same(free["model"], limited["model"])
    (decision,) = decisions(tmp_path / "limited")
    assert (decision["iter"], decision["old"], decision["new"]) == (0, 16, 8)
    (window,) = [e for e in lines(tmp_path / "limited", "events") if e["kind"] == "WindowEvent"]
    assert 0.9 < window["memory_peak"] < 1.0  # torch alone maps most of what the limit leaves


# --- the first update --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["AdamW", "SGD", "NAdam"])
def test_a_first_update_without_memory_for_its_state_is_repeated_smaller(tmp_path, name):
    class Counting(nn.Module):
        """Moves a buffer in every forward, which a step given up must put back."""

        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2)).double()
            self.register_buffer("seen", torch.zeros((), dtype=torch.float64))

        def forward(self, x):
            self.seen += len(x)
            return self.net(x)

    def run(root, micro_batch, failures):
        net = Counting()
        settings = {"momentum": 0.9} if name == "SGD" else {}
        optimizer = build_optimizer({"type": name, "lr": 1e-2, **settings}, net.parameters())
        step = optimizer.step

        def failing_step():
            nonlocal failures
            if failures:
                failures -= 1
                first = next(net.parameters())
                optimizer.state[first]["step"] = torch.ones(())  # half of the state was made
                first.detach().mul_(2)
                raise torch.OutOfMemoryError("pretend")
            return step()

        optimizer.step = failing_step
        model = make_model(net, optimizer=optimizer, window=5)
        trainer = trainer_of(
            root, model=model, controls=Controls(batch=4, micro_batch=micro_batch, lq_size=8), steps=10
        )
        trainer.fit(StopSignal())
        return trainer

    failed, smaller = run(tmp_path / "a", 4, 2), run(tmp_path / "b", 1, 0)
    assert (failed.progress.step, failed.controls.micro_batch) == (10, 1)
    assert_same(smaller.state_dict()["model"], failed.state_dict()["model"])


# --- validation --------------------------------------------------------------------------------------------


class Cramped(nn.Module):
    """A network that cannot take more than so many pixels at a time."""

    def __init__(self, net, most):
        super().__init__()
        self.net, self.most = net, most

    def forward(self, x):
        if x.shape[-2] * x.shape[-1] > self.most:
            raise torch.OutOfMemoryError("pretend")
        return self.net(x)


@pytest.fixture
def upscaler():
    """Of two convolutions; `most` limits the pixels that it can take."""
    net = build_network({"type": "compact", "scale": 2, "num_feat": 4, "num_conv": 1})
    nn.init.normal_(net.body[-1].weight)
    return lambda most: EvalNetwork(Cramped(net, most), net.facts)


def test_images_that_do_not_fit_are_taken_in_halved_tiles_with_the_same_result(upscaler, caplog):
    lq = torch.rand(1, 3, 61, 45)
    whole = Tiles(0, 32).upscale(upscaler(61 * 45), lq)
    assert not caplog.records
    tiles = Tiles(0, 32)
    torch.testing.assert_close(tiles.upscale(upscaler(40 * 40), lq), whole, rtol=0, atol=1e-6)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "tiles of 30 with an overlap of 3 LQ pixels (the result is the same)" in record.getMessage()
    tiles.upscale(upscaler(40 * 40), lq)  # what did not fit once is not tried again
    assert len(caplog.records) == 1
    tiles.upscale(upscaler(25 * 25), lq)
    assert "tiles of 15 with" in caplog.records[1].getMessage()


def test_an_unknown_reach_is_said_and_the_overlap_of_the_options_is_used(upscaler, caplog):
    model = upscaler(40 * 40)
    model = EvalNetwork(model.net, NetworkFacts("generator", scale=2, tile_margin=None, multiple_of=4))
    Tiles(0, 3).upscale(model, torch.rand(1, 3, 61, 45))
    assert "tiles of 28 with an overlap of 4 LQ pixels (scores differ" in caplog.records[0].getMessage()


def test_when_no_tile_fits_the_error_says_so(upscaler):
    with pytest.raises(MemoryTooSmallError, match="out of memory with tiles of"):
        Tiles(0, 32).upscale(upscaler(9), torch.rand(1, 3, 61, 45))


def test_a_run_goes_on_when_its_validation_does_not_fit(tmp_path, caplog):
    def run(root, most):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2)).double()
        trainer = trainer_of(root, model=make_model(Cramped(net, most), window=5), steps=20)
        trainer.model.networks.facts = NetworkFacts("generator", scale=2, tile_margin=1)
        return trainer.fit(StopSignal()).status, [
            record["metrics"]["psnr"] for record in lines(root, "metrics") if record["kind"] == "val"
        ]

    status, scores = run(tmp_path / "whole", 20 * 20)
    cramped_status, cramped = run(tmp_path / "tiles", 13 * 13)
    assert status == cramped_status == "completed"
    assert len(cramped) == 2 and cramped == pytest.approx(scores, abs=1e-9)
    assert [r.levelname for r in caplog.records if "in tiles of" in r.message] == ["WARNING"]


# --- the automatic batch -----------------------------------------------------------------------------------


@pytest.mark.parametrize("per_sample", [0.3, 0.11, 0.03, 0.013, 0.0001])
@pytest.mark.parametrize("most", [1, 3, 16, 64])
def test_the_batch_is_the_largest_that_fits_and_was_tried(per_sample, most):
    def share(size):
        return 0.2 + per_sample * size

    choice = fit(lambda size: share(size) if share(size) < 1 else None, limit=0.8, most=most)
    step = 4 if choice.batch >= 4 else 1
    assert choice.batch <= most and share(choice.batch) <= 0.8 + 1e-9
    assert choice.batch + step > most or share(choice.batch + step) > 0.8
    assert choice.peaks[choice.batch] == share(choice.batch)


def test_a_batch_that_takes_more_than_the_line_said_is_reduced():
    bent = lambda size: 0.1 + 0.01 * size + (0.02 * (size - 4) if size > 4 else 0.0)  # noqa: E731
    choice = fit(bent, limit=0.8, most=64)
    assert choice.batch > 4 and bent(choice.batch) <= 0.8 < choice.peaks[64]
    failing = fit(lambda size: None if size > 40 else 0.001 * size, limit=0.8, most=64)
    assert failing.batch == 32
    failing = fit(lambda size: None if size > 10 else 0.001 * size, limit=0.8, most=64)
    assert failing.batch == 8 and failing.peaks.keys() == {2, 4, 8}
    assert fit(lambda size: None if size > 2 else 0.1 * size, limit=0.8, most=64).batch == 2


def automatic(folder, **automation):
    options = small_run.options(folder)
    del options["datasets"]["train"]["batch_size_per_gpu"]
    options["train"]["total_iter"] = 3
    options["val"] = {"val_enabled": False}
    options["train"]["training_automations"] = {
        "enabled": True,
        "DynamicBatchSizeOptimizer": {"enabled": True, **automation},
    }
    return small_run.write_options(folder, options)


def test_an_automatic_batch_is_found_by_measuring_and_kept_when_resuming(tmp_path):
    small_run.write_data(tmp_path)
    root = tmp_path / "experiments/small"
    assert small_run.train(automatic(tmp_path, max_batch_size=6)).returncode == 0
    log = (root / "train_small.log").read_text()
    (line,) = [line for line in log.splitlines() if "batch_size_per_gpu: auto" in line]
    assert "auto: 4, the most that keeps below 80% of the memory, up to 6" in line
    assert "INFO" in line and "2 took" in line and "4 took" in line
    assert json.loads((root / "summary.json").read_text())["samples"] == 3 * 4
    file = automatic(tmp_path, max_batch_size=16)
    assert small_run.train(file, "--auto_resume", "train.total_iter=5").returncode == 0
    assert "batch_size_per_gpu: auto: 4, as when the run began" in (root / "train_small.log").read_text()
    assert json.loads((root / "summary.json").read_text())["samples"] == 5 * 4


def test_the_probe_leaves_no_trace_in_the_run(tmp_path):
    small_run.write_data(tmp_path)
    weights = []
    for batch in ("auto", 4):
        file = automatic(tmp_path, max_batch_size=6)
        name = f"name=of_{batch}"
        arguments = (name, f"datasets.train.batch_size_per_gpu={batch}")
        assert small_run.train(file, *arguments).returncode == 0
        state = tmp_path / f"experiments/of_{batch}/models/net_g_3.safetensors"
        weights.append(load_file(state))
    assert_same(*weights)
