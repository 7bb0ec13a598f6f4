"""YAML files as plain values that remember where each was written.

ruamel.yaml does the syntax (nodes with their places, anchors, quoting); what nodes mean is decided here, so that
every duplicate key is found, each value of a merged mapping keeps its place, and no tag makes an object.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.tag import Tag

from traiNNer.options.scalars import NULL, read_scalar
from traiNNer.registry import ConfigError

Path: TypeAlias = tuple[str | int, ...]
"""Keys and list indices from the top of a configuration to a value."""


class Mark(NamedTuple):
    """Where a value and its key were written. Lines and columns count from 1; line 0: not in a file."""

    source: str
    """Name of the file, or what else brought the value (`command line`)."""
    path: Path
    """The path as written there, which aliases may change afterwards."""
    line: int = 0
    column: int = 0
    key_line: int = 0
    key_column: int = 0

    def where(self, *, key: bool) -> str:
        """`file:line:column` of the key or the value, or the source alone."""
        if not self.line:
            return self.source
        line, column = (self.key_line, self.key_column) if key else (self.line, self.column)
        return f"{self.source}:{line}:{column}"


@dataclass
class Document:
    """A configuration as plain dictionaries, lists and scalars, with the origin of each."""

    tree: dict[str, Any]
    marks: dict[Path, Mark] = field(default_factory=dict)


def read_yaml(text: str, source: str) -> Document:
    """The one mapping that a YAML text holds; an empty text is an empty mapping.

    Raises:
        ConfigError: For a syntax error, or listing every duplicate key, foreign tag and key that is not text.
    """
    node = _compose(text, source)
    top: dict[Path, Mark] = {(): Mark(source, (), 1, 1, 1, 1)}
    if node is None or (isinstance(node, ScalarNode) and node.tag == _PLAIN and node.value in NULL):
        return Document({}, top)
    if not isinstance(node, MappingNode):
        raise ConfigError("should be a mapping (key: value) at the top", subject=_at(source, node))
    reader = _Reader(source)
    tree = reader.read(node)
    return Document(tree, top | reader.marks)


def read_value(text: str) -> Any:
    """What a text means where a value is expected, as on the command line, where `#` begins no comment.

    Raises:
        ConfigError: Where `read_yaml` would; places are columns of `text`.
    """
    node = _compose(text, "value")
    rest = text[node.end_mark.index :] if node else text
    if "#" in rest and (node is None or node.tag == _PLAIN):
        return text.strip()
    return None if node is None else _Reader("value").read(node)


# --- syntax ------------------------------------------------------------------------------------------------

_PLAIN = "plain"
_LARGEST = 1_000_000  # characters; a configuration has thousands, and nobody waits for more
_DEEPEST = 100  # brackets in brackets


class _Resolver(VersionedResolver):
    """One private tag for every unquoted scalar without a tag of its own."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Tag:
        """The tag of a node that was written without one."""
        plain = kind is ScalarNode and implicit[0]
        return Tag(suffix=_PLAIN) if plain else super().resolve(kind, value, implicit)


_UNPRINTABLE = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BACKSLASH = r"in double quotes '\' begins a special character; write / instead, or use single quotes"
_SENTENCES = {
    r"found character '\t'": "a tab where YAML wants spaces",
    "mapping values are not allowed": "a ':' where no key can stand; check the indentation, or quote it",
    "expected '<document start>'": "the indentation does not fit the lines above",
    "expected <block end>": "the indentation does not fit the lines above",
    "could not find expected ':'": "should be 'key: value'; the ':' is missing",
    "found undefined alias": "no anchor (&name) of this name stands above",
    "but found another document": "one file holds one configuration; remove the '---'",
    "found unexpected end of stream": "the file ends inside a quoted text",
    "did not find expected": "a ',' or a closing bracket is missing",
    "expected ',' or": "a ',' or a closing bracket is missing",
    "expected the node content": "a value is missing, or begins with a character that must be quoted",
    "cannot start any token": "a text that begins with this character must be quoted",
    "expected escape sequence": _BACKSLASH,
    "unknown escape character": _BACKSLASH,
    "maximum depth": "nested too deeply",
}


def _compose(text: str, source: str) -> Node | None:
    text = text.removeprefix("\ufeff")
    if len(text) > _LARGEST:
        raise ConfigError(f"has {len(text):,} characters; a configuration has a few thousand", subject=source)
    if found := _UNPRINTABLE.search(text):
        before = text[: found.start()]
        line, column = before.count("\n") + 1, found.start() - before.rfind("\n")
        why = "; is this UTF-16? save it anew with the encoding UTF-8" if found[0] == "\0" else ""
        said = f"the unprintable character {found[0]!r}{why}"
        raise ConfigError(said, subject=f"{source}:{line}:{column}")
    parser = YAML(typ="safe", pure=True)
    parser.Resolver = _Resolver
    parser.max_depth = _DEEPEST
    parser.composer.warn_double_anchors = False  # YAML 1.2 allows them; the nearest above holds
    try:
        return parser.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = error.problem or error.context or "not YAML"
        plain = next((sentence for words, sentence in _SENTENCES.items() if words in said), said)
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise ConfigError(plain, subject=place) from error
    except (ValueError, OverflowError) as error:  # an escape of no character
        raise ConfigError(f"{_BACKSLASH} ({error})", subject=source) from error


