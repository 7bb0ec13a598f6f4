"""A process of two that share one card: steps on its half of the batch, gradients averaged by gloo.

Arguments: device, file for the weights of rank 0.
"""

import os
import sys

import torch
import torch.distributed as dist
from gpu.on_device import model_on, pixels, weights_of

from traiNNer.control import Controls
from traiNNer.data.loader import Batch
from traiNNer.runtime.distributed import DistributedContext

STEPS = 4


def main(device, file):
    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo")
    together = DistributedContext(rank=rank, world_size=2)
    model = model_on(torch.device(device), collectives=together, optimizer={"type": "SGD"})
    for step in range(STEPS):
        lq, gt, _ = pixels(seed=step)
        half = slice(4 * rank, 4 * rank + 4)
        model.optimize_parameters(Batch(lq[half], gt[half]), step, Controls(4, 4, 16))
    if rank == 0:
        torch.save(weights_of(model), file)
    together.end()


if __name__ == "__main__":
    main(*sys.argv[1:])
