"""How long a path may be, and which names are one."""

from __future__ import annotations

import sys
from pathlib import Path

_OF_WINDOWS = 259  # MAX_PATH without the zero at its end


def path_limit() -> int | None:
    """Characters that the path of a file may have, or None where nobody reaches the limit.

    Windows takes 259 unless its registry allows more to programs that ask for it, as Python does. Paths that begin
    with two backslashes, ? and another pass without that, but must be absolute in every library that opens a file.
    """
    if sys.platform != "win32":
        return None
    import winreg

    try:
        with winreg.OpenKey(
            winreg.HKEY_LOCAL_MACHINE, r"SYSTEM\CurrentControlSet\Control\FileSystem"
        ) as settings:
            allowed, _ = winreg.QueryValueEx(settings, "LongPathsEnabled")
    except OSError:
        allowed = 0
    return None if allowed else _OF_WINDOWS


def caseless_stem(name: str | Path) -> str:
    """A relative path without its suffix, as Windows and macOS tell names apart."""
    return str(Path(name).with_suffix("")).casefold()


def folds_case() -> bool:
    """Whether names that differ by upper and lower case alone are one file here, as they are by default."""
    return sys.platform in ("win32", "darwin")
