"""Train networks of other authors here and in a plain loop around spandrel's module: equal curves are expected.

    python scripts/benchmarks/training_curves.py --gt HR --out docs/data/training_curves.jsonl
    python scripts/benchmarks/training_curves.py --gt HR --out docs/data/training_rounding.jsonl --rounding
    python scripts/benchmarks/training_curves.py --out docs/data/training_curves.jsonl --table

Both sides get the same initial weights, batches, AdamW and seeds of stochastic depth; the plain side has nothing
of this program but the batches. In float64, so that rounding stays small over a run. Small networks, LQ patches of
16 pixels (32 of `dat`), batch 2, x2. A JSON line each; families that have one are skipped. With `--rounding` the
plain loop is compared with itself, one weight moved by the smallest step that its type knows: what grows from
there is the doing of the network, not of a program.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from spandrel import ModelLoader
from torch import Tensor
from whole_runs import finished

from traiNNer.archs import build_network
from traiNNer.control import Controls
from traiNNer.data.cache.policy import CacheSettings
from traiNNer.data.degraded_dataset import DegradedImageDataset, Downsampling
from traiNNer.data.loader import Batch, TrainLoader
from traiNNer.data.paired_dataset import PairedImageDataset
from traiNNer.losses import LOSSES
from traiNNer.models.networks import Networks
from traiNNer.models.precision import Precision
from traiNNer.models.sr_model import SRModel, StepSettings, WeightedLoss
from traiNNer.optim.learner import Learner
from traiNNer.optim.optimizers import build_optimizer
from traiNNer.runtime.distributed import DistributedContext

SEED, BATCH, SCALE, RATE, WINDOW = 0, 2, 2, 2e-4, 10
FAMILIES: dict[str, dict[str, Any]] = {
    "span": {"feature_channels": 16},
    "realplksr": {"dim": 16, "n_blocks": 2, "dropout": 0.0},
    "mosr": {"n_block": 2, "dim": 12},
    "rcan": {"n_resgroups": 1, "n_resblocks": 2, "n_feats": 16, "reduction": 4},
    "omnisr": {"num_feat": 16, "res_num": 1},
    "swinir": {"embed_dim": 12, "depths": (2, 2), "num_heads": (2, 2)},
    "hat": {
        "embed_dim": 12,
        "depths": (2,),
        "num_heads": (2,),
        "window_size": 8,
        "squeeze_factor": 4,
        "num_feat": 16,
    },
    "dat": {
        "embed_dim": 64,
        "depth": (2,),
        "num_heads": (2,),
        "split_size": (8, 16),
        "expansion_factor": 2.0,
    },
}
"""Small enough for a thousand steps on a CPU."""
LARGER = {"dat": 32}


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--gt", help="folder of training photographs")
    parser.add_argument("--out", required=True, type=Path, help="file of JSON lines, one a family")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--rounding", action="store_true", help="the plain loop against itself")
    parser.add_argument("--table", action="store_true", help="print what is there, and run nothing")
    args = parser.parse_args()
    done = {record["family"]: record for record in finished(args.out)}
    if args.table:
        print(table(done))
        return
    for family in args.families:
        if family not in done:
            work = rounding if args.rounding else compare
            record = work(family, batches(args.gt, LARGER.get(family, 16), args.steps))
            with args.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            print({key: value for key, value in record.items() if "curve" not in key}, flush=True)


def batches(gt: str, lq_size: int, steps: int) -> list[Batch]:
    """The first batches of a training on these photographs, LQ by antialiased bicubic."""
    cache = CacheSettings("ram", memory=2**32)
    images = PairedImageDataset([gt], [gt], 1, cache=cache)
    source = DegradedImageDataset(images, SCALE, Downsampling("bicubic"))
    return list(islice(TrainLoader(source, seed=SEED, num_workers=0).batches(0, BATCH, lq_size), steps))


def compare(family: str, samples: Sequence[Batch]) -> dict[str, Any]:
    """Both curves of one family, and how far they and the final weights are apart."""
    torch.manual_seed(SEED)
    net = build_network({"type": family, "scale": SCALE, **FAMILIES[family]}).double().train()
    start = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    began = time.time()
    ours, weights = here(net, samples)
    seconds = time.time() - began
    began = time.time()
    theirs, plain = plainly(start, samples)
    trained = [key for key, parameter in net.named_parameters() if parameter.requires_grad]
    apart = max(float((weights[key] - plain[key]).abs().max()) for key in trained)
    windows = [[sum(c[i : i + 50]) / 50 for i in range(0, len(c), 50)] for c in (ours, theirs)]
    return {
        "family": family,
        "steps": len(samples),
        "parameters": sum(p.numel() for p in net.parameters()),
        "first_50": windows[0][0],
        "last_50": windows[0][-1],
        "equal_steps": next(
            (i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b), len(ours)
        ),
        "largest_difference": max(abs(a - b) for a, b in zip(ours, theirs, strict=True)),
        "weights_apart": apart,
        "seconds": round(seconds),
        "plain_seconds": round(time.time() - began),
        "curve": windows[0],
        "plain_curve": windows[1],
    }


def rounding(family: str, samples: Sequence[Batch]) -> dict[str, Any]:
    """How far two plain loops are apart whose beginnings differ in the last bit of one weight."""
    torch.manual_seed(SEED)
    net = build_network({"type": family, "scale": SCALE, **FAMILIES[family]}).double()
    start = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    moved = {key: tensor.clone() for key, tensor in start.items()}
    name = next(key for key, parameter in net.named_parameters() if parameter.requires_grad)
    first = moved[name].view(-1)[:1]
    first.copy_(torch.nextafter(first, torch.full_like(first, torch.inf)))
    (one, weights), (other, theirs) = plainly(start, samples), plainly(moved, samples)
    trained = [key for key, parameter in net.named_parameters() if parameter.requires_grad]
    differences = [abs(a - b) for a, b in zip(one, other, strict=True)]
    return {
        "family": family,
        "steps": len(samples),
        "moved": name,
        "largest_by_step": {
            n: max(differences[:n]) for n in (1, 10, 100, 300, len(samples)) if n <= len(samples)
        },
        "weights_apart": max(float((weights[key] - theirs[key]).abs().max()) for key in trained),
    }


def here(net: torch.nn.Module, samples: Sequence[Batch]) -> tuple[list[float], dict[str, Tensor]]:
    """The loss of every step by this program, and the weights at the end."""
    optimizer = build_optimizer({"type": "AdamW", "lr": RATE}, net.parameters())
    model = SRModel(
        Networks(Learner(net, optimizer, lambda time: 1.0), net.facts),  # type: ignore[arg-type]
        {"l1": WeightedLoss(LOSSES.build({"type": "L1Loss"}), lambda step: 1.0)},
        settings=StepSettings(SEED, window=WINDOW),
        precision=Precision(torch.device("cpu"), dtype=torch.float64),
        collectives=DistributedContext(),
    )
    losses: list[float] = []
    for step, batch in enumerate(samples):
        model.optimize_parameters(
            batch, step, Controls(batch=BATCH, micro_batch=BATCH, lq_size=batch.lq.shape[1])
        )
        if (step + 1) % WINDOW == 0:
            losses += model.read_metrics().losses["l1"]
    return losses, net.state_dict()


def plainly(start: dict[str, Tensor], samples: Sequence[Batch]) -> tuple[list[float], dict[str, Tensor]]:
    """The same by a loop as in any tutorial, over the module that spandrel makes of the weights."""
    model = ModelLoader("cpu").load_from_state_dict(start).model.double().train()
    model.load_state_dict(start)
    model.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)
    losses: list[float] = []
    for step, batch in enumerate(samples):
        torch.manual_seed(((SEED * 1_000_003 + step) * 4_099) % 2**63)
        lq, gt = (pixels.permute(0, 3, 1, 2).double() / 255 for pixels in (batch.lq, batch.gt))
        loss = torch.nn.functional.l1_loss(model(lq), gt)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, model.state_dict()


def table(records: dict[str, dict[str, Any]]) -> str:
    """The rows of docs/networks.md."""
    lines = [
        "| type | parameters | L1, first 50 steps | last 50 | largest difference of a step | of a weight |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for record in records.values():
        lines.append(
            f"| `{record['family']}` | {record['parameters']:,} | {record['first_50']:.4f} | "
            f"{record['last_50']:.4f} | {record['largest_difference']:.1g} | {record['weights_apart']:.1g} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
