"""A tiny run in a process of its own, under a limit on the address space.

Arguments: folder, mebibytes above what the process has mapped before the run (0: no limit), micro-batch.
"""

import resource
import sys
from dataclasses import replace
from pathlib import Path

import torch
from tiny import make_model
from torch import nn
from training.automation_runs import FACTS, trainer_of

from traiNNer.automations.batch.batch_size import DynamicBatchSizeOptimizer
from traiNNer.control import Controls
from traiNNer.runtime.signals import StopSignal

BATCH, STEPS = 16, 5
WIDTH = (
    2048  # channels: 16 samples of 16 x 16 pixels in float64 are 64 MiB, and a step takes three times that
)


def wide_network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, WIDTH, 3, padding=1), nn.ReLU(), nn.Conv2d(WIDTH, 12, 1), nn.PixelShuffle(2)]
    return nn.Sequential(*layers).double()


def limit_memory(room):
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = mapped + room * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main(root, room, micro_batch):
    torch.set_num_threads(1)
    trainer_of(root / "before", steps=1).fit(StopSignal())  # imports everything
    if room:
        limit_memory(room)
    trainer = trainer_of(
        root,
        DynamicBatchSizeOptimizer(facts=replace(FACTS, batch=BATCH)),
        model=make_model(wide_network(), window=STEPS),
        controls=Controls(batch=BATCH, micro_batch=micro_batch, lq_size=16),
        memory=None,
        steps=STEPS * BATCH // 4,  # the clock of the run counts batches of 4
    )
    outcome = trainer.fit(StopSignal())
    end = {
        "status": outcome.status,
        "step": trainer.progress.step,
        "micro_batch": trainer.controls.micro_batch,
    }
    torch.save({**end, "model": trainer.state_dict()["model"]}, root / "end.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
