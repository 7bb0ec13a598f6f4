"""One training of an experiment: what is set, how it runs, what is kept of it.

A run is built from options like any other, with real data, losses, automations and the real loop. Only a fault
is put in: batches whose inputs are thirty times too bright.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from automation_experiments.photographs import SCALE, Photographs
from traiNNer.data.loader import Batch, TrainLoader
from traiNNer.data.sources import PairedImageDataset
from traiNNer.engine.build import Parts, build_parts
from traiNNer.engine.check import check_parts
from traiNNer.engine.checkpoint import Checkpointer
from traiNNer.engine.derive import derive
from traiNNer.engine.distributed import Processes
from traiNNer.engine.health import Health
from traiNNer.engine.memory import HostMemory
from traiNNer.engine.prepare_data import open_sets
from traiNNer.engine.recorder import Recorder
from traiNNer.engine.session import run_folder
from traiNNer.engine.signals import StopSignal
from traiNNer.engine.trainer import Trainer
from traiNNer.losses import LossInputs
from traiNNer.options import Options, load_options

LEARNING_RATE = "IntelligentLearningRateScheduler"
CLIPPING = "AdaptiveGradientClipping"
STOPPING = "IntelligentEarlyStopping"
LOSSES = "DynamicLossScheduling"
RULES = {LEARNING_RATE: 1, CLIPPING: 1, STOPPING: 1, LOSSES: 1, "DynamicBatchSizeOptimizer": 1}
"""Versions of the rules: a higher number makes the runs with that automation run again."""
BASE = 1
"""Version of everything else in a run."""

CORRUPTED = 0.02  # share of the batches
BRIGHTER = 30.0

Spec = Mapping[str, Any]


@dataclass(frozen=True)
class Setting:
    """What distinguishes one run from another."""

    seed: int
    lr: float
    steps: int = 1000
    batch: int = 8
    micro_batch: int = 8
    schedule: Spec = field(default_factory=lambda: {"type": "CosineAnnealingLR"})
    losses: tuple[Spec, ...] = ({"type": "L1Loss"},)
    units: float = 1.0
    """What the second loss is multiplied by, as if it were written in other units."""
    clip: float | None = None
    """Threshold of ordinary clipping."""
    fault: Literal["none", "corrupted batches"] = "none"
    automations: Mapping[str, Spec] = field(default_factory=dict)
    """By class name, with the options that are not left to them."""
    validations: int = 10
    keep_images: bool = False
    """Keep the scores of every image of every validation."""

    @property
    def key(self) -> str:
        """The same for the same run under the same rules."""
        rules = {name: RULES[name] for name in self.automations}
        return json.dumps({**asdict(self), "rules": rules, "base": BASE}, sort_keys=True)

    def with_seed(self, seed: int) -> Setting:
        """The same run with other data order and weights to begin with."""
        return replace(self, seed=seed)


class Laboratory:
    """Runs settings on photographs that are opened once.

    Args:
        photographs: Training and validation folders.
    """

    def __init__(self, photographs: Photographs) -> None:
        self._photographs = photographs
        self._sets: tuple[PairedImageDataset, dict[str, PairedImageDataset]] | None = None

    def run(self, setting: Setting) -> dict[str, Any]:
        """What is kept of a run.

        Raises:
            KeyboardInterrupt: If it was interrupted.
        """
        began = time.process_time()
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            options = self._options(setting, root)
            self._sets = self._sets or open_sets(options, Processes())
            parts = build_parts(options, Processes(), torch.device("cpu"), *self._sets)
            if setting.fault == "corrupted batches":
                parts = replace(parts, loader=cast(TrainLoader, CorruptedBatches(parts.loader, setting.seed)))
            if setting.units != 1.0:
                label = list(parts.model.losses)[1]
                loss = parts.model.losses[label]
                parts.model.losses[label] = loss._replace(module=_OtherUnits(loss.module, setting.units))
            trainer = _trainer(options, parts)
            priors = {net: clip.threshold for net, clip in parts.controls.clip.items()}
            with StopSignal() as stop:
                if trainer.fit(stop).status == "interrupted":
                    raise KeyboardInterrupt
            result = _summary(setting, root / "run", priors.get("g", math.inf))
        return {**result, "seconds": round(time.process_time() - began, 1)}

    def _options(self, setting: Setting, root: Path) -> Options:
        file = root / "run.yml"
        file.write_text(json.dumps(configuration(setting, self._photographs, root)))  # JSON is YAML
        options = load_options(file, check=check_parts)
        return options.with_derived(derive(options, torch.device("cpu"), 1))


def configuration(setting: Setting, photographs: Photographs, root: Path) -> dict[str, Any]:
    """The options of a run, as a user would write them."""
    automations = {name: {"enabled": True, **spec} for name, spec in setting.automations.items()}
    scheduling = automations.pop(LOSSES, None)
    folders = {
        name: {"dataroot_gt": str(path / "HR"), "dataroot_lq": str(path / "LRx2"), "cache": "ram"}
        for name, path in photographs._asdict().items()
    }
    return {
        "name": "run",
        "scale": SCALE,
        "num_gpu": 0,
        "manual_seed": setting.seed,
        "path": {"experiments_root": str(root)},
        "datasets": {
            "train": {
                **folders["train"],
                "lq_size": 16,
                "batch_size_per_gpu": setting.micro_batch,
                "accum_iter": setting.batch // setting.micro_batch,
                "num_worker_per_gpu": 0,
            },
            "val": folders["val"],
        },
        "network_g": {"type": "compact", "num_feat": 16, "num_conv": 2},
        "train": {
            "total_iter": setting.steps,
            "optim_g": {"type": "AdamW", "lr": setting.lr, "weight_decay": 0},
            "scheduler": dict(setting.schedule),
            "warmup_iter": setting.steps // 50,
            "ema_decay": 0.99,
            "losses": [dict(loss) for loss in setting.losses],
            **({"grad_clip": True, "grad_clip_max_norm": setting.clip} if setting.clip else {}),
            **({"training_automations": {"enabled": True, **automations}} if automations else {}),
            **({"dynamic_loss_scheduling": scheduling} if scheduling else {}),
        },
        "val": {"val_freq": setting.steps // setting.validations, "metrics": {"psnr": {"type": "psnr"}}},
        "logger": {"save_checkpoint_freq": setting.steps, "use_tb_logger": False},
    }


class CorruptedBatches:
    """A loader some of whose batches are corrupted: which ones, the position alone decides."""

    def __init__(self, loader: TrainLoader, seed: int) -> None:
        self._loader, self._seed = loader, seed

    def batches(self, position: int, batch: int, lq_size: int) -> Iterator[Batch]:
        """As of the loader within."""
        for pixels in self._loader.batches(position, batch, lq_size):
            yield (
                pixels._replace(lq=pixels.lq.float() * BRIGHTER)
                if corrupted(position, self._seed)
                else pixels
            )
            position += batch


class _OtherUnits(nn.Module):
    """A loss times a constant."""

    def __init__(self, loss: nn.Module, units: float) -> None:
        super().__init__()
        self._loss, self._units = loss, units

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar."""
        return self._units * self._loss(inputs)


