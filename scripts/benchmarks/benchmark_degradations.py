"""Measure what degrading a sample costs, by preset and by stage.

    python scripts/benchmarks/benchmark_degradations.py ../shared/data/train/General100/HR [--json numbers.json]

CPU milliseconds of one thread, from the position to the sample, decoded images in memory. Of several rounds over
the same positions the shortest counts: what other programs push out of a processor's caches only adds. Stages are
timed in rounds of their own, as a mean over all samples, those that skip the stage included.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def shortest(once: Callable[[], float], rounds: int) -> float:
    """The shortest of several rounds."""
    return min(once() for _ in range(rounds))


def sample_ms(images: DegradedImageDataset, lq_size: int, samples: int, rounds: int) -> float:
    """CPU milliseconds of a sample."""
    sampler = Sampler(len(images), 0)

    def once() -> float:
        began = time.process_time()
        for position in range(samples):
            images.read(sampler[position], lq_size)
        return 1e3 * (time.process_time() - began) / samples

    once()
    return shortest(once, rounds)


class Stages:
    """A chain whose stages are timed."""

    def __init__(self, chain: Chain) -> None:
        self._chain, self.seconds = chain, Counter[str]()

    def __call__(self, image: Any, size: tuple[int, int], draws: Any, trace: Any = None) -> Any:
        """See `Chain`."""
        full = image.shape[:2]
        for stage, step in self._chain._steps(full, size, draws):
            began = time.process_time_ns()
            image, _ = step(image, draws.stage(stage))
            self.seconds[stage.name.lower()] += time.process_time_ns() - began
        return image.clip(0, 255).round()


def stage_ms(images: DegradedImageDataset, stages: Stages, lq_size: int, samples: int) -> dict[str, float]:
    """CPU milliseconds of every stage, a mean over the samples."""
    sampler = Sampler(len(images), 0)
    stages.seconds.clear()
    for position in range(samples):
        images.read(sampler[position], lq_size)
    return {name: nanoseconds / 1e6 / samples for name, nanoseconds in stages.seconds.items()}


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
        chain = chain_of(preset)
        total = sample_ms(DegradedImageDataset(photos, args.scale, chain), lq_size, args.samples, args.rounds)
        stages = Stages(chain)
        timed = DegradedImageDataset(photos, args.scale, stages)
        found = [stage_ms(timed, stages, lq_size, args.samples) for _ in range(args.rounds)]
        numbers[preset] = {"sample": total} | {
            stage.name.lower(): min(times.get(stage.name.lower(), 0.0) for times in found)
            for stage in StageOf
        }
    print(f"| CPU ms per sample | {' | '.join(numbers)} |\n|---|{'---:|' * len(numbers)}")
    for name in ("sample", *(stage.name.lower() for stage in StageOf if stage != StageOf.WAY)):
        print(f"| {name} | {' | '.join(f'{times[name]:.2f}' for times in numbers.values())} |")
    if args.json:
        args.json.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
