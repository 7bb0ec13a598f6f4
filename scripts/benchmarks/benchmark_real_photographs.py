"""Measure what a chain of degradations brings: a small network trained on each, scored on Set14-RW.

    python scripts/benchmarks/benchmark_real_photographs.py --gt T91 General100 BSDS200 --hr SET14_HR \\
        --weights FOLDER --out docs/data/real_photographs.jsonl

Every run trains a Compact network of 16 channels (x4) for the same steps on the same images and crops; what LQ is
made by differs: `bicubic` (nothing but shrinking), `medium` and `realesrgan` (the presets), and both with the
defects of other programs, all or the first alone (`misaligned`), rebuilt here and nowhere in the product:

- the first resizing goes by a factor and drops the fraction of a pixel that does not fit, which is stretched later
- bilinear and bicubic resizing are not antialiased
- noise is clipped at black and white; Poisson noise counts as many quanta as the patch has distinct values

Scores: PSNR (RGB), LPIPS and NIQE on whole images, of Set14 shrunk by bicubic and of Set14-RW at three strengths.
A finished run is a JSON line; those that are there are skipped. The tables come last.

`--sheet FILE` trains `bicubic` and `medium` once more, for the first seed, and shows parts of Set14-RW enlarged by
bicubic and by both networks, beside the original.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from defective_chain import DefectiveChain
from numpy.typing import NDArray
from whole_runs import finished

from traiNNer.archs.compact import Compact
from traiNNer.build.degradation import build_chain
from traiNNer.data.cache.policy import CacheSettings
from traiNNer.data.degradations.contact_sheet import Cell, enlarged, sheet
from traiNNer.data.degradations.resizing import resize
from traiNNer.data.degraded_dataset import DegradedImageDataset, Downsampling
from traiNNer.data.paired_dataset import PairedImageDataset
from traiNNer.data.sampler import Sampler
from traiNNer.metrics import METRICS
from traiNNer.options.degradation import PRESETS, DegradationOptions
from traiNNer.runtime.memory import keep_freed_memory

SCALE, LQ_SIZE, BATCH, RATE = 4, 24, 8, 2e-3
SETS = ("clean", "weak", "medium", "strong")
ARMS = (
    "bicubic",
    "medium",
    "medium, misaligned",
    "medium, defects",
    "realesrgan",
    "realesrgan, misaligned",
    "realesrgan, defects",
)
PAIRS = (
    ("medium", "bicubic"),
    ("medium", "medium, misaligned"),
    ("medium", "medium, defects"),
    ("realesrgan", "realesrgan, misaligned"),
    ("realesrgan", "realesrgan, defects"),
)
SIDE = 96
SHOWN = (
    ("weak", "comic", 60, 80),
    ("medium", "zebra", 120, 180),
    ("medium", "monarch", 180, 300),
    ("strong", "ppt3", 200, 60),
    ("strong", "face", 90, 90),
)
"""Parts of the sheet: strength, image, first row and column."""
_MEMORY = 2**40


def degrade_of(arm: str) -> Any:
    """What makes LQ in an arm."""
    if arm == "bicubic":
        return Downsampling("bicubic")
    preset, _, defects = arm.partition(", ")
    options = DegradationOptions(**{**PRESETS[preset], "preset": cast("Any", preset)})
    if not defects:
        return build_chain(options)
    if defects == "misaligned":
        chain = DefectiveChain(build_chain(options)._settings)
        chain.misaligned_only = True
        return chain
    wrong = options.model_copy(update={"noise_keeps_mean": False, "poisson_levels": "content"})
    return DefectiveChain(build_chain(wrong)._settings)


def train(degrade: Any, photos: PairedImageDataset, steps: int, seed: int) -> Compact:
    """A network after `steps` updates, on the samples of positions 0 to `steps` * BATCH."""
    torch.manual_seed(seed)
    network = Compact(scale=SCALE, num_feat=16, num_conv=4)
    images = DegradedImageDataset(photos, SCALE, degrade)
    sampler = Sampler(len(images), seed)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        found = [
            images.read(sampler[p], LQ_SIZE) for p in range(step * BATCH, (step + 1) * BATCH)
        ]  # one thread
        lq, gt = (_planes([getattr(patch, side) for patch in found]) for side in ("lq", "gt"))
        optimizer.zero_grad(set_to_none=True)
        loss = (network(lq) - gt).abs().mean()
        loss.backward()
        optimizer.step()
        decay.step()
    return network.eval()


def _planes(images: Sequence[Any]) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def scores(network: Compact, hr: PairedImageDataset, metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Means over the images, by set and metric, and PSNR of every image."""
    found: dict[str, dict[str, Any]] = {}
    for name in SETS:
        degrade = Downsampling("bicubic") if name == "clean" else degrade_of(name)
        images = DegradedImageDataset(hr, SCALE, degrade)
        values: dict[str, list[float]] = {metric: [] for metric in metrics}
        for index in range(len(images)):
            pair = images.pair(index)
            assert pair.gt is not None
            lq, gt = _planes([pair.lq]), _planes([pair.gt])
            out = network(lq).clamp(0, 1)
            for metric, measure in metrics.items():
                values[metric].append(float(measure(out, gt)))
        found[name] = {metric: round(statistics.mean(each), 4) for metric, each in values.items()}
        found[name]["psnr_by_image"] = [round(value, 3) for value in values["psnr"]]
    return found


