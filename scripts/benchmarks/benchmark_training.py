"""Times the training loop against the bare work of a network, in one process and in turns.

    python scripts/benchmarks/benchmark_training.py --network paragonsr2_realtime --batch 16 --lq-size 48

Three loops take turns, a window of ten steps each: (a) bare: forward, loss, backward and update on one batch that
stays in memory; (b) real: the trainer with its data, EMA, records and clipping; (c) the trainer with
all automations. What is reported are medians over the rounds of ratios within a round, so that a machine that is
slower for a while does not matter. Ratios by the clock of this process's CPU leave out other programs, and the
processes that read images; loader_ms_per_sample is their CPU time.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from operation_counts import operations_and_reads
from startup_time import startup_seconds

from traiNNer.build.check import check_parts
from traiNNer.build.data import open_sets
from traiNNer.build.defaults import derive
from traiNNer.build.model import WINDOW
from traiNNer.build.outputs import run_folder
from traiNNer.build.run import build_parts
from traiNNer.data.loader import Batch, TrainLoader
from traiNNer.data.synthetic import make_demo_data
from traiNNer.data.training_set import TrainingSet
from traiNNer.losses import LossInputs
from traiNNer.options import Options, load_options
from traiNNer.runtime.device import choose_device, configure_torch
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.runtime.memory import memory_source
from traiNNer.training.open_run import OutputSettings, open_run
from traiNNer.training.parts import Parts
from traiNNer.training.trainer import Trainer

ALL = {
    "training_automations": {
        "enabled": True,
        **dict.fromkeys(
            (
                "DynamicBatchSizeOptimizer",
                "AdaptiveGradientClipping",
                "IntelligentEarlyStopping",
            ),
            {"enabled": True},
        ),
        # no higher rate is allowed, so that none is tried before the first step
        "IntelligentLearningRateScheduler": {"enabled": True, "max_lr_factor": 1.0},
    },
    "dynamic_loss_scheduling": {"enabled": True},
}


class Seconds(NamedTuple):
    """How long a window of steps took."""

    wall: float
    cpu: float


class Loop(NamedTuple):
    """Something that can be timed, one step a call."""

    name: str
    step: Callable[[], None]


# --- the loops ---------------------------------------------------------------------------------------------


def configuration(arguments: argparse.Namespace, folder: Path, name: str, **train: Any) -> Path:
    """The file of a run, as a user would write it; `train` goes into its section."""
    gt, lq = arguments.gt, arguments.lq
    if gt is None:
        if not (folder / "demo").exists():
            make_demo_data(folder / "demo", scales=(arguments.scale,), sets={"train": (16, 320)})
        gt, lq = folder / "demo/train/HR", folder / f"demo/train/LRx{arguments.scale}"
    file = folder / f"{name}.yml"
    tree = {
        "name": name,
        "scale": arguments.scale,
        "num_gpu": 0 if arguments.device == "cpu" else 1,
        "manual_seed": 0,
        "use_amp": arguments.bf16,
        "amp_bf16": True,
        "use_compile": arguments.compile,
        "path": {"experiments_root": str(folder / "experiments")},
        "datasets": {
            "train": {
                "dataroot_gt": str(gt),
                "dataroot_lq": str(lq),
                "lq_size": arguments.lq_size,
                "batch_size_per_gpu": arguments.batch,
                "num_worker_per_gpu": arguments.workers,
            },
            "val": {
                "dataroot_gt": str(gt),
                "dataroot_lq": str(lq),
            },  # early stopping wants one; it is not run
        },
        "network_g": {"type": arguments.network, **arguments.network_options},
        "train": {
            "total_iter": 1_000_000,
            "optim_g": {"type": "AdamW", "lr": 1e-4},
            "ema_decay": 0.999,
            "grad_clip": True,
            "losses": [{"type": "L1Loss"}],
            **train,
        },
        "logger": {"use_tb_logger": False},
    }
    file.write_text(json.dumps(tree), encoding="utf-8")  # JSON is YAML
    return file


def build(file: Path) -> tuple[Options, Parts, TrainingSet]:
    """The parts of a run."""
    options = load_options(file, check=check_parts)
    device = choose_device(options.num_gpu, 0)
    options = options.with_derived(derive(options, device, 1))
    configure_torch(device, deterministic=False, fast_matmul=options.fast_matmul, detect_anomaly=False)
    train_set, val_sets = open_sets(options, DistributedContext())
    return options, build_parts(options, DistributedContext(), device, train_set, val_sets), train_set


def bare(parts: Parts, batch: Batch, *, compiled: bool = False) -> Callable[[], None]:
    """Forward, losses, backward and update: what no trainer can do without."""
    work = forward_and_backward(parts, batch, compiled=compiled)
    optimizer = parts.model.generator.optimizer

    def step() -> None:
        work()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def forward_and_backward(parts: Parts, batch: Batch, *, compiled: bool = False) -> Callable[[], None]:
    """The same without the update, on images that are on the device already."""
    model, numbers = parts.model, parts.model.precision
    lq, gt = numbers.images(batch.lq), numbers.images(batch.gt)
    network = torch.compile(model.generator.net) if compiled else model.generator.net

    def work() -> None:
        with numbers.autocast():
            output = network(lq)
        inputs = LossInputs(output.to(numbers.dtype), gt, lq)
        total = torch.stack([loss.module(inputs) for loss in model.losses.values()]).sum()
        model.generator.discard_gradient()
        total.backward()

    return work


def real(options: Options, parts: Parts) -> Trainer:
    """The trainer as `train.py` makes it, without saving."""
    settings = OutputSettings(print_freq=options.logger.print_freq)
    trainer = open_run(parts, run_folder(options), settings)
    trainer.begin()
    return trainer


# --- timing ------------------------------------------------------------------------------------------------


def time_in_turns(loops: list[Loop], rounds: int, device: torch.device) -> dict[str, list[Seconds]]:
    """Windows of steps of every loop, in an order that is reversed from round to round."""
    seconds: dict[str, list[Seconds]] = {loop.name: [] for loop in loops}
    for number in range(rounds):
        for loop in loops if number % 2 == 0 else reversed(loops):
            _wait(device)
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(WINDOW):
                loop.step()
            _wait(device)
            seconds[loop.name].append(Seconds(time.perf_counter() - wall, time.process_time() - cpu))
    return seconds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ratio(over: list[Seconds], under: list[Seconds], clock: str) -> float:
    """Median over the rounds of the ratio of two loops."""
    pairs = zip(over, under, strict=True)
    return statistics.median(getattr(a, clock) / getattr(b, clock) for a, b in pairs)


def loader_ms_per_sample(images: TrainingSet, batch: int, lq_size: int, batches: int = 20) -> float:
    """CPU milliseconds for one sample, once every image has been decoded."""
    found = TrainLoader(images, 0).batches(0, batch, lq_size)
    for _ in range(-(-len(images) // batch)):
        next(found)
    began = time.process_time()
    for _ in range(batches):
        next(found)
    return 1e3 * (time.process_time() - began) / (batches * batch)


# --- the report --------------------------------------------------------------------------------------------


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures, by name."""
    torch.set_num_threads(arguments.threads)
    plain = configuration(arguments, folder, "plain")
    runs = {"real": build(plain), "all": build(configuration(arguments, folder, "all", **ALL))}
    _, parts, images = build(plain)
    device = parts.model.precision.device
    batch = next(TrainLoader(images, 0).batches(0, arguments.batch, arguments.lq_size))
    trainers = {name: real(options, parts) for name, (options, parts, _) in runs.items()}
    loops = [
        Loop("bare", bare(parts, batch, compiled=arguments.compile)),
        *(Loop(name, t.advance) for name, t in trainers.items()),
    ]
    time_in_turns(loops, 2, device)
    seconds = time_in_turns(loops, arguments.rounds, device)
    counts = {loop.name: operations_and_reads(loop.step, WINDOW) for loop in loops}
    work, _ = operations_and_reads(forward_and_backward(parts, batch), WINDOW)
    windows = {name: statistics.median(s.wall for s in found) for name, found in seconds.items()}
    return {
        "network": arguments.network,
        "batch": arguments.batch,
        "lq_size": arguments.lq_size,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "workers": arguments.workers,
        "ratio_to_bare_loop": ratio(seconds["bare"], seconds["real"], "wall"),
        "ratio_to_bare_loop_cpu": ratio(seconds["bare"], seconds["real"], "cpu"),
        "automation_overhead": ratio(seconds["all"], seconds["real"], "cpu") - 1,
        "automation_overhead_wall": ratio(seconds["all"], seconds["real"], "wall") - 1,
        "samples_per_second": {n: WINDOW * arguments.batch / s for n, s in windows.items()},
        "cpu_ms_per_step": {
            name: 1e3 * statistics.median(s.cpu for s in found) / WINDOW for name, found in seconds.items()
        },
        "operations_per_step": {"forward_loss_backward": work, **{n: c[0] for n, c in counts.items()}},
        "reads_per_step": {name: count[1] for name, count in counts.items()},
        "loader_ms_per_sample": loader_ms_per_sample(images, arguments.batch, arguments.lq_size),
        "startup_seconds": startup_seconds(plain),
        "peak_memory": _peak_memory(parts, batch),
    }


def _peak_memory(parts: Parts, batch: Batch) -> int:
    """Bytes: on a GPU what a step takes, elsewhere the resident set of this process with its three networks."""
    device = parts.model.precision.device
    memory_source(device).restart()
    parts.model.optimize_parameters(batch, 1, parts.controls)
    parts.model.read_metrics()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _arguments() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--network", default="paragonsr2_realtime")
    parser.add_argument("--network-options", type=json.loads, default={}, help="such as '{\"num_feat\": 32}'")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lq-size", type=int, default=48, help="side of the input, in pixels")
    parser.add_argument("--gt", type=Path, help="folder of high-resolution images (default: drawn ones)")
    parser.add_argument("--lq", type=Path, help="folder of low-resolution images")
    parser.add_argument("--workers", type=int, default=1, help="processes that read images")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 inside the network")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=20, help="of ten steps of each loop")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args()


def main() -> None:
    """Measures and prints."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as name:
        report = measure(arguments, Path(name))
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
