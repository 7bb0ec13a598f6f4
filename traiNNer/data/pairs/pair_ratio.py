"""One cause behind many misfits: pairs that are all off by the same ratio."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from traiNNer.data.images.image_header import Header
from traiNNer.wording import command

_MOST = 0.9
"""Share of the pairs that must be off by one ratio for it to be the cause."""
_LARGEST = 64


class Misfit(NamedTuple):
    """Headers of a pair that does not fit."""

    gt: Header
    lq: Header


def common_cause(misfits: Collection[Misfit], pairs: int, scale: int) -> str:
    """What is wrong with nearly all of the pairs, in one line, or nothing.

    Args:
        misfits: The pairs that do not fit.
        pairs: Number of those that were looked at.
        scale: Height and width of GT over those of LQ, as the options say.
    """
    if pairs < 2 or len(misfits) < _MOST * pairs:
        return ""
    (ratio, count), *_ = Counter(_ratio(*misfit) for misfit in misfits).most_common(1)
    if ratio == 0 or count < _MOST * pairs:
        return ""
    which = f"in {count:,} of {pairs:,} pairs"
    if ratio == 1:
        return (
            f"GT and LQ are of the same size {which}, and scale is {scale}: dataroot_lq should hold images made "
            f"smaller by {scale} ({command('lr')})"
        )
    if ratio > 1:
        return f"GT is {ratio} times LQ {which}: scale should be {ratio} (it is {scale})"
    word = {-2: "half", -3: "a third", -4: "a quarter"}.get(ratio, f"1/{-ratio}")
    also = "" if -ratio == scale else f", and scale should be {-ratio} (it is {scale})"
    return f"GT is {word} of LQ {which}: dataroot_gt and dataroot_lq are swapped{also}"


def _ratio(gt: Header, lq: Header) -> int:
    """GT over LQ; negative where LQ is the larger (-2: half of it); 0 where there is no whole ratio."""
    larger, smaller, sign = (gt, lq, 1) if gt.height >= lq.height else (lq, gt, -1)
    ratio = larger.height // smaller.height if smaller.height else 0
    off = (larger.height - ratio * smaller.height, larger.width - ratio * smaller.width)
    whole = 0 < ratio <= _LARGEST and all(0 <= rest < ratio for rest in off)
    return sign * ratio if whole and ratio > 1 else int(whole)
