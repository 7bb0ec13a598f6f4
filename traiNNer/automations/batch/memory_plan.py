"""Sizes that fit into memory: divisors of a batch, and a line through measured peaks."""

from __future__ import annotations


def divisors(batch: int) -> list[int]:
    """In rising order: the micro-batches that split a batch evenly."""
    return [size for size in range(1, batch + 1) if batch % size == 0]


def largest_fitting(first: tuple[int, float], second: tuple[int, float], limit: float, most: int) -> int:
    """The largest batch whose memory, on the line through two probes, stays at or below `limit`.

    Probes are (samples, peak memory as a share); memory(b) = a + c b. At least 1, at most `most`.
    """
    (b0, m0), (b1, m1) = sorted((first, second))
    if b0 == b1:
        raise ValueError(f"the probes need two different batches (got {b0} twice)")
    slope = max((m1 - m0) / (b1 - b0), 1e-12)
    return max(1, min(most, int(b0 + (limit - m0) / slope + 1e-9)))


def grown(
    batch: int, micro_batch: int, *, peak: float, limit: float, most: int, failed: int
) -> tuple[int, int] | None:
    """The next larger batch and its micro-batch: at most half as much again, in equal whole micro-batches.

    A micro-batch must stay below `failed` and, by proportion to `peak`, at or below `limit` of the memory:
    an upper bound, since part of the memory does not depend on it. None if nothing larger is possible.
    """
    for larger in range(min(batch * 3 // 2, most), batch, -1):
        for size in reversed(divisors(larger)):
            if size < failed and (size <= micro_batch or peak * size / micro_batch <= limit):
                if size * 2 > micro_batch:
                    return larger, size
                break
    return None
