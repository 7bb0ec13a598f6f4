"""The smallest complete run: synthetic pairs, a one-layer generator, float64 on the CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from traiNNer.archs import NetworkFacts
from traiNNer.automations import Supervisor
from traiNNer.control import Clip, Controls
from traiNNer.data.loader import TrainLoader
from traiNNer.data.paired_dataset import Pair, Patch
from traiNNer.data.sampler import SampleSpec
from traiNNer.events import RunFacts
from traiNNer.losses import LOSSES
from traiNNer.metrics import METRICS
from traiNNer.models.networks import Networks
from traiNNer.models.precision import Precision
from traiNNer.models.sr_model import SRModel, StepSettings, WeightedLoss
from traiNNer.optim.ema import Ema
from traiNNer.optim.learner import Learner
from traiNNer.optim.schedules import SCHEDULES, Schedule, warmup
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.runtime.memory import HostMemory
from traiNNer.runtime.run_dir import RunFolder
from traiNNer.tracking.health import Health
from traiNNer.tracking.recorder import Recorder
from traiNNer.training.checkpoint import Checkpointer
from traiNNer.training.outputs import Outputs
from traiNNer.training.parts import Parts
from traiNNer.training.state import Plan
from traiNNer.training.trainer import Trainer
from traiNNer.training.validation import ValidationSet, Validator

FACTS = NetworkFacts("generator", scale=2)
TIMES = (
    "seconds",
    "speed",
    "data_wait",
    "memory_peak",
    "lengths.events",
    "lengths.metrics",
    "lengths.health",
)
"""Ends of paths of a run's state and records that two runs cannot share: what is measured by the clock."""
FACTS_OF_RUN = RunFacts(
    total_iter=20,
    batch=4,
    world_size=1,
    learning_rates={"g": 1e-2},
    optimizer="AdamW",
    precision="fp32",
    ema_decay=0.9,
    loss_weights={"l1": 1.0, "char": 0.1},
    anchor_loss="l1",
    higher_is_better={"psnr": True},
    validate_every=4,
    warmup_iter=5,
    images=11,
    deterministic=False,
    fingerprint={},
)
CPU = Precision(torch.device("cpu"), dtype=torch.float64)


