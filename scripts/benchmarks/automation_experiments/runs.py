"""One training of an experiment: what is set, how it runs, what is kept of it.

A run is built from options like any other, with real data, losses, automations and the real loop. Only a fault
is put in: batches whose inputs are thirty times too bright.
"""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import torch
from torch import Tensor

from automation_experiments.faults import CorruptedBatches, OtherUnits
from automation_experiments.photographs import SCALE, Photographs
from automation_experiments.settings import LOSSES, Setting
from automation_experiments.summaries import summary
from traiNNer.automations.rate.rate_rise import LearningRateRise
from traiNNer.build.check import check_parts
from traiNNer.build.data import open_sets
from traiNNer.build.defaults import derive
from traiNNer.build.outputs import run_folder
from traiNNer.build.run import build_parts
from traiNNer.data.loader import TrainLoader
from traiNNer.data.single_dataset import MeasuredDataset
from traiNNer.data.training_set import TrainingSet
from traiNNer.optim.learner import NO_LIMIT
from traiNNer.optim.optimizers import STARTING_RATES
from traiNNer.options import Options, load_options
from traiNNer.registry import normalise
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.runtime.signals import StopSignal
from traiNNer.training.open_run import OutputSettings, open_run
from traiNNer.training.parts import Parts


class Laboratory:
    """Runs settings on photographs that are opened once.

    Args:
        photographs: Training and validation folders.
        alexnet: File with the weights of AlexNet, for perceptual losses; torchvision's download by default.
    """

    def __init__(self, photographs: Photographs, alexnet: Path | None = None) -> None:
        self._photographs, self._alexnet = photographs, alexnet
        self._sets: dict[str, tuple[TrainingSet, dict[str, MeasuredDataset]]] = {}

    def run(self, setting: Setting) -> dict[str, Any]:
        """What is kept of a run.

        Raises:
            KeyboardInterrupt: If it was interrupted.
        """
        began = time.process_time()
        with tempfile.TemporaryDirectory() as name:
            with _starting_rate(setting):
                options = self._options(setting, Path(name))
                parts = self._parts(setting, options)
            prior = parts.controls.clip.get("g", NO_LIMIT).threshold
            _train(options, parts, only_searched=setting.start > 0)
            result = summary(setting, Path(name) / "run", prior)
        return {**result, "seconds": round(time.process_time() - began, 1)}

    def weights(self, setting: Setting, fails: Callable[[int], bool]) -> Tensor:
        """All weights after a run, in a row.

        Args:
            setting: Of the run.
            fails: Whether memory runs out in a forward pass of training; they are counted from 0.
        """
        calls = itertools.count()

        def run_out(*_: object) -> None:
            if fails(next(calls)):
                raise torch.OutOfMemoryError("as if")

        with tempfile.TemporaryDirectory() as name:
            options = self._options(setting, Path(name))
            parts = self._parts(setting, options)
            net = parts.model.generator.net
            net.register_forward_pre_hook(run_out)
            _train(options, parts)
        return torch.cat([weight.detach().flatten() for weight in net.parameters()])

    def _parts(self, setting: Setting, options: Options) -> Parts:
        if setting.images not in self._sets:
            self._sets[setting.images] = open_sets(options, DistributedContext())
        sets = self._sets[setting.images]
        parts = build_parts(options, DistributedContext(), torch.device("cpu"), *sets)
        if setting.fault == "corrupted batches":
            parts = replace(parts, loader=cast(TrainLoader, CorruptedBatches(parts.loader, setting.seed)))
        if setting.units != 1.0:
            label = list(parts.model.losses)[1]
            loss = parts.model.losses[label]
            parts.model.losses[label] = loss._replace(module=OtherUnits(loss.module, setting.units))
        return parts

    def _options(self, setting: Setting, root: Path) -> Options:
        file = root / "run.yml"
        file.write_text(
            json.dumps(configuration(setting, self._photographs, root, self._alexnet)), encoding="utf-8"
        )  # JSON is YAML
        options = load_options(file, check=check_parts)
        return options.with_derived(derive(options, torch.device("cpu"), 1))


def _of_today(loss: Mapping[str, Any]) -> Mapping[str, Any]:
    """Recorded runs call MS-SSIM of the channels by the name that means traiNNer-redux's now."""
    return {**loss, "type": "MSSSIMLoss", "name": "mssim"} if loss["type"] == "MSSIMLoss" else loss


def configuration(
    setting: Setting, photographs: Photographs, root: Path, alexnet: Path | None = None
) -> dict[str, Any]:
    """The options of a run, as a user would write them."""
    automations = {name: {"enabled": True, **spec} for name, spec in setting.automations.items()}
    scheduling = automations.pop(LOSSES, None)
    folders = {
        name: {"dataroot_gt": str(path / "HR"), "dataroot_lq": str(path / "LRx2"), "cache": "ram"}
        for name, path in photographs._asdict().items()
    }
    if setting.images:
        folders["train"] |= {
            f"dataroot_{side}": str(photographs.chosen(setting.images) / folder)
            for side, folder in (("gt", "HR"), ("lq", "LRx2"))
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
        "network_g": dict(setting.network),
        **({"network_d": dict(setting.discriminator)} if setting.discriminator else {}),
        "train": {
            "total_iter": setting.steps,
            "optim_g": {**setting.optimizer, "lr": "auto" if setting.searched else setting.lr},
            "scheduler": dict(setting.schedule),
            "warmup_iter": setting.steps // 50,
            "ema_decay": 0.99,
            "losses": [_with_weights(_of_today(loss), alexnet) for loss in setting.losses],
            **({"grad_clip": True, "grad_clip_max_norm": setting.clip} if setting.clip else {}),
            **({"training_automations": {"enabled": True, **automations}} if automations else {}),
            **({"dynamic_loss_scheduling": scheduling} if scheduling else {}),
        },
        "val": {
            "val_freq": setting.steps // setting.validations,
            "metrics": {metric: {"type": metric} for metric in setting.metrics},
        },
        "logger": {"save_checkpoint_freq": setting.steps, "use_tb_logger": False},
    }


def _with_weights(loss: Mapping[str, Any], alexnet: Path | None) -> dict[str, Any]:
    given = {"weights": str(alexnet)} if alexnet and loss.get("vgg_type") == "alexnet" else {}
    return {**loss, **given}


def _starting_rate(setting: Setting) -> AbstractContextManager[Any]:
    """Within it `lr: auto` starts where the setting says."""
    other = {normalise(setting.optimizer["type"]): setting.start} if setting.start else {}
    return patch.dict(STARTING_RATES, other)


def _train(options: Options, parts: Parts, *, only_searched: bool = False) -> None:
    settings = OutputSettings(print_freq=parts.plan.total_iter, keep_states=1, keep_models=1)
    trainer = open_run(parts, run_folder(options), settings)
    if only_searched:
        trainer.begin()
        rise = parts.supervisor.automations.get(LearningRateRise.name)
        while isinstance(rise, LearningRateRise) and not rise.done:
            trainer.advance()
        return
    with StopSignal() as stop:
        if trainer.fit(stop).status == "interrupted":
            raise KeyboardInterrupt
