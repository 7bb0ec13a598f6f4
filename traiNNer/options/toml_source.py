"""TOML files, neosr's form of a configuration, as plain values that remember where each was written."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

from traiNNer.options.yaml_source import Document, Mark, Path
from traiNNer.registry import ConfigError

_KEY = r"[A-Za-z0-9_-]+|\"[^\"\n]*\"|'[^'\n]*'"
_DOTTED = rf"(?:{_KEY})(?:\s*\.\s*(?:{_KEY}))*"
_TABLE = re.compile(rf"^\s*(\[\[?)\s*({_DOTTED})\s*\]\]?\s*(?:#.*)?$")
_ENTRY = re.compile(rf"^(\s*)({_DOTTED})(\s*=\s*)\S")
_PATHS = "; a path with \\ belongs into single quotes: 'C:\\images\\'"


def read_toml(text: str, source: str) -> Document:
    """The values of a TOML text. Items of a list and of a table in one line have the place of the whole.

    Raises:
        ConfigError: For a syntax error.
    """
    try:
        tree = tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        said, _, place = str(error).partition(" (at ")
        line, column = (re.findall(r"\d+", place) + ["", ""])[:2]
        where = f"{source}:{line}:{column}" if column else source
        hint = _PATHS if "\\" in said else ""
        raise ConfigError(f"{where}: {said}{hint}") from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None
    marks = {path: mark for path, mark in _written(text, source) if _has(tree, path)}
    top = Mark(source, (), 1, 1, 1, 1)
    return Document(tree, dict(_inherited(tree, (), top, marks)))


def _written(text: str, source: str) -> Iterator[tuple[Path, Mark]]:
    """Where tables and keys begin. Text of several lines can look like a key, which then is in no table."""
    table: Path = ()
    counts: dict[Path, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if found := _TABLE.match(line):
            table = _keys(found[2])
            if found[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            column = found.start(2) + 1
            yield table, Mark(source, table, number, column, number, column)
        elif found := _ENTRY.match(line):
            path = (*table, *_keys(found[2]))
            yield path, Mark(source, path, number, found.end(3) + 1, number, found.start(2) + 1)


def _keys(dotted: str) -> Path:
    return tuple(key.strip("\"'") for key in re.findall(_KEY, dotted))


def _has(tree: Any, path: Path) -> bool:
    for key in path:
        below: dict[Any, Any] = dict(enumerate(tree)) if isinstance(tree, list) else tree
        if not isinstance(below, dict) or key not in below:
            return False
        tree = below[key]
    return True


def _inherited(value: Any, path: Path, mark: Mark, marks: dict[Path, Mark]) -> Iterator[tuple[Path, Mark]]:
    mark = marks.get(path, mark._replace(path=path))
    yield path, mark
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _inherited(item, (*path, key), mark, marks)
