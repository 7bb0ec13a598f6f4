"""Take a published architecture from file to file: fine-tune, kill, resume, release, load, enlarge.

    python scripts/benchmarks/file_to_file.py --gt HR --image LR/bird.png --out docs/data/file_to_file.jsonl
    python scripts/benchmarks/file_to_file.py --out docs/data/file_to_file.jsonl --table

For each family a file of weights in the authors' form (their initial values, under `params_ema`) is fine-tuned by
`train.py` with `network_g: {type: auto}`, killed after the first checkpoint, resumed, exported by
`scripts/export.py`, loaded by spandrel, and both enlarge a photograph. A JSON line each; families that have
one are skipped, so the script may be stopped and started again. ONNX: `onnx_of_networks.py`.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import torch
from spandrel import ImageModelDescriptor, ModelLoader
from whole_runs import finished

from traiNNer.archs import build_network
from traiNNer.cli.export import main as export
from traiNNer.cli.train import train
from traiNNer.data.images.image_io import eight_bits, read_image
from traiNNer.inference.load import load_trained
from traiNNer.inference.upscale import ImageUpscaler

_FORK = multiprocessing.get_context("fork")
"""Processes that have imported everything already; this one trains nothing: a fork takes no gradients along."""


class Course(NamedTuple):
    """How a family is trained, as a CPU bears it."""

    options: Mapping[str, Any] = {}
    """What makes the published size smaller, where a CPU would not bear it."""
    scale: int = 4
    lq_size: int = 16
    batch: int = 1
    steps: int = 200


FAMILIES = {
    "safmn": Course(),
    "seemore_t": Course(),
    "compact": Course(),
    "ditn_real": Course(),
    "mosr_t": Course(),
    "span": Course(),
    "dctlsa": Course(),
    "craft": Course(),
    "omnisr": Course(),
    "swinir_s": Course(),
    "swin2sr_s": Course(),
    "dat_light": Course(batch=2),
    "fdat_tiny": Course(),
    "atd_light": Course(),
    "plksr_tiny": Course(),
    "realplksr_tiny": Course(),
    "rcan": Course({"n_resgroups": 3, "n_resblocks": 6}),
    "nafnet": Course({"middle_blk_num": 1, "enc_blk_nums": (1, 1, 1, 4), "dec_blk_nums": (1,) * 4}, scale=1),
    "moesr": Course({"n_blocks": 3, "n_block": 2}),
    "realcugan": Course(scale=2, lq_size=40),
    "grl_t": Course(),
    "drct": Course({"depths": (6, 6), "num_heads": (6, 6), "embed_dim": 96}),
    "rgt": Course({"depth": (4, 4), "num_heads": (4, 4), "embed_dim": 80}),
    "esrgan_lite": Course(),
    "hat_s": Course(),
}
"""By name in the registry; sizes are the smallest of each family that people publish, or smaller."""


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--gt", help="folder of training photographs")
    parser.add_argument("--image", type=Path, help="a small photograph to enlarge")
    parser.add_argument("--out", required=True, type=Path, help="file of JSON lines, one a family")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--table", action="store_true", help="print what is there, and run nothing")
    args = parser.parse_args()
    done = {record["family"]: record for record in finished(args.out)}
    if args.table:
        print(table(done))
        return
    for family in args.families:
        if family not in done:
            with tempfile.TemporaryDirectory() as folder:
                record = journey(family, FAMILIES[family], Path(folder), args.gt, args.image)
            with args.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            print(record, flush=True)


def journey(family: str, course: Course, folder: Path, gt: str, image: Path) -> dict[str, Any]:
    """All stations of one family; what went wrong stands in the record, in words."""
    started = time.time()
    torch.manual_seed(0)
    net = build_network({"type": family, "scale": course.scale, **course.options})
    torch.save({"params_ema": net.state_dict()}, folder / "published.pth")
    record: dict[str, Any] = {"family": family, **course._asdict()}
    record["parameters"] = sum(p.numel() for p in net.parameters())
    del net
    record |= _train(_configuration(course, folder, gt), folder)
    weights = folder / f"experiments/journey/models/net_g_{course.steps}.safetensors"
    record |= _release(weights, folder)
    record |= _enlarge(next((folder / "release").glob("*.safetensors")), image)
    return record | {"seconds": round(time.time() - started)}


def _configuration(course: Course, folder: Path, gt: str) -> Path:
    configuration = {
        "name": "journey",
        "scale": course.scale,
        "num_gpu": 0,
        "path": {
            "experiments_root": str(folder / "experiments"),
            "pretrain_network_g": str(folder / "published.pth"),
        },
        "datasets": {
            "train": {
                "type": "SingleGtDataset" if course.scale > 1 else "PairedImageDataset",
                "dataroot_gt": str(Path(gt).resolve()),
                **({} if course.scale > 1 else {"dataroot_lq": str(Path(gt).resolve())}),
                "lq_size": course.lq_size,
                "batch_size_per_gpu": course.batch,
                "num_worker_per_gpu": 0,
            }
        },
        "network_g": {"type": "auto"},
        "train": {
            "total_iter": course.steps,
            "optim_g": {"type": "AdamW", "lr": 2e-4},
            "losses": [{"type": "L1Loss"}],
        },
        "val": {"val_enabled": False},
        "logger": {
            "print_freq": max(1, course.steps // 4),
            "save_checkpoint_freq": course.steps // 2,
            "use_tb_logger": False,
        },
    }
    path = folder / "journey.yml"
    path.write_text(json.dumps(configuration), encoding="utf-8")
    return path


def _train(configuration: Path, folder: Path) -> dict[str, Any]:
    """Train until the first checkpoint, kill, and go on to the end."""
    states = folder / "experiments/journey/training_states"
    log = folder / "train.log"
    first = _FORK.Process(target=_trained, args=(configuration, log))
    first.start()
    while first.is_alive() and not list(states.glob("*.state")):
        time.sleep(0.5)
    first.kill()
    first.join()
    if not list(states.glob("*.state")):
        raise RuntimeError(log.read_text(encoding="utf-8")[-2000:])
    second = _FORK.Process(target=_trained, args=(configuration, log))
    second.start()
    second.join()
    resumed = re.search(r"Going on from \S+, iteration ([\d,]+)", log.read_text(encoding="utf-8"))
    lines = (folder / "experiments/journey/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["loss"]["l1"] for line in lines]
    summary = json.loads((folder / "experiments/journey/summary.json").read_text(encoding="utf-8"))
    return {
        "resumed_at": resumed[1] if resumed else None,
        "status": summary["status"],
        "loss_first": losses[0],
        "loss_last": losses[-1],
    }


def _trained(configuration: Path, log: Path) -> None:
    with log.open("a", encoding="utf-8") as said, redirect_stdout(said), redirect_stderr(said):
        train(["-opt", str(configuration), "--auto_resume"])


def _release(weights: Path, folder: Path) -> dict[str, Any]:
    said = _call(export, [str(weights), "--name", "Journey", "--output", str(folder / "release")])
    verdict = re.search(r"chaiNNer: (.*)", said)
    return {"chainner": verdict[1] if verdict else said[-300:]}


def _enlarge(released: Path, image: Path) -> dict[str, Any]:
    """The photograph by this program and by spandrel; largest difference, in levels of 8 bits."""
    trained, pixels = load_trained(released, {}), read_image(image)
    ours = eight_bits(ImageUpscaler(trained.net, trained.facts, device=torch.device("cpu")).pixels(pixels))
    found = ModelLoader("cpu").load_from_file(released)
    assert isinstance(found, ImageModelDescriptor)
    with torch.inference_mode():
        lq = torch.from_numpy(eight_bits(pixels)).permute(2, 0, 1)[None] / 255
        theirs = (found(lq)[0].permute(1, 2, 0) * 255).round().numpy()
    return {
        "spandrel": found.architecture.name,
        "levels_apart": int(abs(ours.astype(int) - theirs.astype(int)).max()),
    }


def _call(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> str:
    """What a command prints; in this process, which has imported everything already."""
    with redirect_stdout(io.StringIO()) as said, redirect_stderr(said):
        command(arguments)
    return said.getvalue()


def table(records: dict[str, dict[str, Any]]) -> str:
    """The rows of docs/networks.md."""
    lines = [
        "| file | parameters | patch, batch | steps | loss | chaiNNer | levels apart |",
        "|---|---:|---|---:|---|---|---:|",
    ]
    for record in records.values():
        smaller = f" ({json.dumps(record['options'])})".replace('"', "") if record.get("options") else ""
        cells = [
            f"`{record['family']}` x{record['scale']}{smaller}",
            f"{record['parameters']:,}",
            f"{record['lq_size']}, {record['batch']}",
            str(record["steps"]),
            f"{record['loss_first']:.3f} to {record['loss_last']:.3f}",
            record["chainner"],
            str(record["levels_apart"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
