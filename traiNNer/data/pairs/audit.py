"""What the pixels of a data set say before training: whether pairs show the same picture in the same place.

Names and sizes are checked for every pair when a data set is opened. Here a sample of pairs is decoded, and
the LQ image compared with the ground truth shrunk to its size.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from traiNNer.data.images.image_io import ImageError
from traiNNer.data.images.resize import shrink
from traiNNer.data.paired_dataset import Excerpt
from traiNNer.data.pairs.registration import NO_DIFFERENCE, compare
from traiNNer.wording import command, counted, shortened

_PART = 256
"""Side of the central part that is compared, in LQ pixels."""
_LISTED = 20
_SHIFT = 0.3
"""GT pixels, median; taking every second pixel instead of the centres shifts by 0.5."""
_MOVED = 1.5
"""GT pixels, of a single pair."""
_OFFSET = 0.006
"""Share of full range: one and a half steps of 8 bits."""
_GAIN = 0.07
"""The range of television (16 to 235) has a gain of 0.86."""
_SAME = 0.7
"""Correlation; heavy blur, noise and compression stay above 0.9, another picture is near 0."""


class Pairs(Protocol):
    """What is asked of a data set here; see `traiNNer.data.training_set.TrainingSet`."""

    scale: int

    def __len__(self) -> int: ...

    def excerpt(self, index: int, lq_size: int) -> Excerpt: ...


@dataclass(frozen=True)
class Statistics:
    """Values of one side of the sampled pairs, as shares of the full range of their type."""

    dtypes: dict[str, int]
    """Images per type, after both sides of a pair were brought to one type."""
    low: float
    high: float
    mean: tuple[float, ...]
    """Per channel, red first, over the images."""
    deviation: tuple[float, ...]
    """Mean over the images of the standard deviation within each."""


@dataclass(frozen=True)
class Audit:
    """What a sample of pairs looks like, and what is wrong with it."""

    checked: int
    total: int
    scale: int
    lq: Statistics
    gt: Statistics
    shift: tuple[float, float]
    """Shift of LQ against GT to the right and down, median over the pairs, in GT pixels."""
    offset: tuple[float, ...]
    """LQ minus shrunk GT per channel, median over the pairs, as a share of full range."""
    gain: float
    """Contrast of LQ over that of shrunk GT, both a little blurred; median over the pairs."""
    findings: tuple[str, ...]
    """Sentences with the remedy; empty when all is well."""

    def lines(self) -> list[str]:
        """The audit as text, findings last and marked with `!`."""
        x, y = self.shift
        return [
            f"{self.checked} of {self.total} pairs compared; GT is {self.scale} times as large as LQ",
            *(_row(name, side) for name, side in (("LQ", self.lq), ("GT", self.gt))),
            f"LQ against GT: {x:+.2f} right, {y:+.2f} down (GT pixels); contrast {self.gain:.3f}; "
            f"offset R G B {_three(self.offset, '+.4f')}",
            *(f"! {finding}" for finding in self.findings),
        ]


class _Look(NamedTuple):
    """What one pair looks like. Arrays have a row for LQ and one for GT."""

    name: str
    dtype: str
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    shift: tuple[float, float]
    offset: NDArray[np.float64]
    gain: float
    correlation: float
    swapped: bool
    flat: bool
    equal: bool
    """Whether both sides have the same pixels."""
    digest: bytes
    """Hash of the whole GT."""


def audit(dataset: Pairs, count: int = 64, seed: int = 0) -> Audit:
    """Decode `count` pairs, chosen by `seed`, and compare their sides; one pair is in memory at a time.

    Raises:
        ImageError: If not one of them can be read.
    """
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:count]
    looks: list[_Look] = []
    unreadable: list[str] = []
    for index in sorted(chosen.tolist()):
        try:
            looks.append(_look(dataset.excerpt(index, _PART), dataset.scale))
        except ImageError as error:
            unreadable.append(str(error))
    if not looks:
        raise ImageError(f"none of {len(chosen)} pairs can be read:\n{_listing(unreadable)}")
    telling = [look for look in looks if not look.flat and look.correlation > _SAME] or looks
    shift = tuple(np.median([look.shift for look in telling], axis=0).tolist())
    offset = tuple(np.median([look.offset for look in telling], axis=0).tolist())
    gain = float(np.median([look.gain for look in telling]))
    sides = _statistics(looks, 0), _statistics(looks, 1)
    findings = [
        *_about_values(sides, offset, gain),
        *_about_places(telling, shift),
        *_about_single(looks),
    ]
    if unreadable:
        findings.append(
            f"{counted(len(unreadable), 'pair')} cannot be read; mend or remove them:\n{_listing(unreadable)}"
        )
    return Audit(len(looks), len(dataset), dataset.scale, *sides, shift, offset, gain, tuple(findings))


def _look(excerpt: Excerpt, scale: int) -> _Look:
    pair = excerpt.pair
    assert pair.gt is not None, "an audit needs ground truth"
    top = float(np.iinfo(pair.gt.dtype).max)
    y, x = (max(0, (size - _PART) // 2) for size in pair.lq.shape[:2])
    k, size = scale, _PART
    lq = pair.lq[y : y + size, x : x + size] / top
    gt = pair.gt[y * k : (y + size) * k, x * k : (x + size) * k] / top
    small = shrink(gt, scale)
    flat = bool(gt.std(axis=(0, 1)).max() < 1 / 255)
    compared = NO_DIFFERENCE if flat else compare(small.mean(axis=2), lq.mean(axis=2))
    straight, crossed = ((lq - small) ** 2).mean(), ((lq - small[..., ::-1]) ** 2).mean()
    return _Look(
        name=pair.name,
        dtype=str(pair.gt.dtype),
        low=np.array([lq.min(), gt.min()]),
        high=np.array([lq.max(), gt.max()]),
        mean=np.stack([lq.mean(axis=(0, 1)), gt.mean(axis=(0, 1))]),
        deviation=np.stack([lq.std(axis=(0, 1)), gt.std(axis=(0, 1))]),
        shift=(compared.shift[0] * scale, compared.shift[1] * scale),
        offset=(lq - small).mean(axis=(0, 1)),
        gain=compared.gain,
        correlation=compared.correlation,
        swapped=bool(crossed < 0.25 * straight and straight > 1e-4),
        flat=flat,
        equal=np.array_equal(pair.lq, pair.gt),
        digest=hashlib.blake2b(np.ascontiguousarray(excerpt.gt).data, digest_size=16).digest(),
    )


def _statistics(looks: Sequence[_Look], side: int) -> Statistics:
    return Statistics(
        dtypes=dict(Counter(look.dtype for look in looks)),
        low=float(min(look.low[side] for look in looks)),
        high=float(max(look.high[side] for look in looks)),
        mean=tuple(np.mean([look.mean[side] for look in looks], axis=0).tolist()),
        deviation=tuple(np.mean([look.deviation[side] for look in looks], axis=0).tolist()),
    )


def _about_values(
    sides: tuple[Statistics, Statistics], offset: tuple[float, ...], gain: float
) -> Iterator[str]:
    for name, side in zip(("LQ", "GT"), sides, strict=True):
        if side.high < 0.3:
            yield (
                f"{name} has no value above {side.high:.4f} of the full range: are these 8, 10 or 12 bits in "
                "16-bit files? Multiply them to the full range"
            )
    if max(map(abs, offset)) > _OFFSET or abs(gain - 1) > _GAIN:
        yield (
            f"LQ differs from shrunk GT in brightness: offset R G B {_three(offset, '+.4f')} of full range, "
            f"contrast {gain:.3f}. The network would learn to change colours: bring both to the same range, "
            f"or make LQ again ({command('lr')})"
        )


def _about_places(looks: Sequence[_Look], shift: tuple[float, float]) -> Iterator[str]:
    if max(map(abs, shift)) > _SHIFT:
        yield (
            f"LQ is shifted against GT by {shift[0]:+.2f} right and {shift[1]:+.2f} down (GT pixels). The "
            f"network would learn to shift: make LQ in a way that keeps pixel centres ({command('lr')})"
        )
        return
    moved = [look for look in looks if max(map(abs, look.shift)) > _MOVED]
    if moved:
        items = [f"{look.name} by {look.shift[0]:+.1f} right, {look.shift[1]:+.1f} down" for look in moved]
        pairs = counted(len(moved), "pair is", "pairs are")
        yield f"{pairs} shifted (GT pixels); align or remove them:\n{_listing(items)}"


def _about_single(looks: Sequence[_Look]) -> Iterator[str]:
    by_digest: dict[bytes, list[str]] = {}
    for look in looks:
        by_digest.setdefault(look.digest, []).append(look.name)
    total = f"of {len(looks)} pairs have"
    swapped = (
        f"{total} red and blue swapped in LQ or GT (BGR for RGB); save one side with its channels reversed"
    )
    equal = f"{total} the same pixels in LQ and GT, from which a network learns to change nothing; "
    found = (
        ([look.name for look in looks if look.swapped], swapped, swapped),
        (
            [look.name for look in looks if look.correlation < _SAME],
            "pair does not show the same picture; check its names",
            "pairs do not show the same picture; check their names",
        ),
        ([look.name for look in looks if look.equal], *[f"{equal}is dataroot_lq right?"] * 2),
        (
            [look.name for look in looks if look.flat],
            "GT image is of one colour and teaches nothing; remove it",
            "GT images are of one colour and teach nothing; remove them",
        ),
        (
            [" = ".join(names) for names in by_digest.values() if len(names) > 1],
            "GT image occurs more than once; keep one of each",
            "GT images occur more than once; keep one of each",
        ),
    )
    for names, one, many in found:
        if names:
            yield f"{counted(len(names), one, many)}:\n{_listing(names)}"


def _row(name: str, side: Statistics) -> str:
    types = ", ".join(f"{count} {dtype}" for dtype, count in side.dtypes.items())
    return (
        f"{name}: {types}; {side.low:.3f} to {side.high:.3f}; mean R G B {_three(side.mean)}, "
        f"deviation {_three(side.deviation)}"
    )


def _three(values: Sequence[float], form: str = ".3f") -> str:
    return " ".join(format(value, form) for value in values)


def _listing(items: Sequence[str]) -> str:
    return "\n".join(f"  {line}" for line in shortened(items, _LISTED))
