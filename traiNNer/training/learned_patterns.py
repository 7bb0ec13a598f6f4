"""What a run learned of its gradients, kept in a file for the next run like it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from traiNNer.automations import Supervisor
from traiNNer.automations.gradients.norm_patterns import pattern_key
from traiNNer.automations.gradients.stabilizer import GradientFlowStabilizer
from traiNNer.events import RunFacts
from traiNNer.runtime.run_dir import atomic_write
from traiNNer.tracking.jsonl import strict_json


def stored_pattern(folder: str | None, facts: RunFacts) -> dict[str, Any] | None:
    """What an earlier run like this one learned of its gradients, or None; empty where the file is damaged."""
    if folder is None or facts.deterministic:
        return None
    path = _pattern_file(folder, facts)
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except ValueError:
        return {}


def store_pattern(supervisor: Supervisor, facts: RunFacts) -> None:
    """Write what this run has learned, where the options name a place and there is something to write."""
    stabilizer = supervisor.automations.get(GradientFlowStabilizer.name)
    if not isinstance(stabilizer, GradientFlowStabilizer) or not stabilizer.pattern_store:
        return
    pattern = stabilizer.pattern()
    if pattern:
        with atomic_write(_pattern_file(stabilizer.pattern_store, facts)) as partial:
            partial.write_text(strict_json(pattern, indent=1), encoding="utf-8")


def _pattern_file(folder: str, facts: RunFacts) -> Path:
    name = hashlib.sha256(pattern_key(facts).encode()).hexdigest()[:16]
    return Path(folder).expanduser() / f"{name}.json"
