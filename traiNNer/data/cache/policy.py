"""Where the decoded images of a data set are kept: in memory, on the disk or nowhere, and the reason in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from traiNNer.data.cache.disk import CacheInUse, CacheRefused, DiskCache, cache_paths
from traiNNer.data.cache.memory import Images, SharedImages, mib
from traiNNer.data.pairs.pair_sizes import LARGE, PairHeaders
from traiNNer.data.pairs.pairing import Pairs
from traiNNer.registry import ConfigError

_AUTO_SHARE, _MOST = 0.5, 0.95
"""Shares of a disk's free space, 0 to 1: what `auto` takes unasked, and the most that any cache takes."""
_TOO_LONG = f"more than {LARGE:,} pairs take long to decode, so that cache: disk has to be asked for"


@dataclass(frozen=True)
class CacheSettings:
    """What the configuration and the machine allow."""

    mode: Literal["auto", "ram", "disk", "off"] = "off"
    share: int = 0
    """Bytes of memory that `auto` may take for this set."""
    memory: int = 0
    """Bytes of memory that there are."""
    folder: Path | None = None
    """Folder of the caches on the disk; None: beside the images."""
    may_write: bool = True
    """Whether caches on the disk may be made, or only used."""
    threads: int = 1
    """That decode at the same time when a cache on the disk is made."""


NO_CACHE = CacheSettings()
"""Every image is decoded for every sample."""


class Kept(NamedTuple):
    """The decoded images of a data set."""

    gt: Images | None
    lq: Images | None
    where: str
    """Words for the log: where they are and why."""


def wants_all_headers(headers: PairHeaders, settings: CacheSettings) -> bool:
    """Whether the images are to be kept in memory, which takes the size of each."""
    needed = headers.decoded_bytes()
    return settings.mode == "ram" or (settings.mode == "auto" and needed <= settings.share)


def keep_decoded(pairs: Pairs, headers: PairHeaders, settings: CacheSettings) -> Kept:
    """Open the cache that the settings and the size of the images call for.

    Raises:
        ConfigError: If one is asked for by name that is not possible.
    """
    needed = headers.decoded_bytes()
    if wants_all_headers(headers, settings):
        if needed > settings.memory:
            raise ConfigError(
                f"cache: ram takes {mib(needed)}, and the memory is {mib(settings.memory)}; 'disk' or 'off' "
                "do without"
            )
        return Kept(SharedImages(headers.gt), SharedImages(headers.lq), "kept in memory once decoded")
    if settings.mode == "off":
        return Kept(None, None, "decoded for every sample")
    try:
        return _on_disk(pairs, headers, settings)
    except CacheInUse as refusal:
        return Kept(None, None, f"decoded for every sample: {refusal}")
    except CacheRefused as refusal:
        if settings.mode == "disk":
            raise ConfigError(f"cache: disk: {refusal}") from refusal
        return Kept(
            None,
            None,
            f"decoded for every sample: {mib(settings.share)} of memory do not hold them; {refusal}",
        )


def _on_disk(pairs: Pairs, headers: PairHeaders, settings: CacheSettings) -> Kept:
    sides = pairs.gt, pairs.lq
    paths = cache_paths(sides, settings.folder)
    unasked = settings.mode == "auto" and len(headers) > LARGE
    if unasked and not all(
        path.exists() for path in paths
    ):  # before a million files are asked for their state
        raise CacheRefused(_TOO_LONG)
    disk = DiskCache(sides, (headers.gt, headers.lq), settings.folder)
    if not disk.complete:
        if not settings.may_write:
            return Kept(None, None, "decoded for every sample: only a training makes the cache on the disk")
        if unasked:
            raise CacheRefused(_TOO_LONG)
        disk.build(_AUTO_SHARE if settings.mode == "auto" else _MOST, settings.threads)
    gt, lq = disk.images()
    reason = f", as {mib(settings.share)} of memory do not hold them" if settings.mode == "auto" else ""
    return Kept(gt, lq, f"kept on the disk ({', '.join(map(str, paths))}){reason}")
