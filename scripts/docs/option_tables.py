"""Markdown tables of options, from the nodes of the schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from traiNNer.options.scalars import write_scalar

Node = Mapping[str, Any]
"""A piece of the JSON schema."""

SECTIONS = {
    "datasets": "DatasetOptions",
    "path": "PathOptions",
    "train": "TrainOptions",
    "val": "ValOptions",
    "logger": "LogOptions",
    "wandb": "WandbOptions",
    "degradation": "DegradationOptions",
}
"""Headings of the page, and the class that checks what stands below each."""

_PLACES = {key: key for key in SECTIONS} | {
    "network_g": "networks",
    "optim_g": "optimizers",
    "network_g_teacher": "networks",
    "network_d": "networks",
    "optim_d": "optimizers",
    "scheduler": "schedules",
    "scheduler_d": "schedules",
    "losses": "losses",
    "metrics": "metrics",
    "training_automations": "automations",
    "dynamic_loss_scheduling": "automations",
}
"""Headings below which the values of an option are described."""


def options_table(options: Mapping[str, Node], required: Sequence[str] = ()) -> str:
    """A row for each option: what it may be, its default, what it means."""
    rows = []
    for key, node in options.items():
        values, default = _linked(key, _values(node)), _default(node, required=key in required)
        rows.append((f"`{key}`", values, default, node.get("description", "")))
    return markdown_table(("option", "values", "default", "meaning"), rows)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows under a heading; line breaks and bars within a cell are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _linked(key: str, words: str) -> str:
    return f"[{words}](#{_PLACES[key]})" if key in _PLACES else words


_KINDS = {"boolean": "true, false", "string": "text", "object": "mapping"}


def _values(node: Node) -> str:
    """What an option may be, in words."""
    if "$ref" in node:
        return "mapping"
    if "anyOf" in node:
        words = [_values(case) for case in node["anyOf"] if case.get("type") != "null"]
        return " or ".join(dict.fromkeys(words))
    if "const" in node or "enum" in node:
        return ", ".join(f"`{plain(value)}`" for value in node.get("enum", [node.get("const")]))
    match node.get("type"):
        case "array":
            return f"list of {_values(node['items'])}s"
        case "integer" | "number" as kind:
            return " ".join(["whole number" if kind == "integer" else "number", *_bounds(node)])
        case [*_]:
            return "text or list of texts"
        case kind:
            return _KINDS.get(str(kind), "any")


def _bounds(node: Node) -> Iterator[str]:
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    return (f"{word} {node[key]}" for key, word in words.items() if key in node)


def _default(node: Node, *, required: bool) -> str:
    value = node.get("default")
    if required:
        return "required"
    return "" if value in (None, [], {}) or "$ref" in node else f"`{plain(value)}`"


def plain(value: Any) -> str:
    """A value as it is written in YAML, on one line."""
    match value:
        case dict():
            return "{" + ", ".join(f"{key}: {plain(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(plain, value)) + "]"
        case float():
            return f"{value:g}"
    return write_scalar(value)


def listed(words: Iterable[str]) -> str:
    """Words as code, with commas."""
    return ", ".join(f"`{word}`" for word in words)
