"""A configuration written anew in the canonical form, with the comments of its author."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from traiNNer.options.document import COMMAND_LINE
from traiNNer.options.yaml_source import Mark, Path


def written_part(tree: Mapping[str, Any], marks: Mapping[Path, Mark]) -> dict[str, Any]:
    """A canonical tree without what the program added: what its author wrote, under today's names."""
    part = _written(tree, (), marks)
    sets = part.get("datasets")
    for key, data in list(sets.items()) if isinstance(sets, dict) else ():
        if isinstance(data, dict) and "part" not in data and tree["datasets"][key].get("part") == "held_out":
            sets[key] = {"part": "held_out", **data} if data else "auto"
    train = part.get("train")
    automations = train.get("training_automations") if isinstance(train, dict) else None
    if isinstance(train, dict) and isinstance(automations, dict) and automations:
        on = any(spec.get("enabled", True) is not False for spec in automations.values())
        train["training_automations"] = {"enabled": on, **automations}
    return part


def _written(value: Any, path: Path, marks: Mapping[Path, Mark]) -> Any:
    if isinstance(value, Mapping):
        kept = {key: _written(item, (*path, key), marks) for key, item in value.items()}
        kept = {key: item for key, item in kept.items() if item is not None}
        return kept if kept or path in marks or not path else None
    if isinstance(value, list):
        kept_items = [_written(item, (*path, index), marks) for index, item in enumerate(value)]
        added = value and all(item is None for item in kept_items) and any(item is not None for item in value)
        return None if added else kept_items
    mark = marks.get(path)
    own = mark and (mark.line or mark.source == COMMAND_LINE or path[-1] == "enabled")
    return value if own else None


def rewritten(text: str, tree: Mapping[str, Any]) -> str:
    """`text` changed to say `tree`: keys that stay keep their place, order, comments and form.

    Args:
        text: YAML, as `read_yaml` accepts it.
        tree: What it shall say; plain values.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.composer.warn_double_anchors = False
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(text)
    if not isinstance(document, CommentedMap):
        document = CommentedMap()
    _adjust(document, tree)
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()


def _adjust(node: CommentedMap, tree: Mapping[str, Any]) -> None:
    for key in [key for key in node if key not in tree]:
        del node[key]
    for key, value in tree.items():
        present = node.get(key)
        if isinstance(present, CommentedMap) and isinstance(value, Mapping):
            _adjust(present, value)
        elif isinstance(present, CommentedSeq) and isinstance(value, list) and len(present) == len(value):
            _adjust_list(present, value)
        elif key not in node or _plain(present) != value:
            node[key] = value


def _adjust_list(node: CommentedSeq, values: list[Any]) -> None:
    for index, value in enumerate(values):
        if isinstance(node[index], CommentedMap) and isinstance(value, Mapping):
            _adjust(node[index], value)
        elif _plain(node[index]) != value:
            node[index] = value


def _plain(value: Any) -> Any:
    """What ruamel holds, as the YAML 1.2 reader of the options sees it."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        return int(value)
    return str(value) if isinstance(value, str) else value
