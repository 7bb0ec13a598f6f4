"""Samples of a training set whose LQ images are made, looked at before the training."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from traiNNer.data.degradations.chain import Applied
from traiNNer.data.degradations.resizing import resize
from traiNNer.data.degraded_dataset import DegradedImageDataset
from traiNNer.data.image_io import eight_bits
from traiNNer.data.sampler import Sampler


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
    images: DegradedImageDataset, seed: int, size: int, positions: Iterable[int]
) -> list[Sample]:
    """The samples of a run at these positions; LQ patches have `size` pixels. Raises ImageError."""
    sampler, names = Sampler(len(images), seed), images.names
    samples = []
    for position in positions:
        spec, trace = sampler[position], list[Applied]()
        began = time.thread_time()
        lq, gt = (eight_bits(part) for part in images.traced(spec, size, trace))
        ms = 1e3 * (time.thread_time() - began)
        clean = np.rint(np.clip(resize(gt.astype(np.float32), size, size, "bicubic"), 0, 255)).astype(
            np.uint8
        )
        samples.append(Sample(position, names[spec.index], gt, clean, lq, trace, ms))
    return samples


def summary(samples: Sequence[Sample]) -> Iterator[str]:
    """What they cost and how far they are from clean ones, in lines."""
    psnr = sorted(sample.psnr for sample in samples)
    low, middle, high = (psnr[int(share * (len(psnr) - 1))] for share in (0.1, 0.5, 0.9))
    at_ends = [
        np.mean((image == 0) | (image == 255)) for sample in samples for image in (sample.lq, sample.clean)
    ]
    clipped = float(np.mean(at_ends[::2]) - np.mean(at_ends[1::2]))
    cost = float(np.median([sample.ms for sample in samples]))
    yield (
        f"{len(samples)} samples from position {samples[0].position}: {cost:.1f} ms of CPU time each (median, "
        "reading included)"
    )
    yield f"LQ against bicubic: {low:.1f} dB (a tenth is below), {middle:.1f} (median), {high:.1f}"
    yield f"values at black or white: {100 * clipped:+.1f} % of all against bicubic"
