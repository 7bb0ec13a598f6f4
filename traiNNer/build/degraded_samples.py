"""Samples of a training set whose LQ images are made, looked at before the training."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from traiNNer.data.degradations.chain import Applied
from traiNNer.data.degradations.resizing import resize
from traiNNer.data.degraded_dataset import DegradedImageDataset
from traiNNer.data.images.image_io import ImageError, eight_bits
from traiNNer.data.sampler import Sampler
from traiNNer.wording import counted


class Sample(NamedTuple):
    """One sample of the stream."""

    position: int
    name: str
    gt: NDArray[np.uint8]
    clean: NDArray[np.uint8]
    """What bicubic shrinking alone would leave."""
    lq: NDArray[np.uint8]
    trace: list[Applied]
    ms: float
    """CPU time that it took, in milliseconds; reading included, but not decoding where decoded images are kept."""

    @property
    def psnr(self) -> float:
        """PSNR of LQ against the clean one, in dB."""
        error = np.mean((self.lq.astype(np.float64) - self.clean) ** 2)
        return float(10 * np.log10(255**2 / max(error, 1e-4)))

    def record(self) -> dict[str, Any]:
        """For the JSON lines."""
        stages = [{"stage": a.stage, **a.parameters} for a in self.trace]
        return {"position": self.position, "image": self.name, "psnr": round(self.psnr, 2), "stages": stages}


def draw_samples(
    images: DegradedImageDataset,
    seed: int,
    size: int,
    positions: Iterable[int],
    *,
    clock: Callable[[], float] = time.thread_time,
) -> list[Sample]:
    """The samples of a run at these positions; LQ patches have `size` pixels. Raises ImageError.

    Args:
        images: The training set.
        seed: Of the run.
        size: Pixels.
        positions: In the stream.
        clock: Seconds of CPU time.
    """
    with _one_thread():
        sampler, wanted = Sampler(len(images), seed), list(positions)
        for position in wanted[:1]:
            _drawn(images, sampler, position, size, clock)  # a process makes its tables with the first sample
        return [_drawn(images, sampler, position, size, clock) for position in wanted]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """As in a worker."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _drawn(
    images: DegradedImageDataset, sampler: Sampler, position: int, size: int, clock: Callable[[], float]
) -> Sample:
    spec, trace = sampler[position], list[Applied]()
    images.files.gt_image(spec.index)  # decodes it where it is kept: later epochs find it
    began = clock()
    lq, gt = (eight_bits(part) for part in images.traced(spec, size, trace))
    ms = 1e3 * (clock() - began)
    clean = np.rint(np.clip(resize(gt.astype(np.float32), size, size, "bicubic"), 0, 255)).astype(np.uint8)
    return Sample(position, images.names[spec.index], gt, clean, lq, trace, ms)


def readable_samples(
    images: DegradedImageDataset,
    seed: int,
    size: int,
    count: int,
    *,
    clock: Callable[[], float] = time.thread_time,
) -> list[Sample]:
    """`draw_samples` of the first positions without those whose image cannot be read, which a run replaces."""
    readable, sampler = list[int](), Sampler(len(images), seed)
    for position in range(count):
        with contextlib.suppress(ImageError):
            images.files.gt_image(sampler[position].index)
            readable.append(position)
    return draw_samples(images, seed, size, readable, clock=clock)


def cost_ms(samples: Sequence[Sample]) -> float:
    """CPU time of a sample, the median."""
    return statistics.median(sample.ms for sample in samples)


def summary(samples: Sequence[Sample]) -> Iterator[str]:
    """What they cost and how far they are from clean ones, in lines."""
    psnr = sorted(sample.psnr for sample in samples)
    low, middle, high = (psnr[int(share * (len(psnr) - 1))] for share in (0.1, 0.5, 0.9))
    at_ends = [
        np.mean((image == 0) | (image == 255)) for sample in samples for image in (sample.lq, sample.clean)
    ]
    clipped = float(np.mean(at_ends[::2]) - np.mean(at_ends[1::2]))
    which = f"{counted(len(samples), 'sample')} from position {samples[0].position}"
    yield f"{which}: {cost_ms(samples):.1f} ms of CPU time each (median, reading included)"
    yield f"LQ against bicubic: {low:.1f} dB (a tenth is below), {middle:.1f} (median), {high:.1f}"
    yield f"values at black or white: {round(100 * clipped, 1) + 0.0:+.1f} % of all against bicubic"
