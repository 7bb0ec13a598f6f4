"""Take a published architecture from file to file: fine-tune, kill, resume, release, load, enlarge, ONNX.

    python scripts/benchmarks/file_to_file.py --gt HR --image LR/bird.png --out docs/data/file_to_file.jsonl
    python scripts/benchmarks/file_to_file.py --out docs/data/file_to_file.jsonl --table

For each family a file of weights in the authors' form (their initial values, under `params_ema`) is fine-tuned by
`train.py` with `network_g: {type: auto}`, killed after the first checkpoint, resumed, exported by
`scripts/export.py --onnx`, loaded by spandrel, and both enlarge a photograph. A JSON line each; families that have
one are skipped, so the script may be stopped and started again.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import torch
from spandrel import ImageModelDescriptor, ModelLoader
from whole_runs import finished

from traiNNer.archs import build_network
from traiNNer.cli.export import main as export
from traiNNer.cli.train import train
from traiNNer.data.image_io import eight_bits, read_image
from traiNNer.inference.load import load_trained
from traiNNer.inference.upscale import ImageUpscaler

ROOT = Path(__file__).resolve().parents[2]


class Course(NamedTuple):
    """How long a family is trained, as a CPU bears it."""

    steps: int
    lq_size: int = 32
    batch: int = 2
    scale: int = 4
    onnx: bool = True
    """Whether ONNX is tried; torch traces networks of windows for minutes, or cannot for every size."""


FAMILIES = {
    "compact": Course(200),
    "span": Course(40),
    "swinir_s": Course(10, onnx=False),
    "omnisr": Course(10, onnx=False),
    "dat_light": Course(8, onnx=False),
    "realplksr_tiny": Course(8),
    "mosr_t": Course(20),
    "safmn": Course(60),
    "seemore_t": Course(20),
    "plksr_tiny": Course(8),
    "ditn_real": Course(20),
    "fdat_tiny": Course(10),
    "craft": Course(8, onnx=False),
    "swin2sr_s": Course(8, onnx=False),
    "esrgan_lite": Course(6, lq_size=16),
    "realcugan": Course(20, lq_size=40, scale=2),
    "hat_s": Course(4, lq_size=16, onnx=False),
    "rcan": Course(4, lq_size=16),
    "dctlsa": Course(8, onnx=False),
    "atd_light": Course(4, onnx=False),
    "drct": Course(4, lq_size=16, onnx=False),
}
"""By name in the registry; sizes are those that people publish, the smallest of each family."""


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
    net = build_network({"type": family, "scale": course.scale})
    torch.save({"params_ema": net.state_dict()}, folder / "published.pth")
    record: dict[str, Any] = {"family": family, **course._asdict()}
    record["parameters"] = sum(p.numel() for p in net.parameters())
    del net
    record |= _train(_configuration(course, folder, gt), folder, course)
    weights = folder / f"experiments/journey/models/net_g_{course.steps}.safetensors"
    record |= _release(weights, folder, onnx=course.onnx)
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


def _train(configuration: Path, folder: Path, course: Course) -> dict[str, Any]:
    """Train until the first checkpoint, kill, and go on to the end."""
    command = [sys.executable, str(ROOT / "train.py"), "-opt", str(configuration)]
    states = folder / "experiments/journey/training_states"
    with (folder / "first.log").open("w", encoding="utf-8") as log:
        first = subprocess.Popen(command, stdout=log, stderr=log)
        while first.poll() is None and not list(states.glob("*.state")):
            time.sleep(0.1)
        first.kill()
        first.wait()
    if not list(states.glob("*.state")):
        raise RuntimeError((folder / "first.log").read_text(encoding="utf-8")[-2000:])
    said = _call(train, ["-opt", str(configuration), "--auto_resume"])
    resumed = re.search(r"Going on from \S+, iteration ([\d,]+)", said)
    lines = (folder / "experiments/journey/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["loss"]["l1"] for line in lines]
    summary = json.loads((folder / "experiments/journey/summary.json").read_text(encoding="utf-8"))
    return {
        "resumed_at": resumed[1] if resumed else None,
        "status": summary["status"],
        "loss_first": losses[0],
        "loss_last": losses[-1],
    }


def _release(weights: Path, folder: Path, *, onnx: bool) -> dict[str, Any]:
    command = [str(weights), "--name", "Journey", "--output", str(folder / "release")]
    said = _call(export, [*command, "--onnx"] if onnx else command)
    left_out = re.search(r"failed: \S+\.onnx: (.*)", said)
    verdict = re.search(r"chaiNNer: (.*)", said)
    made = list((folder / "release").glob("*.onnx"))
    return {
        "chainner": verdict[1] if verdict else said[-300:],
        "onnx_made": "yes" if made else left_out[1][:300] if left_out else "not tried",
    }


def _enlarge(released: Path, image: Path) -> dict[str, Any]:
    """The photograph by this program and by spandrel; largest difference, in levels of 8 bits."""
    trained, pixels = load_trained(released, {}), read_image(image)
    ours = eight_bits(ImageUpscaler(trained.net, trained.facts, device=torch.device("cpu")).pixels(pixels))
    facts = trained.facts
    found = ModelLoader("cpu").load_from_file(released)
    assert isinstance(found, ImageModelDescriptor)
    with torch.inference_mode():
        lq = torch.from_numpy(eight_bits(pixels)).permute(2, 0, 1)[None] / 255
        theirs = (found(lq)[0].permute(1, 2, 0) * 255).round().numpy()
    return {
        "spandrel": found.architecture.name,
        "levels_apart": int(abs(ours.astype(int) - theirs.astype(int)).max()),
        "min_size": facts.min_size,
        "multiple_of": facts.multiple_of,
        "tile_margin": facts.tile_margin,
    }


def _call(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> str:
    """What a command prints; in this process, which has imported everything already."""
    with redirect_stdout(io.StringIO()) as said, redirect_stderr(said):
        command(arguments)
    return said.getvalue()


def table(records: dict[str, dict[str, Any]]) -> str:
    """The rows of docs/networks.md."""
    lines = [
        "| file | parameters | least / multiple | tiles | steps | loss | chaiNNer | levels apart | ONNX |",
        "|---|---:|---|---|---:|---|---|---:|---|",
    ]
    for record in records.values():
        made = record["onnx_made"]
        cells = [
            f"`{record['family']}` x{record['scale']}",
            f"{record['parameters']:,}",
            f"{record['min_size']}/{record['multiple_of']}",
            "near" if record["tile_margin"] is None else str(record["tile_margin"]),
            str(record["steps"]),
            f"{record['loss_first']:.3f} to {record['loss_last']:.3f}",
            record["chainner"],
            str(record["levels_apart"]),
            made if made in ("yes", "not tried") else "no",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
