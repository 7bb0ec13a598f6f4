"""Where Linux keeps what the process's cgroups allow, of version 1 and 2."""

from __future__ import annotations

from pathlib import Path


def cgroup_files(system: Path, controller: str, *, unified: str, legacy: str) -> list[Path]:
    """The existing files of one limit, for the process's cgroup and those around it.

    Args:
        system: The root of the file system that is asked.
        controller: `memory` or `cpu`.
        unified: Name of the file in version 2.
        legacy: Name of the file in version 1.
    """
    membership = system / "proc/self/cgroup"
    found: list[Path] = []
    for line in membership.read_text(encoding="utf-8").splitlines() if membership.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mounts = (controllers, controller) if controllers else ("", "unified")  # the second: both are in use
        inner = Path(path.lstrip("/"))
        places = (inner, *inner.parents)  # in a container only the last may exist
        names = [Path(mount) / place for place in places for mount in dict.fromkeys(mounts)]
        files = [system / "sys/fs/cgroup" / name / (legacy if controllers else unified) for name in names]
        found += [file for file in files if file.exists()]
    return found