class Waves:
    """Eleven images of smooth waves, so that crops at different places differ."""

    names = [f"wave{index}" for index in range(11)]

    def __len__(self) -> int:
        return 11

    def _image(self, index: int, side: int) -> np.ndarray:
        rows, columns = np.mgrid[0:side, 0:side] / side
        planes = [np.sin(6 * rows * (k + 1) + index) * np.cos(5 * columns * (index + 1)) for k in range(3)]
        return (127.5 + 127 * np.stack(planes, axis=-1)).astype(np.uint8)

    def read(self, draw: SampleSpec, lq_size: int) -> Patch:
        gt = self._image(draw.index, 64)
        size = 2 * lq_size
        top, left = (2 * int(share * ((64 - size) // 2 + 1)) for share in (draw.row, draw.column))
        gt = gt[top : top + size, left : left + size]
        if draw.flip_rows:
            gt = gt[::-1]
        if draw.transpose:
            gt = gt.transpose(1, 0, 2)
        return Patch(halved(gt), np.ascontiguousarray(gt))

    def pair(self, index: int) -> Pair:
        gt = self._image(index, 40)
        return Pair(halved(gt), gt, self.names[index])


def halved(image: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels."""
    height, width, _ = image.shape
    return image.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3)).astype(np.uint8)


def tiny_network() -> nn.Module:
    """One convolution, some dropout (so that random numbers matter), x2."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.Dropout(0.1), nn.PixelShuffle(2))
    return net.double()


def make_model(
    net: nn.Module | None = None,
    *,
    optimizer=None,
    learner: Learner | None = None,
    ema: bool = True,
    window: int = 10,
    augment=None,
    compile_mode: str | None = None,
    precision: Precision = CPU,
) -> SRModel:
    """A model over `tiny_network`, two losses, AdamW with warm-up and milestones."""
    net = learner.net if learner else net or tiny_network()
    optimizer = optimizer or torch.optim.AdamW(net.parameters(), lr=1e-2, fused=True)
    schedule = SCHEDULES.build({"type": "MultiStepLR", "milestones": [12]}, base_lr=1e-2, total_iter=20)
    learner = learner or Learner(net, optimizer, lambda time: schedule(time) * warmup(time, 5))
    losses = {
        "l1": WeightedLoss(LOSSES.build({"type": "L1Loss"}), lambda step: 1.0),
        "char": WeightedLoss(LOSSES.build({"type": "CharbonnierLoss"}), lambda step: 0.1),
    }
    return SRModel(
        Networks(learner, FACTS, ema=Ema(net, 0.9) if ema else None),
        losses,
        settings=StepSettings(7, window=window, compile_mode=compile_mode),
        precision=precision,
        collectives=DistributedContext(),
        augment=augment,
    )


def run_folder(root: Path) -> RunFolder:
    """The usual folder of a run."""
    return RunFolder(
        root=root,
        models=root / "models",
        training_states=root / "training_states",
        visualization=root / "visualization",
        log=root,
        tensorboard=root / "tb",
        name="tiny",
    )


def make_trainer(
    root: Path,
    *,
    total: int = 20,
    workers: int = 0,
    model: SRModel | None = None,
    supervisor: Supervisor | None = None,
    source: object | None = None,
    controls: Controls | None = None,
    plan: Plan | None = None,
    schedule: Schedule | None = None,
    checkpoints: dict | None = None,
) -> Trainer:
    """A run of `total` steps that validates every 4 and saves every 5, in windows of 3."""
    source = source or Waves()
    folder = run_folder(root)
    model = model or make_model(window=3)
    plan = plan or Plan(
        total_iter=20, validate_every=4, save_every=5, window=3, samples_per_step=4, warmup_iter=5
    )
    supervisor = supervisor or Supervisor({})
    validator = Validator(
        [ValidationSet("waves", Waves())],
        {"psnr": METRICS.build({"type": "psnr", "crop_border": 2})},
        scale=2,
        precision=CPU,
        processes=DistributedContext(),
    )
    parts = Parts(
        model,
        TrainLoader(source, seed=3, num_workers=workers),
        controls or Controls(batch=4, micro_batch=2, lq_size=8, clip={"g": Clip(0.5, 0.5)}),
        replace(plan, total_iter=total),
        schedule or SCHEDULES.build({"type": "constant"}, base_lr=1e-2, total_iter=20),
        supervisor,
        FACTS_OF_RUN,
        DistributedContext(),
        HostMemory(),
        validator,
        metadata={"g": {"architecture": "tiny"}},
    )
    recorder = Recorder(
        folder,
        total_iter=plan.total_iter,
        health=Health(FACTS_OF_RUN, model.losses, supervisor, print_freq=2),
    )
    checkpointer = Checkpointer(folder, parts.metadata, **(checkpoints or {}))
    return Trainer(parts, Outputs(recorder, checkpointer))


def flatten(value, prefix=""):
    """Every leaf of nested containers with its path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from flatten(item, f"{prefix}.{key}")
    elif isinstance(value, list | tuple):
        for key, item in enumerate(value):
            yield from flatten(item, f"{prefix}.{key}")
    else:
        yield prefix, value


def assert_same(left, right, *, but: tuple[str, ...] = ()) -> None:
    """Equal in every value, tensors bit for bit; paths that end in one of `but` are left out."""
    one, other = dict(flatten(left)), dict(flatten(right))
    assert one.keys() == other.keys()
    for path, value in one.items():
        if path.endswith(but):
            continue
        if isinstance(value, torch.Tensor):
            same = torch.equal(value.nan_to_num(1e30), other[path].nan_to_num(1e30))
        else:
            same = value == other[path]
        assert same, f"{path}: {value} and {other[path]}"
