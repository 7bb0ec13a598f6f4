"""Which images are kept, which are dropped and why, and which are for validation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from traiNNer.data.preparing.measures import Measures

Fate = Literal["train", "val", "dropped"]


@dataclass(frozen=True)
class Limits:
    """Thresholds; an image at a threshold is kept."""

    min_side: int = 256
    """Pixels of the shorter side."""
    min_contrast: float = 8.0
    min_sharpness: float = 8.0
    max_blockiness: float = 1.2
    min_jpeg_quality: int = 75
    max_hash_distance: int = 6
    """Bits of 64 in which the hashes of near-duplicates differ at most; -1 keeps them."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of one image."""

    fate: Fate
    reason: str = ""
    """Why it was dropped: the measure, its value and the threshold."""
    kind: str = ""
    """The name of that measure."""


def select(
    found: Mapping[str, Measures], limits: Limits, val_share: float, val_most: int
) -> dict[str, Verdict]:
    """A verdict for every file, in the order of the names; a pure function of the measures.

    Near-duplicates leave the one with the most pixels (of equal ones the first name). Validation takes the
    files whose hash is below the share, at least one: new files do not move the others.
    """
    verdicts: dict[str, Verdict] = {}
    for name in sorted(found):
        kind, reason = _fault(found[name], limits)
        if kind:
            verdicts[name] = Verdict("dropped", reason, kind)
    left = [name for name in sorted(found) if name not in verdicts]
    for name, other in near_duplicates({n: found[n] for n in left}, limits.max_hash_distance).items():
        verdicts[name] = Verdict("dropped", f"nearly the same as {other}", "duplicate")
    kept = [name for name in left if name not in verdicts]
    places = {name: _place(found[name]) for name in kept}
    in_order = sorted(kept, key=places.__getitem__)
    chosen = [name for name in in_order if places[name] < val_share] or in_order[: val_share > 0]
    for name in chosen[: min(val_most, len(kept) - 1)]:
        verdicts[name] = Verdict("val")
    return {name: verdicts.get(name, Verdict("train")) for name in sorted(found)}


def _place(m: Measures) -> float:
    """Even in 0 to 1, by the content of the file."""
    return int.from_bytes(hashlib.sha256(m.sha256.encode()).digest()[:8]) / 2**64


def _fault(m: Measures, limits: Limits) -> tuple[str, str]:
    """(kind, sentence) of the first thing that is wrong; empty for a good image."""
    if m.problem:
        return "unreadable", m.problem
    rules = [
        ("too small", "shorter side", min(m.width, m.height), limits.min_side),
        ("flat", "contrast", m.contrast, limits.min_contrast),
        ("out of focus", "sharpness", m.sharpness, limits.min_sharpness),
        ("compressed", "JPEG quality", m.jpeg_quality, limits.min_jpeg_quality),
        ("compressed", "blockiness", -m.blockiness, -limits.max_blockiness),
    ]
    for kind, word, value, least in rules:
        if value < least:
            return kind, f"{kind}: {word} {abs(value):g}, limit {abs(least):g}"
    return "", ""


def near_duplicates(found: Mapping[str, Measures], distance: int) -> dict[str, str]:
    """Files to drop, each with the one that stays for it."""
    if distance < 0:
        return {}
    # the best first: what stays is never dropped for another
    names = sorted(found, key=lambda name: (-found[name].width * found[name].height, name))
    hashes = np.array([int(found[name].phash, 16) for name in names], np.uint64)
    kept: list[int] = []
    dropped: dict[str, str] = {}
    for number, name in enumerate(names):
        near = _nearest(hashes[kept], hashes[number], distance)
        if near is None:
            kept.append(number)
        else:
            dropped[name] = names[kept[near]]
    return dropped


def _nearest(hashes: NDArray[np.uint64], one: np.uint64, distance: int) -> int | None:
    if not len(hashes):
        return None
    bits = np.bitwise_count(hashes ^ one)
    best = int(bits.argmin())
    return best if bits[best] <= distance else None
