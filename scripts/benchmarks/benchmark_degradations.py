"""Measure what degrading a sample costs, by preset and by stage.

    python scripts/benchmarks/benchmark_degradations.py ../shared/data/train/General100/HR [--json numbers.json]

CPU milliseconds of one thread, from the position to the sample, decoded images in memory. Of several rounds over
the same positions the shortest time of each counts: what other programs push out of a processor's caches only
adds. Stages are timed in rounds of their own, as a mean over all samples, those that skip the stage included. The
last line is in yardsticks, a fixed piece of work of OpenCV and numpy measured between the rounds: machines and
loads differ.

`--step_ms 20 --batch 16` adds how many workers keep up with steps of 20 ms.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from traiNNer.build.degradation import build_chain
from traiNNer.data.cache.policy import CacheSettings
from traiNNer.data.degradations.chain import Chain, StageOf
from traiNNer.data.degraded_dataset import DegradedImageDataset
from traiNNer.data.paired_dataset import PairedImageDataset
from traiNNer.data.sampler import Sampler
from traiNNer.options.degradation import PRESETS, DegradationOptions
from traiNNer.runtime.memory import keep_freed_memory

_MEMORY = 2**40


def chain_of(preset: str) -> Chain:
    """The chain of a preset."""
    return build_chain(DegradationOptions(**{**PRESETS[preset], "preset": preset}))


class Yardstick:
    """A fixed piece of work: 272x272x3 float32, blurred by 21 taps each way, and two passes of numpy."""

    def __init__(self) -> None:
        self._image = np.random.default_rng(0).random((272, 272, 3), np.float32) * 255
        self._row = cv2.getGaussianKernel(21, 3).astype(np.float32)
        self.ms = math.inf

    def measure(self) -> None:
        """Keep the shortest time."""
        began = time.process_time_ns()
        blurred = cv2.sepFilter2D(self._image, -1, self._row, self._row)
        np.minimum(np.sqrt(blurred, out=blurred), 100, out=blurred)
        self.ms = min(self.ms, (time.process_time_ns() - began) / 1e6)


def sample_ms(
    images: DegradedImageDataset, lq_size: int, samples: int, rounds: int, yardstick: Yardstick
) -> float:
    """CPU milliseconds of a sample: the mean over positions of the shortest time of each."""
    sampler, best = Sampler(len(images), 0), [math.inf] * samples
    for _ in range(rounds):
        for position in range(samples):
            began = time.process_time_ns()
            images.read(sampler[position], lq_size)
            best[position] = min(best[position], (time.process_time_ns() - began) / 1e6)
        yardstick.measure()
    return statistics.mean(best)


class Stages:
    """A chain whose stages are timed; of several rounds over the same samples the shortest time of each counts."""

    def __init__(self, chain: Chain) -> None:
        self._chain, self._best = chain, dict[tuple[int, str], float]()
        self.sample = 0

    def __call__(self, image: Any, size: tuple[int, int], draws: Any, trace: Any = None) -> Any:
        """See `Chain`."""
        full = image.shape[:2]
        for stage, step in self._chain._steps(full, size, draws):
            began = time.process_time_ns()
            image, _ = step(image, draws.stage(stage))
            key, taken = (self.sample, stage.name.lower()), (time.process_time_ns() - began) / 1e6
            self._best[key] = min(self._best.get(key, math.inf), taken)
        return image.clip(0, 255).round()

    def mean_ms(self, samples: int) -> dict[str, float]:
        """By stage, over all samples."""
        found = defaultdict[str, float](float)
        for (_, name), taken in self._best.items():
            found[name] += taken
        return {stage.name.lower(): found[stage.name.lower()] / samples for stage in StageOf}


def stage_ms(
    images: PairedImageDataset, scale: int, chain: Chain, lq_size: int, samples: int, rounds: int
) -> dict[str, float]:
    """CPU milliseconds of every stage."""
    stages = Stages(chain)
    timed, sampler = DegradedImageDataset(images, scale, stages), Sampler(len(images), 0)
    for _ in range(rounds):
        for stages.sample in range(samples):
            timed.read(sampler[stages.sample], lq_size)
    return stages.mean_ms(samples)


def main() -> None:
    """Measures and prints Markdown tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--gt-size", type=int, default=256)
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument(
        "--step_ms", type=float, help="time of a training step, to say how many workers keep up"
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as every run does on a CPU
    photos = PairedImageDataset([args.photos], [args.photos], 1, cache=CacheSettings("ram", _MEMORY, _MEMORY))
    for index in range(len(photos)):
        photos.gt_image(index)
    numbers: dict[str, dict[str, float]] = {}
    lq_size = args.gt_size // args.scale
    for preset in args.presets:
        chain, yardstick = chain_of(preset), Yardstick()
        degraded = DegradedImageDataset(photos, args.scale, chain)
        total = sample_ms(degraded, lq_size, args.samples, args.rounds, yardstick)
        stages = stage_ms(photos, args.scale, chain, lq_size, args.samples, args.rounds)
        numbers[preset] = {"sample": total, **stages, "in yardsticks": total / yardstick.ms}
    print(f"| CPU ms per sample | {' | '.join(numbers)} |\n|---|{'---:|' * len(numbers)}")
    stages = [stage.name.lower() for stage in StageOf if stage != StageOf.WAY]
    for name in ("sample", *stages, "in yardsticks"):
        print(f"| {name} | {' | '.join(f'{times[name]:.2f}' for times in numbers.values())} |")
    for preset, times in numbers.items() if args.step_ms else ():
        needed = math.ceil(times["sample"] * args.batch / args.step_ms)
        print(f"{preset}: {needed} workers for steps of {args.step_ms:g} ms with {args.batch} samples")
    if args.json:
        args.json.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
