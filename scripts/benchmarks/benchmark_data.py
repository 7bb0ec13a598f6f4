"""Measures what a training sample costs the processor, and what a large set costs at the start.

    python scripts/benchmarks/benchmark_data.py --photos ../shared/data/train/General100/HR --json data.json
    python scripts/benchmarks/benchmark_data.py --caches --growth 100 10000 1000000

The first table is of the loader: CPU milliseconds per sample, from position to batch, for formats, image sizes
and caches. Everything is decoded before it is timed, but with `off`; a file on the disk is mapped anew for every
round, as pages of a large one are. The second table is of sets of many tiny files: opening them, and then reading.

CPU time of this process counts, system calls included, not the clock: waiting for a disk does not matter. Of
several rounds the shortest counts: what other programs push out of a processor's caches only adds. Photographs are
drawn where none are given (--photos).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from traiNNer.data.cache.policy import CacheSettings
from traiNNer.data.images.image_io import Pixels, read_image, write_image
from traiNNer.data.images.resize import shrink
from traiNNer.data.loader import Batch, TrainLoader
from traiNNer.data.paired_dataset import PairedImageDataset
from traiNNer.data.pairs.pairing import find_images
from traiNNer.data.synthetic import dead_leaves
from traiNNer.runtime.memory import keep_freed_memory

SCALE, BATCH = 2, 16
SIZES = {"256": (256, 256, 96), "2K": (1356, 2040, 12)}
"""Height and width of the ground truth, and how many images; 2040x1356 is the size of DIV2K."""
FORMATS = {"png": (".png", 8), "jpg": (".jpg", 8), "webp": (".webp", 8), "png16": (".png", 16)}
_MEMORY = 2**40
_LINKS = 50_000  # names that one file gets; ext4 allows 65,000


class Sample(NamedTuple):
    """The cost of a sample in one setting."""

    size: str
    format: str
    cache: str
    cpu_ms: float


class Start(NamedTuple):
    """The cost of a set of many files."""

    pairs: int
    open_cpu_s: float
    open_s: float
    peak_mib: float
    """Rise of the process's memory while the set was opened."""
    kept_mib: float
    """Rise after it was opened."""
    epoch_cpu_ms: float
    """The first sample, which draws the order of the epoch."""
    sample_cpu_ms: float
    """CPU time of each following sample, whose files are decoded, in milliseconds."""


# --- samples -----------------------------------------------------------------------------------------------


def measure_samples(arguments: argparse.Namespace, folder: Path) -> Iterator[Sample]:
    """Every size, format and cache."""
    for size in arguments.sizes:
        for kind in arguments.formats:
            root = folder / f"{size}_{kind}"
            make_images(root, size, kind, arguments.photos)
            for mode in arguments.caches:
                yield Sample(size, kind, mode, sample_ms(root, mode, arguments.lq_size, arguments.rounds))


def make_images(root: Path, size: str, kind: str, photos: Path | None) -> None:
    """Ground truth and LQ of one size and format, the LQ of small photographs upscaled to that size."""
    height, width, count = SIZES[size]
    suffix, bits = FORMATS[kind]
    scenes = [read_image(photos / name) for name in find_images(photos)[:count]] if photos else _drawn()
    for number in range(count):
        image = scenes[number % len(scenes)]
        gt = np.roll(_enlarged(image, height, width), 7 * number, axis=1)  # no two are equal
        if bits == 16:
            gt = gt.astype(np.uint16) * np.uint16(257)
        write_image(root / f"HR/{number:03}{suffix}", gt)
        write_image(root / f"LR/{number:03}{suffix}", shrink(gt, SCALE))


@cache
def _drawn() -> list[NDArray[np.uint8]]:
    return [dead_leaves(256, 0, number) for number in range(4)]


def _enlarged(image: Pixels, height: int, width: int) -> NDArray[np.uint8]:
    factor = max(height / image.shape[0], width / image.shape[1], 1)
    large = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(large[:height, :width], np.uint8)


