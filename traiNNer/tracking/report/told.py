"""What a page needs of a run's events, in one pass: they may be far more than fits into memory at ease."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from traiNNer.control import from_plain
from traiNNer.events import SetScores, ValidationEvent


class Told(NamedTuple):
    """Of the events of a run."""

    scores: Mapping[str, SetScores]
    """Of every set at one validation; empty where there was none."""
    trials: Sequence[Mapping[str, Any]]
    """The fields of its TrialEvents."""


def told(path: Path, step: int | None = None) -> Told:
    """What events.jsonl tells; nothing where there is no such file. Half a last line does not count.

    Args:
        path: Of the file.
        step: Of the validation whose scores are wanted; None: of the last.
    """
    found, trials = "", list[Mapping[str, Any]]()
    if path.is_file():
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if not line.endswith("\n"):
                    break
                if '"ValidationEvent"' in line:
                    if step is None or json.loads(line)["step"] == step:
                        found = line
                elif '"TrialEvent"' in line:
                    trials.append(json.loads(line))
    if not found:
        return Told({}, trials)
    fields = {key: value for key, value in json.loads(found).items() if key not in ("iter", "kind")}
    return Told(from_plain(ValidationEvent, fields).sets, trials)