def _at(source: str, node: Node) -> str:
    return f"{source}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


# --- meaning -----------------------------------------------------------------------------------------------

_TAG = "tag:yaml.org,2002:"
_KINDS: dict[str, Any] = {_TAG + "int": int, _TAG + "float": (int, float), _TAG + "bool": bool}
_ALLOWED_TAGS = {_PLAIN, *_KINDS, *(_TAG + name for name in ("str", "null", "map", "seq"))}
_MOST_VALUES = 100_000  # a configuration has hundreds
_ALIAS = "an alias (*name) inside what it names, or far too many values"

Entries: TypeAlias = dict[str, tuple[Node, Node]]
"""Key and value nodes of a mapping, by key."""


class _Reader:
    """Builds values out of nodes and collects what is wrong with them."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.marks: dict[Path, Mark] = {}
        self._problems: set[tuple[tuple[int, int], str, str]] = set()
        self._open: set[int] = set()
        self._count = 0

    def read(self, node: Node) -> Any:
        """The value of a node and, in `marks`, the places of all it holds; ConfigError with every problem."""
        value = self._value(node, ())
        if self._problems:
            _, places, texts = zip(*sorted(self._problems), strict=True)
            raise ConfigError(texts, subject=places)
        return value

    def _value(self, node: Node, path: Path) -> Any:
        self._count_in(1, node)
        if id(node) in self._open:
            self._report(node, path, _ALIAS)
            return None
        if node.tag not in _ALLOWED_TAGS:
            self._report(node, path, f"the tag {node.tag!r} is not allowed; only plain values are")
        self._open.add(id(node))
        try:
            match node:
                case MappingNode():
                    return {k: self._entry(*e, (*path, k)) for k, e in self._entries(node, path).items()}
                case SequenceNode():
                    return [self._entry(item, item, (*path, i)) for i, item in enumerate(node.value)]
                case _:
                    return self._scalar(node, path)
        finally:
            self._open.discard(id(node))

    def _count_in(self, values: int, node: Node) -> None:
        """End at once where aliases of aliases, or merges of merges, ask for billions of values."""
        self._count += values
        if self._count > _MOST_VALUES:
            raise ConfigError(_ALIAS, subject=_at(self.source, node))

    def _scalar(self, node: Node, path: Path) -> Any:
        if any("\ud800" <= character <= "\udfff" for character in node.value):
            self._report(node, path, "half of a surrogate pair is no character")
        if node.tag in (_PLAIN, _TAG + "null"):
            return read_scalar(node.value)
        if node.tag not in _KINDS:
            return node.value
        value = read_scalar(node.value)
        if not isinstance(value, _KINDS[node.tag]):
            self._report(node, path, f"{node.value!r} is no {node.tag.removeprefix(_TAG)}")
        return float(value) if node.tag == _TAG + "float" and isinstance(value, int) else value

    def _entry(self, key: Node, node: Node, path: Path) -> Any:
        at, key_at = node.start_mark, key.start_mark
        self.marks[path] = Mark(
            self.source, path, at.line + 1, at.column + 1, key_at.line + 1, key_at.column + 1
        )
        return self._value(node, path)

    def _entries(self, node: MappingNode, path: Path) -> Entries:
        """Keys as written; what `<<` brings in gives way to the mapping's own keys."""
        merged: Entries = {}
        own: Entries = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._report(key, path, "a key should be text, not a list or a mapping")
            elif key.tag == _PLAIN and key.value == "<<":
                merged = {**self._merged(value, path), **merged}
            elif key.value in own:
                first = own[key.value][0].start_mark.line + 1
                line = key.start_mark.line + 1
                self._report(key, (*path, key.value), f"the key is given twice, in lines {first} and {line}")
            else:
                own[key.value] = (key, value)
        return {**merged, **own}

    def _merged(self, node: Node, path: Path) -> Entries:
        entries: Entries = {}
        for source in node.value if isinstance(node, SequenceNode) else [node]:
            if not isinstance(source, MappingNode) or id(source) in self._open:
                self._report(node, path, "'<<' takes a mapping from elsewhere (*name) or a list of them")
                continue
            self._count_in(1 + len(source.value), source)
            self._open.add(id(source))
            entries = {**self._entries(source, path), **entries}
            self._open.discard(id(source))
        return entries

    def _report(self, node: Node, path: Path, text: str) -> None:
        where = ".".join(map(str, path))
        said = f"{where + ': ' if where else ''}{text}"
        self._problems.add(((node.start_mark.line, node.start_mark.column), _at(self.source, node), said))
