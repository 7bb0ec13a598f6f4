"""How much memory the run uses of what it may use, behind one interface for CUDA, CPU and tests."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from pathlib import Path
from typing import Protocol

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_UNKNOWN_MACHINE = 8 * 2**30  # bytes, where the system does not say what it has


class OutOfMemoryError(RuntimeError):
    """Even the smallest piece of work does not fit."""


class MemorySource(Protocol):
    """Where the numbers on memory come from."""

    def peak(self) -> float:
        """Largest share of the usable memory since the last call, 0 to 1."""
        ...

    def restart(self) -> None:
        """Give back what is held for nothing, and measure from here on: the work has changed."""
        ...


class CudaMemory:
    """Reserved memory of this process against what is free on the card and what it already holds."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def peak(self) -> float:
        """See `MemorySource`. Asks the driver, which does not wait for the device."""
        reserved = torch.cuda.max_memory_reserved(self._device)
        free, _ = torch.cuda.mem_get_info(self._device)
        usable = free + torch.cuda.memory_reserved(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        return reserved / usable if usable else 0.0

    def restart(self) -> None:
        """See `MemorySource`. The allocator keeps what larger pieces took until it is told to let go."""
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)


class HostMemory:
    """Resident set of this process against the memory of the machine or the cgroup.

    Where the process has a limit on its address space, that counts too: the larger share is the answer.

    Args:
        system: The root of the file system that is asked.
    """

    def __init__(self, system: Path = Path("/")) -> None:
        self._process = system / "proc/self"
        self._limit = _physical_limit(system)
        self._space_limit = address_space_limit()
        self._mark = "VmHWM"
        self._lower_mark()

    def peak(self) -> float:
        """See `MemorySource`. The kernel keeps the high-water mark, and lowers it when asked to."""
        resident, peak, space = (self._bytes(name) for name in ("VmRSS", self._mark, "VmSize"))
        self._lower_mark()
        share = peak / self._limit
        if self._space_limit:  # the mark of the address space cannot be lowered
            share = max(share, (space + peak - resident) / self._space_limit)
        return share

    def restart(self) -> None:
        """See `MemorySource`."""
        if libc := _glibc():
            libc.malloc_trim(0)
        self._lower_mark()

    def _lower_mark(self) -> None:
        try:
            (self._process / "clear_refs").write_text("5")  # proc_pid_clear_refs(5): the high-water mark
        except OSError:
            self._mark = "VmRSS"  # a mark that never falls would be of no use

    def _bytes(self, name: str) -> int:
        """What the kernel calls `name`; 0 where the system does not say."""
        return _reported(self._process / "status", name) or 0


def keep_freed_memory() -> None:
    """Let the C library keep what a step frees, for the next step.

    It would give it back to the kernel and fetch it again page by page, which took a third of the CPU time of a
    step of small networks. `HostMemory.restart` gives it back where it matters. Other libraries than glibc are
    left as they are.
    """
    if libc := _glibc():
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)  # the largest that it accepts


def _glibc() -> ctypes.CDLL | None:
    """The C library of this process, if it is one with these functions."""
    try:
        libc = ctypes.CDLL(None)
        return libc if libc.mallopt and libc.malloc_trim else None
    except (AttributeError, OSError, TypeError):
        return None


def host_memory_limit() -> int:
    """The smallest of the machine's memory, the cgroup's limit and the address-space limit, in bytes."""
    return min(_physical_limit(Path("/")), address_space_limit() or sys.maxsize)


def free_memory(device: torch.device) -> int:
    """What this process could still allocate on the device, in bytes; for other devices than CUDA the host's."""
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held
    resident, space = (_reported(Path("/proc/self/status"), name) or 0 for name in ("VmRSS", "VmSize"))
    available = _reported(Path("/proc/meminfo"), "MemAvailable")
    limits = [_physical_limit(Path("/")) - resident, (address_space_limit() or sys.maxsize) - space]
    return max(0, min(limits if available is None else [available, *limits]))


def _reported(file: Path, name: str) -> int | None:
    """Bytes of what a file of the kernel calls `name`; None where it does not say."""
    text = file.read_text() if file.exists() else ""
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _physical_limit(system: Path) -> int:
    """The smaller of the machine's memory and what the process's cgroups allow, in bytes."""
    try:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):  # not on Windows
        machine = _UNKNOWN_MACHINE
    return min([machine, *_cgroup_limits(system)])


def _cgroup_limits(system: Path) -> list[int]:
    """Of the process's cgroup and those around it, of version 1 and 2."""
    membership = system / "proc/self/cgroup"
    limits: list[int] = []
    for line in membership.read_text().splitlines() if membership.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mounts = ("memory",) if controllers else ("", "unified")  # the second where both versions are in use
        file = "memory.limit_in_bytes" if controllers else "memory.max"
        inner = Path(path.lstrip("/"))
        places = (inner, *inner.parents)  # in a container only the last may exist
        files = [system / "sys/fs/cgroup" / mount / place / file for place in places for mount in mounts]
        limits += [int(t) for f in files if f.exists() and (t := f.read_text().strip()).isdigit()]
    return limits


def address_space_limit() -> int | None:
    """What `ulimit -v` allows this process, in bytes; None without a limit."""
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def memory_source(device: torch.device) -> MemorySource:
    """The source that fits the device."""
    return CudaMemory(device) if device.type == "cuda" else HostMemory()
