"""What belongs at each place of a configuration (section, mapping, list or value), by the types of the fields."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from typing_extensions import is_typeddict

from traiNNer.options.fields import Options, Section
from traiNNer.options.yaml_source import Path


def section_at(path: Path) -> type[Section] | None:
    """The class of the section with fixed keys at a path, if that is what belongs there."""
    hint = _hint_at(path)
    return hint if isinstance(hint, type) and issubclass(hint, Section) else None


def container_at(path: Path) -> type[dict[Any, Any]] | type[list[Any]] | None:
    """`dict` where sections, parts and other mappings belong, `list` where lists do, else None."""
    hint = _hint_at(path)
    kind = get_origin(hint)
    if kind is dict or kind is list:
        return kind
    return dict if is_typeddict(hint) or section_at(path) else None


def sections(pattern: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], type[Section]]]:
    """Every section with fixed keys and its place, with `*` for any key; the top first."""
    if section := section_at(pattern):
        yield pattern, section
        for key in section.model_fields:
            yield from sections((*pattern, key))
    elif container_at(pattern) is dict and section_at((*pattern, "*")):
        yield from sections((*pattern, "*"))


def _hint_at(path: Path) -> Any:
    hint: Any = Options
    for key in path:
        hint = _plain(_below(hint, key))
    return hint


def _below(hint: Any, key: str | int) -> Any:
    if isinstance(hint, type) and issubclass(hint, Section):
        field = hint.model_fields.get(str(key))
        return field.annotation if field else None
    if get_origin(hint) is dict:
        return get_args(hint)[1]
    return get_args(hint)[0] if get_origin(hint) is list else None


def _plain(hint: Any) -> Any:
    """A type without its annotations and without None."""
    if get_origin(hint) is Annotated:
        return _plain(get_args(hint)[0])
    if get_origin(hint) in (types.UnionType, Union):
        (*others,) = (kind for kind in get_args(hint) if kind is not type(None))
        return _plain(others[0]) if len(others) == 1 else None
    return hint
