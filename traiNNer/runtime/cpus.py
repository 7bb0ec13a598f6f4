"""How many processors this process may use, which is often fewer than the machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path

import psutil

from traiNNer.runtime.cgroups import cgroup_files


def usable_cpus(system: Path = Path("/")) -> int:
    """The smallest of what the machine has, the affinity of this process and the quota of its cgroups.

    Args:
        system: The root of the file system that is asked.
    """
    return max(1, math.floor(min([_by_affinity(), *_quotas(system)])))


def _by_affinity() -> int:
    """Number of CPUs that `taskset`, Slurm or a container allows; all on macOS, which has no such thing."""
    try:
        return len(psutil.Process().cpu_affinity())
    except AttributeError:
        return os.cpu_count() or 1


def _quotas(system: Path) -> list[float]:
    """Processors that the cgroups allow, such as `docker run --cpus=2`, which affinity does not show."""
    found: list[float] = []
    for file in cgroup_files(system, "cpu", unified="cpu.max", legacy="cpu.cfs_quota_us"):
        quota, _, period = file.read_text(encoding="ascii").strip().partition(" ")
        if not period:
            period_file = file.with_name("cpu.cfs_period_us")
            period = period_file.read_text(encoding="ascii").strip() if period_file.exists() else "100000"
        if quota.isdigit() and int(quota) and int(period):  # "max" or -1: no limit
            found.append(int(quota) / int(period))
    return found
