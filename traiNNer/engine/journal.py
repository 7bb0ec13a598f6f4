"""Records of a run as JSON lines, without doubled or missing lines after any interruption."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from traiNNer.engine.run_folder import written_beside


class Journal:
    """A file of JSON objects, one a line, each with the `iter` it belongs to.

    Numbers that are not finite are written as text ("nan", "inf"), since JSON has no word for them.

    A run that goes on from step s repeats what came after s, so `rewind(s)` first removes those lines, and a
    last line that was cut off.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one line and hand it to the system, so that a kill cannot lose it."""
        self._file.write(json.dumps(_finite(record)) + "\n")
        self._file.flush()

    def rewind(self, step: int) -> None:
        """Remove the lines of later steps."""
        self._file.close()
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["iter"] <= step]
        if len(kept) != len(lines):
            with written_beside(self._path) as partial:
                partial.write_text("".join(kept), encoding="utf-8")
        self._file = self._path.open("a", encoding="utf-8")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
