"""Options as a YAML file again, with where each value comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from traiNNer.options.fields import Options
from traiNNer.options.scalars import write_scalar
from traiNNer.options.yaml_source import Path


def dump_resolved(options: Options) -> str:
    """All values as YAML, each with its origin in a comment; `load_options` reads it back."""
    tree = options.model_dump()
    automations = (tree["train"] or {}).get("training_automations")
    if automations:
        some_on = any(spec["enabled"] for spec in automations.values())
        tree["train"]["training_automations"] = {"enabled": some_on, **automations}
    head = "# Every option of the run, with where its value comes from. A configuration in its own right."
    return "\n".join([head, *_lines(tree, (), options), ""])


def _lines(value: Mapping[str, Any], path: Path, options: Options) -> list[str]:
    lines: list[str] = []
    for key, item in value.items():
        place = (*path, key)
        if isinstance(item, dict) and item:
            lines += [f"{write_scalar(key)}:", *("  " + line for line in _lines(item, place, options))]
        elif isinstance(item, list) and item and all(isinstance(entry, dict) and entry for entry in item):
            lines.append(f"{write_scalar(key)}:")
            for index, entry in enumerate(item):
                first, *rest = _lines(entry, (*place, index), options)
                lines += ["  - " + first, *("    " + line for line in rest)]
        else:
            lines.append(f"{write_scalar(key)}: {_flow(item)}  # {options.origin(place)}")
    return lines


def _flow(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{write_scalar(key)}: {_flow(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_flow, value)) + "]"
    return write_scalar(value)
