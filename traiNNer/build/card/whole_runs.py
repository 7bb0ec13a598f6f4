"""What the training loop, the data workers, the validation and the automations of a real run take."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import torch

from traiNNer.build.card.settings import Report, Settings
from traiNNer.build.card.steps import synchronize, time_calls
from traiNNer.build.check import check_parts
from traiNNer.build.data import open_sets
from traiNNer.build.defaults import derive
from traiNNer.build.outputs import run_folder
from traiNNer.build.run import build_parts
from traiNNer.build.worker_count import usual_workers
from traiNNer.data.loader import Batch, TrainLoader
from traiNNer.data.synthetic import make_demo_data
from traiNNer.data.training_set import TrainingSet
from traiNNer.inference.network import EvalNetwork
from traiNNer.losses import LossInputs
from traiNNer.options import Options, load_options
from traiNNer.runtime.cpus import usable_cpus
from traiNNer.runtime.device import choose_device, configure_torch
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.training.open_run import OutputSettings, open_run
from traiNNer.training.parts import Parts
from traiNNer.training.trainer import Trainer

_AUTOMATIONS: dict[str, Any] = {
    "training_automations": {
        "enabled": True,
        # no higher rate is allowed, so that none is tried before the first step
        "IntelligentLearningRateScheduler": {"enabled": True, "max_lr_factor": 1.0},
        "DynamicBatchSizeOptimizer": {"enabled": True, "monitor_only": True},  # or the batch would change
        "AdaptiveGradientClipping": {"enabled": True},
        "IntelligentEarlyStopping": {"enabled": True},
    },
    "dynamic_loss_scheduling": {"enabled": True},
}
_WINDOWS = 2  # of steps, that each loop takes in a turn
_TURNS = 5


class _Run(NamedTuple):
    """The parts of a run, before it has a trainer."""

    options: Options
    parts: Parts
    images: TrainingSet


@contextmanager
def _data(settings: Settings) -> Iterator[Path]:
    """A folder with synthetic images, in which a run may write."""
    with tempfile.TemporaryDirectory(prefix="check_card_") as folder:
        make_demo_data(Path(folder) / "demo", scales=(settings.scale,), sets=settings.images)
        yield Path(folder)


def _build(settings: Settings, folder: Path, network: str, workers: int, **train: Any) -> _Run:
    demo, scale = folder / "demo", settings.scale
    tree = {
        "name": f"{network}_{workers}_{len(train)}",
        "scale": scale,
        "num_gpu": int(settings.device == "cuda"),
        "use_amp": True,
        "amp_bf16": True,
        "fast_matmul": True,
        "path": {"experiments_root": str(folder / "experiments")},
        "datasets": {
            "train": {
                "dataroot_gt": str(demo / "train/HR"),
                "dataroot_lq": str(demo / f"train/LRx{scale}"),
                "lq_size": settings.lq_size,
                "batch_size_per_gpu": settings.batch,
                "num_worker_per_gpu": workers,
            },
            "val": {"dataroot_gt": str(demo / "val/HR"), "dataroot_lq": str(demo / f"val/LRx{scale}")},
        },
        "network_g": {key: value for key, value in settings.networks[network].items() if key != "scale"},
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
    file = folder / "run.yml"
    file.write_text(json.dumps(tree), encoding="utf-8")  # JSON is YAML
    options = load_options(file, check=check_parts)
    device = choose_device(options.num_gpu, 0)
    options = options.with_derived(derive(options, device, 1))
    configure_torch(
        device,
        deterministic=options.deterministic,
        fast_matmul=options.fast_matmul,
        detect_anomaly=options.detect_anomaly,
    )
    train_set, val_sets = open_sets(options, DistributedContext())
    parts = build_parts(options, DistributedContext(), device, train_set, val_sets)
    return _Run(options, parts, train_set)


def _trainer(run: _Run) -> Trainer:
    """As train.py makes it, without saving."""
    settings = OutputSettings(print_freq=run.options.logger.print_freq)
    trainer = open_run(run.parts, run_folder(run.options), settings)
    trainer.begin()
    return trainer


def _first_batch(settings: Settings, run: _Run) -> Batch:
    return next(TrainLoader(run.images, 0).batches(0, settings.batch, settings.lq_size))


def _bare(settings: Settings, run: _Run) -> Callable[[], None]:
    """Forward, losses, backward and update on one batch that stays on the device."""
    model, precision = run.parts.model, run.parts.model.precision
    batch = _first_batch(settings, run)
    lq, gt = precision.images(batch.lq), precision.images(batch.gt)
    net, optimizer = model.generator.net, model.generator.optimizer

    def step() -> None:
        with precision.autocast():
            output = net(lq)
        inputs = LossInputs(output.to(precision.dtype), gt, lq)
        torch.stack([loss.module(inputs) for loss in model.losses.values()]).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _workers(settings: Settings) -> int:
    """As many as `num_worker_per_gpu: auto` takes on a card."""
    return 1 if settings.tiny else usual_workers(torch.device("cuda"), 1)


def measure_loop(settings: Settings, report: Report, until: float) -> None:
    """Whole runs, without and with all automations, against the bare work of their networks, in turns."""
    with _data(settings) as folder:
        for network in settings.trained:
            if time.monotonic() > until:
                report({"network": network, "failed": "no time was left"})
                continue
            plain = _build(settings, folder, network, _workers(settings))
            automated = _build(settings, folder, network, _workers(settings), **_AUTOMATIONS)
            own = _build(settings, folder, network, 0)
            loops = {
                "bare": _bare(settings, own),
                "real": _trainer(plain).advance,
                "automations": _trainer(automated).advance,
            }
            found = _in_turns(settings, plain, loops, until)
            bare, real, all_on = (found[name] for name in loops)
            report(
                {
                    "network": network,
                    "batch": settings.batch,
                    "bare_ms": round(statistics.median(bare), 3),
                    "run_ms": round(statistics.median(real), 3),
                    "automations_ms": round(statistics.median(all_on), 3),
                    "share_of_bare_speed": _ratio(bare, real),
                    "cost_of_automations": round(_ratio(all_on, real) - 1, 4),
                }
            )


def _in_turns(
    settings: Settings, run: _Run, loops: dict[str, Callable[[], None]], until: float
) -> dict[str, list[float]]:
    """Milliseconds of a step in each turn, in an order that is reversed from turn to turn."""
    device, steps = run.parts.model.precision.device, _WINDOWS * run.parts.plan.window
    found: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(2 if settings.tiny else _TURNS + 1):
        if turn > 1 and time.monotonic() > until:
            break
        for name in list(loops) if turn % 2 == 0 else list(reversed(loops)):
            synchronize(device)
            began = time.perf_counter()
            for _ in range(steps):
                loops[name]()
            synchronize(device)
            if turn:  # the first one warms up
                found[name].append(1e3 * (time.perf_counter() - began) / steps)
    return found


def _ratio(over: list[float], under: list[float]) -> float:
    """Median over the turns of the ratio of two loops."""
    return round(statistics.median(a / b for a, b in zip(over, under, strict=True)), 4)


def measure_workers(settings: Settings, report: Report, until: float) -> None:
    """How much slower steps are with data workers than on one batch in memory, by the number of workers."""
    cores = usable_cpus()
    counts = (0, 1) if settings.tiny else tuple(n for n in (8, 4, 2, 1, 0, 12, 16) if n <= cores)
    with _data(settings) as folder:
        for network in settings.trained[:1]:
            run = _build(settings, folder, network, 0)
            device = run.parts.model.precision.device
            batch = _first_batch(settings, run)
            fixed = time_calls(_window(run, repeat(batch)), device, 2 * settings.seconds)
            for workers in counts:
                if time.monotonic() > until:
                    report({"network": network, "workers": workers, "failed": "no time was left"})
                    continue
                loader = TrainLoader(run.images, 0, num_workers=workers, pin_memory=device.type == "cuda")
                source = loader.batches(0, settings.batch, settings.lq_size)
                window = _window(run, source)
                for _ in range(1 if settings.tiny else 5):
                    window()
                taken = time_calls(window, device, 4 * settings.seconds)
                del source, loader
                report(
                    {
                        "network": network,
                        "workers": workers,
                        "batch": settings.batch,
                        "samples_per_second": round(1e4 * settings.batch / taken, 1),
                        "waiting": round(max(0.0, 1 - fixed / taken), 4),
                    }
                )


def _window(run: _Run, batches: Iterator[Batch]) -> Callable[[], None]:
    """Ten steps of the model and the reading of their numbers."""
    model, controls = run.parts.model, run.parts.controls

    def window() -> None:
        for step in range(10):
            model.optimize_parameters(next(batches), step + 1, controls)
        model.read_metrics()

    return window


def measure_validation(settings: Settings, report: Report, until: float) -> None:
    """Seconds for a megapixel of output, PSNR and SSIM included."""
    with _data(settings) as folder:
        for network in settings.trained:
            if time.monotonic() > until:
                report({"network": network, "failed": "no time was left"})
                continue
            run = _build(settings, folder, network, 0)
            validator, model = run.parts.validator, run.parts.model
            network_g = EvalNetwork(model.networks.eval_net, model.networks.facts)
            assert validator is not None
            validator.run(network_g, step=0, position=0, lr_exhausted=False)  # bicubic upscaling too, once
            began = time.perf_counter()
            validator.run(network_g, step=1, position=0, lr_exhausted=False)
            seconds = time.perf_counter() - began
            count, side = settings.images["val"]
            megapixels = count * side**2 / 1e6
            report(
                {
                    "network": network,
                    "images": count,
                    "side": side,
                    "seconds": round(seconds, 3),
                    "seconds_per_megapixel": round(seconds / megapixels, 4),
                }
            )
