"""Records of a run as JSON lines, without doubled or missing lines after any interruption."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from traiNNer.runtime.os_errors import naming


class JsonLines:
    """A file of JSON objects, one a line, each with the `iter` it belongs to.

    A training state remembers how long the file was; going on from it first cuts the file to that length,
    since the run will write the rest again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def begin(self) -> None:
        """Make the file, where one without a line says that nothing happened."""
        self._path.touch()

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one line and hand it to the system, so that a kill cannot lose it."""
        with naming(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(strict_json(record))

    def settle(self) -> int:
        """Bring everything safely to the disk; returns the length in bytes."""
        if not self._path.exists():
            return 0
        with self._path.open("rb+") as file:
            os.fsync(file.fileno())
            return file.seek(0, os.SEEK_END)

    def cut(self, length: int) -> None:
        """Remove what lies beyond a length in bytes."""
        if self._path.exists() and self._path.stat().st_size > length:
            os.truncate(self._path, length)


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a file, none if it is missing; a last line that a kill left half written does not count."""
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [json.loads(line) for line in whole.decode("utf-8").splitlines() if line.strip()]


def strict_json(value: Any, indent: int | None = None) -> str:
    """A value as JSON that every reader takes, see `finite`, and a line break."""
    return json.dumps(finite(value), indent=indent, allow_nan=False) + "\n"


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every value in nested mappings and lists, with its path; a mapping that is empty is a value too."""
    if isinstance(value, list):
        for index, below in enumerate(value):
            yield from leaves(below, (*path, index))
    elif isinstance(value, Mapping) and value:
        for key, below in value.items():
            yield from leaves(below, (*path, key))
    else:
        yield path, value


def finite(value: Any) -> Any:
    """A value as JSON can hold it: numbers that are not finite as text, "nan", "inf" or "-inf"."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
