"""Options from the command line, `key.sub=value`, laid over those of the file.

Each is brought to the canonical form by itself, as the file is, and then put in its place: so it wins whichever of
its names the file uses.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from traiNNer.options.canonicalize import rename
from traiNNer.options.document import COMMAND_LINE, MISSING, Draft
from traiNNer.options.yaml_source import Mark, Path, read_value
from traiNNer.registry import ConfigError


def lay_over(draft: Draft, overrides: Iterable[str]) -> None:
    """Put the values of the command line into a draft that is in the canonical form."""
    # what a short form stands for has its mark too, and is longer: `X: true` and X.enabled
    outermost = sorted(draft.marks, key=len, reverse=True)
    canonical = {draft.marks[path].path: path for path in outermost}
    for text in overrides:
        dotted, equals, value = text.partition("=")
        keys = tuple(dotted.strip().split("."))
        mark = Mark(COMMAND_LINE, keys)
        if not equals or not all(keys):
            draft.complain(mark._replace(path=(text,)), "should be key.sub=value")
            continue
        try:
            override = _override(draft, _place(keys, canonical), mark, read_value(value))
        except ConfigError as error:
            draft.complain(mark, "; ".join(error.messages))
        else:
            rename(override)
            _merge(draft, override, ())


def _place(keys: tuple[str, ...], canonical: dict[Path, Path]) -> Path:
    """The place that keys mean: where the file has what they name, its canonical one, else as they are written."""
    written: Path = ()
    for length, key in enumerate(keys):
        candidates: list[Path] = [(*written, key), *([(*written, int(key))] if key.isdecimal() else [])]
        known = next((path for path in candidates if path in canonical), None)
        if known is None:
            return (*canonical[written], *keys[length:])
        written = known
    return canonical[written]


def _override(draft: Draft, path: Path, mark: Mark, value: Any) -> Draft:
    """A draft that holds one value; what is found in it is told to `draft`."""
    override = Draft({}, {}, draft.notes, draft.findings)
    marks = {below: mark._replace(path=(*mark.path, *below)) for below in _paths_of(value)}
    override.put(path, value, marks)
    return override


def _paths_of(value: Any) -> list[Path]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(), *((key, *below) for key, item in items for below in _paths_of(item))]


def _merge(draft: Draft, override: Draft, path: Path) -> None:
    """Put what an override holds at a path into the draft.

    What has no mark there is only the way to what was written, or a list to which entries are added.
    """
    value = override.get(path)
    if path in override.marks:
        place = _in_lists(draft, path)
        if not draft.put(place, value, override.marks_below(path)):
            draft.complain(override.marks[path], "there is no such place to put a value")
    elif isinstance(value, dict):
        for key in list(value):
            _merge(draft, override, (*path, key))
    elif isinstance(value, list):
        _append(draft, override, path)
    elif draft.get(path) is MISSING:
        draft.put(path, value, {})


def _append(draft: Draft, override: Draft, path: Path) -> None:
    """Add the entries of the override's list at a path to that of the draft; what is no list is reported later."""
    if draft.get(path) is MISSING:
        draft.put(path, [], {})
    entries = draft.get(path)
    for index, entry in enumerate(override.get(path) if isinstance(entries, list) else ()):
        entries.append(entry)
        below = override.marks_below((*path, index))
        draft.marks |= {(*path, len(entries) - 1, *p): mark for p, mark in below.items()}


def _in_lists(draft: Draft, path: Path) -> Path:
    """A path in which text that stands for the index of a list is a number."""
    place: Path = ()
    for key in path:
        index = isinstance(key, str) and key.isdecimal() and isinstance(draft.get(place), list)
        place = (*place, int(key) if index else key)
    return place
