"""How much memory the run uses of what it may use, behind one interface for CUDA, CPU and tests."""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path
from typing import Protocol

import psutil
import torch

from traiNNer.runtime.cgroups import cgroup_files

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


class MemoryTooSmallError(RuntimeError):
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
        held = torch.cuda.memory_reserved(self._device)
        usable = held + _unreserved(self._device, held)
        torch.cuda.reset_peak_memory_stats(self._device)
        return reserved / usable if usable else 0.0

    def restart(self) -> None:
        """See `MemorySource`. The allocator keeps what larger pieces took until it is told to let go."""
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)


class MpsMemory:
    """What Apple's driver has given this process against what it recommends as the most."""

    def peak(self) -> float:
        """See `MemorySource`. The driver keeps what was freed until it is told to let go: that is the peak."""
        return torch.mps.driver_allocated_memory() / torch.mps.recommended_max_memory()

    def restart(self) -> None:
        """See `MemorySource`."""
        torch.mps.empty_cache()


class HostMemory:
    """Resident set of this process against the memory of the machine or the cgroup.

    Where the process has a limit on its address space, that counts too: the larger share is the answer.

    Args:
        system: The root of the file system that is asked.
    """

    def __init__(self, system: Path = Path("/")) -> None:
        self._proc = system / "proc/self"
        self._limit = _physical_limit(system)
        self._space_limit = address_space_limit()
        self._process = psutil.Process()
        self._highest = 0
        self._can_lower = True
        self._lower_mark()

    def peak(self) -> float:
        """See `MemorySource`."""
        peak = self._peak_bytes()
        self._lower_mark()
        share = peak / self._limit
        if self._space_limit:  # the mark of the address space cannot be lowered
            now = self._process.memory_info()
            share = max(share, (now.vms + peak - now.rss) / self._space_limit)
        return share

    def restart(self) -> None:
        """See `MemorySource`."""
        if libc := _glibc():
            libc.malloc_trim(0)
        self._lower_mark()

    def _peak_bytes(self) -> int:
        """Linux keeps a high-water mark that can be lowered.

        Elsewhere the mark is of the whole life of the process: it tells the peak where it has risen since the
        last reading, as it does when work grows; else what is resident now has to do.
        """
        if self._can_lower and (marked := _reported(self._proc / "status", "VmHWM")) is not None:
            return marked
        before, self._highest = self._highest, _highest_resident(self._process)
        return self._highest if self._highest > before else self._process.memory_info().rss

    def _lower_mark(self) -> None:
        try:
            (self._proc / "clear_refs").write_text("5", encoding="ascii")  # proc_pid_clear_refs(5)
        except OSError:
            self._can_lower = False
            self._highest = _highest_resident(self._process)


def _highest_resident(process: psutil.Process) -> int:
    """The largest resident set since the process began, in bytes; 0 where the system does not say."""
    marked: int | None = getattr(process.memory_info(), "peak_wset", None)  # Windows
    if marked is not None:
        return marked
    try:
        import resource  # not on Windows
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


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


def named_memory(device: torch.device) -> str:
    """The device and the memory that processes on it share, to be compared with another day's."""
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        return f"{facts.name}, {facts.total_memory} bytes"
    limit = torch.mps.recommended_max_memory() if device.type == "mps" else host_memory_limit()
    return f"{device.type}, {limit} bytes"


def free_memory(device: torch.device) -> int:
    """What this process could still allocate on the device, in bytes; for devices that do not say, the host's."""
    if device.type == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device)
        return _unreserved(device, held) + held - torch.cuda.memory_allocated(device)
    now = psutil.Process().memory_info()
    limits = [_physical_limit(Path("/")) - now.rss, (address_space_limit() or sys.maxsize) - now.vms]
    return max(0, min(psutil.virtual_memory().available, *limits))


def _unreserved(device: torch.device, held: int) -> int:
    """What torch's allocator, which holds so many bytes of a card, could still fetch from the driver.

    The less of what is free and what `torch.cuda.set_per_process_memory_fraction` leaves it.
    """
    free, total = torch.cuda.mem_get_info(device)
    allowed = torch.cuda.memory.get_per_process_memory_fraction(device) * total
    return max(0, min(free, int(allowed) - held))


def _reported(file: Path, name: str) -> int | None:
    """Bytes of what a file of the kernel calls `name`; None where it does not say."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _physical_limit(system: Path) -> int:
    """The smaller of the machine's memory and what the process's cgroups allow, in bytes."""
    files = cgroup_files(system, "memory", unified="memory.max", legacy="memory.limit_in_bytes")
    allowed = [file.read_text(encoding="ascii").strip() for file in files]
    return min([psutil.virtual_memory().total, *(int(text) for text in allowed if text.isdigit())])


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
    if device.type == "cuda":
        return CudaMemory(device)
    return MpsMemory() if device.type == "mps" else HostMemory()
