"""How much memory the run uses of what it may use, behind one interface for CUDA, CPU and tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import torch

_UNKNOWN_MACHINE = 8 * 2**30  # bytes, where the system does not say what it has


class MemorySource(Protocol):
    """Where the numbers on memory come from."""

    def peak(self) -> float:
        """Largest share of the usable memory since the last call, 0 to 1."""
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


class HostMemory:
    """Resident set of this process against the machine's memory, the cgroup's or the process's own limit."""

    def __init__(self) -> None:
        self.limit = host_memory_limit()

    def peak(self) -> float:
        """See `MemorySource`. What is in use now: the kernel's own high-water mark never falls."""
        return resident_bytes() / self.limit


def resident_bytes() -> int:
    """Memory of this process that lies in RAM, in bytes; 0 where the system does not say."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def host_memory_limit() -> int:
    """The smallest of the machine's memory, the cgroup's limit and the address-space limit, in bytes."""
    try:
        import resource  # not on Windows
    except ImportError:
        return _UNKNOWN_MACHINE
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        path = Path(name)
        if path.exists() and (text := path.read_text().strip()).isdigit():
            limits.append(int(text))
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        limits.append(soft)
    return min(limits)


def memory_source(device: torch.device) -> MemorySource:
    """The source that fits the device."""
    return CudaMemory(device) if device.type == "cuda" else HostMemory()