def corrupted(position: int, seed: int) -> bool:
    """Whether the batch that begins at a position is."""
    return bool(np.random.default_rng((seed, position)).random() < CORRUPTED)


def _trainer(options: Options, parts: Parts) -> Trainer:
    folder = run_folder(options)
    steps = parts.plan.total_iter
    recorder = Recorder(
        folder,
        total_iter=steps,
        print_freq=steps,
        save_images=False,
        health=Health(parts.facts, parts.model.losses, parts.supervisor, print_freq=steps),
        dashboard=None,
        console=None,
    )
    return Trainer(
        parts.model,
        parts.loader,
        parts.controls,
        parts.plan,
        schedule=parts.schedule,
        plateau=parts.plateau,
        supervisor=parts.supervisor,
        processes=Processes(),
        memory=HostMemory(),
        validator=parts.validator,
        recorder=recorder,
        checkpointer=Checkpointer(folder, keep_states=1, keep_models=1),
        facts=parts.facts,
        best_weights=folder.models / "net_g_best.safetensors",
        metadata=parts.metadata,
    )


# --- what is kept ------------------------------------------------------------------------------------------


def _summary(setting: Setting, root: Path, prior: float) -> dict[str, Any]:
    events = _lines(root / "events.jsonl")
    decisions = _lines(root / "decisions.jsonl")
    windows = [event for event in events if event["kind"] == "WindowEvent"]
    validations = [event for event in events if event["kind"] == "ValidationEvent"]
    images = [(event["iter"], event["sets"]["val"]["metrics"]["psnr"]) for event in validations]
    means = [float(np.mean([float(value) for value in scores])) for _, scores in images]
    kept: dict[str, Any] = {
        "psnr": _rounded(means[-1]),
        "best": _rounded(max((mean for mean in means if math.isfinite(mean)), default=math.nan)),
        "steps": windows[-1]["iter"],
        "decisions": [
            [d["iter"], d["automation"], d["parameter"], d["old"], d["new"], d["reason"].split(" (")[0]]
            for d in decisions
            if d["applied"] and d["automation"] != LOSSES
        ],
        "bicubic": _rounded(float(np.mean(validations[-1]["sets"]["val"]["baseline"]["psnr"]))),
    }
    if setting.clip or CLIPPING in setting.automations:
        kept["clipped"] = _clipped(setting, windows, decisions, prior)
    if len(setting.losses) > 1:
        kept["shares"] = _shares(setting, windows, decisions)
    if setting.keep_images:
        kept["curve"] = [[step, [_rounded(float(value)) for value in scores]] for step, scores in images]
        kept["losses"] = [[event["iter"], event["position"], event["total"]] for event in windows]
    return kept


