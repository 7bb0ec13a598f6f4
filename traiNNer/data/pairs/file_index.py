"""Lists of image files in a few dozen bytes a file.

Names are kept as bytes in one array, because lists of a million strings take hundreds of megabytes, and would be
copied into every worker process as soon as their reference counts change.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class Names:
    """Many relative paths in little memory.

    Args:
        text: All of them, encoded for the file system, without separators; uint8.
        ends: Where each ends in `text`.
    """

    def __init__(self, text: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self.text, self.ends = text, ends

    @classmethod
    def of(cls, names: Iterable[str]) -> Names:
        """These names; strings are not kept."""
        text, ends = bytearray(), array("q")
        for name in names:
            text += os.fsencode(name)
            ends.append(len(text))
        return cls(np.frombuffer(text, np.uint8), np.frombuffer(ends, np.int64))

    @classmethod
    def joined(cls, parts: Sequence[Names]) -> Names:
        """Several lists one after the other."""
        before = np.cumsum([0, *(len(part.text) for part in parts)])
        ends = [part.ends + start for part, start in zip(parts, before, strict=False)]
        return cls(np.concatenate([part.text for part in parts]), np.concatenate(ends))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        index = range(len(self))[index]
        start = self.ends[index - 1] if index else 0
        return os.fsdecode(self.text[start : self.ends[index]].tobytes())

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))

    def part(self, start: int, stop: int) -> Names:
        """Those from `start` to before `stop`."""
        first = int(self.ends[start - 1]) if start else 0
        ends = self.ends[start:stop]
        return Names(self.text[first : int(ends[-1]) if len(ends) else first], ends - first)

    def equals(self, other: Names) -> bool:
        """Whether both have the same names in the same order."""
        return np.array_equal(self.ends, other.ends) and np.array_equal(self.text, other.text)


@dataclass(frozen=True)
class Files:
    """Image files of one or several folders, addressed by one index; those of a folder are neighbours."""

    roots: tuple[Path, ...]
    names: Names
    """Relative to their root, with `/`."""
    root_of: NDArray[np.uint16]
    """Index of the root of each name."""

    @classmethod
    def joined(cls, roots: Sequence[Path], names: Sequence[Names]) -> Files:
        """The files of several folders, one folder after the other."""
        root_of = np.repeat(np.arange(len(roots), dtype=np.uint16), [len(part) for part in names])
        return cls(tuple(roots), Names.joined(names), root_of)

    def path(self, index: int) -> Path:
        """Where the file is."""
        return self.roots[self.root_of[index]] / self.names[index]

    def name(self, index: int) -> str:
        """The relative path without suffix; with several roots, behind the root's number: `2/street`."""
        name = stem(self.names[index])
        return name if len(self.roots) == 1 else f"{self.root_of[index] + 1}/{name}"

    def select(self, kept: NDArray[np.bool_]) -> Files:
        """Those that are marked."""
        if kept.all():
            return self
        names = Names.of(self.names[index] for index in np.flatnonzero(kept).tolist())
        return Files(self.roots, names, self.root_of[kept])

    def same_as(self, other: Files) -> bool:
        """Whether both are the same files in the same order."""
        return self.roots == other.roots and self.names.equals(other.names)

    def __len__(self) -> int:
        return len(self.names)


def stem(name: str) -> str:
    """A relative path without its suffix."""
    return name[: len(name) - len(suffix(name))]


def suffix(name: str) -> str:
    """From the last dot of the last part on; pathlib takes ten times as long, which a million names would feel."""
    dot = name.rfind(".")
    return name[dot:] if dot > name.rfind("/") else ""
