"""How messages write counts (1 image, 2 images), sizes, long lists (a, b, and 3 more), commands to be copied."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Sequence
from itertools import islice
from pathlib import Path

_PLAIN = re.compile(r"[\w./\\:=+?-]+")
"""What needs no quotes in PowerShell, where brackets and commas are operators."""
_FILES = {
    "train": "train.py",
    "lr": "scripts/make_lr.py",
    "preview": "scripts/preview_degradations.py",
    "upscale": "scripts/upscale.py",
    "export": "scripts/export.py",
}
"""Verbs that messages name, and where they are in a checkout."""


def counted(count: int, one: str, many: str = "", *, form: str = "") -> str:
    """A count with its noun.

    Args:
        count: Not negative.
        one: The noun in the singular, with what else differs: `pair is`.
        many: The same in the plural where that is not made by adding an s.
        form: How the number is written, as in a format string.
    """
    return f"{count:{form}} {one if count == 1 else many or one + 's'}"


def amount(count: int) -> str:
    """Bytes in words: `96 KiB`, `1.5 GiB`."""
    power = min(4, max(0, count.bit_length() - 1) // 10)
    shown = f"{count / 2 ** (10 * power):.3g}"
    return f"{shown} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def shortened(items: Collection[str], most: int) -> list[str]:
    """The first `most` of them, and where there are others, how many more."""
    more = len(items) - most
    return [*islice(items, most), *([f"and {more:,} more"] if more > 0 else [])]


def no_file(path: Path) -> str:
    """What stands where a file should be, in words."""
    return "is a folder, not a file" if path.is_dir() else "no such file"


def no_folder(path: str | Path) -> str:
    """What stands where a folder should be, in words; of a relative path also where it was looked for."""
    if Path(path).exists():
        return "is a file, not a folder"
    return "is not a folder" + ("" if Path(path).is_absolute() else f" (seen from {Path.cwd()})")


def program(verb: str) -> list[str]:
    """How a command begins: in a checkout with its file, elsewhere with the command that is installed."""
    return ["python", _FILES[verb]] if Path(_FILES[verb]).is_file() else ["trainner", verb]


def shell_line(*words: str | Path) -> str:
    """A command line in the quoting of this system's shell."""
    return line_of([str(word) for word in words], windows=os.name == "nt")


def line_of(words: Sequence[str], *, windows: bool) -> str:
    """A command line that `cmd` and PowerShell read alike, or shells of Unix."""
    if not windows:
        return shlex.join(words)
    return " ".join(word if _PLAIN.fullmatch(word) else _quoted(word) for word in words)


def _quoted(word: str) -> str:
    """As programs on Windows read it: a backslash before the closing quote is one of two."""
    last = len(word) - len(word.rstrip("\\"))
    return '"' + word.replace('"', '\\"') + "\\" * last + '"'


def command(verb: str, *words: str | Path) -> str:
    """A whole command of this program, quoted."""
    return shell_line(*program(verb), *words)