def _clipped(
    setting: Setting, windows: Sequence[Spec], decisions: Sequence[Spec], threshold: float
) -> dict[str, int]:
    """Steps whose gradient was limited or skipped, corrupted ones and healthy ones, and how many there were."""
    changes = [(d["iter"], float(d["new"])) for d in decisions if d["parameter"] == "grad_clip_threshold"]
    counts = {"corrupted": 0, "healthy": 0, "corrupted_clipped": 0, "healthy_clipped": 0}
    for window in windows:
        norms = window["grad_norm"]["g"]
        first = window["iter"] - len(norms)
        for index, norm in enumerate(norms):
            bad = setting.fault != "none" and corrupted((first + index) * setting.batch, setting.seed)
            kind = "corrupted" if bad else "healthy"
            counts[kind] += 1
            counts[f"{kind}_clipped"] += not float(norm) <= threshold
        while changes and changes[0][0] <= window["iter"]:
            threshold = changes.pop(0)[1]
    return counts


def _shares(setting: Setting, windows: Sequence[Spec], decisions: Sequence[Spec]) -> list[list[float]]:
    """[step, gradient of the second loss at the output over that of the first], as measured, weighted."""
    weight, factor = float(setting.losses[1].get("loss_weight", 1.0)), 1.0
    changes = [(d["iter"], float(d["new"])) for d in decisions if d["automation"] == LOSSES and d["applied"]]
    found: list[list[float]] = []
    for window in windows:
        lengths = [float(length) for length in window["gradient_at_output"].values()]
        if len(lengths) > 1 and list(window["gradient_at_output"])[1] in window["losses"]:
            share = weight * factor * lengths[1] / lengths[0]
            if not found or found[-1][1] != share:
                found.append([window["iter"], float(f"{share:.4g}")])
        while changes and changes[0][0] <= window["iter"]:
            factor = changes.pop(0)[1]
    return found


def _rounded(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