@torch.no_grad()
def picture(networks: dict[str, Compact], hr: PairedImageDataset) -> NDArray[np.uint8]:
    """Rows of parts: bicubic, each network, the original."""
    rows = []
    for strength, name, top, left in SHOWN:
        images = DegradedImageDataset(hr, SCALE, degrade_of(strength))
        pair = images.pair(images.names.index(name))
        assert pair.gt is not None
        height, width = pair.gt.shape[:2]
        outputs = {"bicubic": resize(pair.lq.astype(np.float32), height, width, "bicubic")}
        for title, network in networks.items():
            outputs[title] = network(_planes([pair.lq]))[0].permute(1, 2, 0).numpy() * 255
        outputs["original"] = pair.gt.astype(np.float32)
        part = slice(top, top + SIDE), slice(left, left + SIDE)
        rows.append([
            Cell(f"{strength}, {name}: {title}" if title == "bicubic" else title, enlarged(image[part], 2 * SIDE))
            for title, image in outputs.items()
        ])  # fmt: skip
    return sheet(rows, 2 * SIDE)


def table(runs: list[dict[str, Any]]) -> str:
    """Markdown: means over the seeds, then differences of pairs seed by seed."""
    metrics = [name for name in runs[0]["scores"]["clean"] if name != "psnr_by_image"]
    lines = [f"| trained on | {' | '.join(SETS)} |", f"|---|{'---|' * len(SETS)}"]
    by_arm = {arm: {run["seed"]: run["scores"] for run in runs if run["arm"] == arm} for arm in ARMS}
    for arm, found in by_arm.items():
        if found:
            cells = (
                " / ".join(f"{statistics.mean(s[name][m] for s in found.values()):.3f}" for m in metrics)
                for name in SETS
            )
            lines.append(f"| {arm} ({len(found)} seed{'s' * (len(found) > 1)}) | {' | '.join(cells)} |")
    lines += ["", f"| {' / '.join(metrics)}, by seed | {' | '.join(SETS)} |", f"|---|{'---|' * len(SETS)}"]
    for first, second in PAIRS:
        seeds = sorted(by_arm[first].keys() & by_arm[second].keys())
        cells = (
            "; ".join(
                " / ".join(
                    f"{by_arm[first][seed][name][m] - by_arm[second][seed][name][m]:+.3f}" for m in metrics
                )
                for seed in seeds
            )
            for name in SETS
        )
        if seeds:
            lines.append(f"| {first} less {second} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Runs what is missing, then prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gt", type=Path, nargs="+", required=True, help="folders of training photographs")
    parser.add_argument("--hr", type=Path, required=True, help="Set14, full size")
    parser.add_argument("--weights", type=Path, help="folder with the weights of LPIPS and AlexNet")
    parser.add_argument("--out", type=Path, required=True, help="file of JSON lines, one a finished run")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--sheet", type=Path, help="picture to write instead of measuring")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    cache = CacheSettings("ram", _MEMORY, _MEMORY)
    photos = PairedImageDataset(args.gt, args.gt, 1, cache=cache)
    hr = PairedImageDataset([args.hr], [args.hr], 1, cache=cache)
    if args.sheet:
        networks = {
            f"trained on {arm}": train(degrade_of(arm), photos, args.steps, args.seeds[0])
            for arm in ("bicubic", "medium")
        }
        cv2.imwrite(str(args.sheet), picture(networks, hr)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
        return
    files = {
        "weights": str(args.weights / "alexnet_features_imagenet_fp16.safetensors"),
        "linear_weights": str(args.weights / "lpips_lin_alexnet.safetensors"),
    } if args.weights else {}  # fmt: skip
    specs: dict[str, dict[str, Any]] = {"psnr": {}, "lpips": files, "niqe": {}}
    metrics = {
        name: METRICS.build({"type": name, "crop_border": SCALE, **spec}) for name, spec in specs.items()
    }
    for seed in args.seeds:
        for arm in args.arms:
            key = {"arm": arm, "seed": seed, "steps": args.steps}
            if any(key.items() <= run.items() for run in finished(args.out)):
                continue
            began = time.monotonic()
            network = train(degrade_of(arm), photos, args.steps, seed)
            result = {**key, "scores": scores(network, hr, metrics)}
            with args.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**result, "seconds": round(time.monotonic() - began)}) + "\n")
    print(table([run for run in finished(args.out) if run["steps"] == args.steps]))


if __name__ == "__main__":
    main()