def sample_ms(root: Path, mode: Any, lq_size: int, rounds: int) -> float:
    """CPU milliseconds of a sample, in the shortest of the rounds."""

    def opened() -> PairedImageDataset:
        return PairedImageDataset(
            [root / "HR"], [root / "LR"], SCALE, cache=CacheSettings(mode, _MEMORY, _MEMORY)
        )

    images = opened()
    for index in range(len(images) if mode == "ram" else 0):
        images.pair(index)
    found: list[float] = []
    for number in range(1 if mode == "off" else rounds):
        images = opened() if mode == "disk" else images
        batches = TrainLoader(images, 0).batches(number * len(images), BATCH, lq_size)
        next(batches)  # the order of the epoch, and what else happens once
        steps = 1 if mode == "off" else len(images) // BATCH + 1
        found.append(_cpu_ms(batches, steps) / (steps * BATCH))
    return min(found)


def _cpu_ms(batches: Iterator[Batch], steps: int) -> float:
    began = time.process_time()
    for _ in range(steps):
        next(batches)
    return 1e3 * (time.process_time() - began)


# --- many files --------------------------------------------------------------------------------------------


def make_names(root: Path, pairs: int) -> None:
    """As many pairs of names for a few files of 8 and 4 pixels."""
    for folder, side in (("HR", 8), ("LR", 4)):
        (root / folder).mkdir(parents=True)
        for number in range(pairs):
            file = root / f"{folder}_{number // _LINKS}.png"
            if number % _LINKS == 0:
                write_image(file, np.full((side, side, 3), 128, np.uint8))
            os.link(file, root / folder / f"picture_{number:07}.png")


def measure_start(root: Path, pairs: int) -> Start:
    """Open a set and read some samples of it. Meant for a process of its own."""
    before, began, cpu = _memory(), time.monotonic(), time.process_time()
    no_room = CacheSettings("auto", 0, _MEMORY)  # what usual images leave; these tiny ones would be kept
    images = PairedImageDataset([root / "HR"], [root / "LR"], SCALE, cache=no_room)
    opened = time.process_time() - cpu, time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    kept = _memory() - before
    batches = TrainLoader(images, 0).batches(0, 1, 4)
    first = _cpu_ms(batches, 1)
    each = _cpu_ms(batches, 200) / 200
    return Start(pairs, *opened, max(0, peak) / 2**20, kept / 2**20, first, each)


def _memory() -> int:
    """Resident bytes of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * resource.getpagesize()


def measure_growth(sizes: Sequence[int], folder: Path) -> Iterator[Start]:
    """Each size in a process of its own: the highest memory of a process never falls."""
    for pairs in sizes:
        root = folder / f"{pairs}_files"
        make_names(root, pairs)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield pool.submit(measure_start, root, pairs).result()


# --- the command line --------------------------------------------------------------------------------------


def _arguments() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--photos", type=Path, help="folder of photographs to make the images of")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--caches", nargs="*", choices=("off", "ram", "disk"), default=["off", "ram", "disk"])
    parser.add_argument("--lq-size", type=int, default=48, help="side of the LQ patch, in pixels")
    parser.add_argument("--rounds", type=int, default=100, help="rounds to take the shortest of")
    parser.add_argument("--growth", nargs="+", type=int, default=[], help="sets of so many pairs to open")
    parser.add_argument("--folder", type=Path, help="where to make the images (default: a temporary folder)")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    return parser.parse_args()


def main() -> None:
    """Makes the images, measures, prints Markdown tables."""
    arguments = _arguments()
    keep_freed_memory()  # as every run does on a CPU
    samples: list[Sample] = []
    starts: list[Start] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        if arguments.caches:
            print("| image | format | cache | CPU ms per sample |\n|---|---|---|---:|")
            for sample in measure_samples(arguments, Path(folder)):
                samples.append(sample)
                print(
                    f"| {sample.size} | {sample.format} | {sample.cache} | {sample.cpu_ms:.3f} |", flush=True
                )
        if arguments.growth:
            print(
                "\n| pairs | open, CPU s | by the clock | peak, MiB | kept, MiB | first sample, CPU ms | others |"
            )
            print("|---:|---:|---:|---:|---:|---:|---:|")
            for start in measure_growth(arguments.growth, Path(folder)):
                starts.append(start)
                cells = [f"{start.pairs:,}", *(f"{value:.2f}" for value in start[1:])]
                print(f"| {' | '.join(cells)} |", flush=True)
    if arguments.json:
        numbers = {"samples": [s._asdict() for s in samples], "starts": [s._asdict() for s in starts]}
        arguments.json.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
