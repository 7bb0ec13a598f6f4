"""YAML files as plain values that remember where each was written.

Scalars follow the core schema of YAML 1.2: `1e-4` is a number, `on` is text, `010` is ten. PyYAML does the
syntax (anchors, merge keys, quoting); its YAML 1.1 meanings of scalars and its object tags are not used.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import yaml

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


_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NAN = {".nan", ".NaN", ".NAN"}
_LONGEST_NUMBER = 300  # characters; beyond it Python refuses to convert, and nobody means a number
_PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*")


def read_scalar(text: str) -> Any:
    """What an unquoted scalar means in YAML 1.2 (core schema, section 10.3.2 of the specification)."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if len(text) > _LONGEST_NUMBER:
        return text
    if _INT.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(text)
    if match := _INFINITE.fullmatch(text):
        return -math.inf if match[1] == "-" else math.inf
    return math.nan if text in _NAN else text


def write_scalar(value: Any) -> str:
    """The inverse of `read_scalar`, on one line; text that means something else is quoted."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float() if not math.isfinite(value):
            return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
        case int() | float():
            return repr(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and read_scalar(text) == text:
        return text
    return yaml.dump(text, default_style='"', width=math.inf).rstrip("\n")


def read_yaml(text: str, source: str) -> Document:
    """The one mapping that a YAML text holds; an empty text is an empty mapping.

    Raises:
        ConfigError: For a syntax error, or listing every duplicate key, foreign tag and key that is not text.
    """
    node = _compose(text, source)
    top: dict[Path, Mark] = {(): Mark(source, (), 1, 1, 1, 1)}
    if node is None or (isinstance(node, yaml.ScalarNode) and node.tag == "plain" and node.value in _NULL):
        return Document({}, top)
    reader = _Reader(source)
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{_at(source, node)}: should be a mapping (key: value) at the top")
    tree = reader.value(node, ())
    if reader.problems:
        raise ConfigError([text for _, text in sorted(reader.problems)])
    return Document(tree, top | reader.marks)


def read_value(text: str) -> Any:
    """What a text means where a value is expected, as on the command line.

    Raises:
        ConfigError: Where `read_yaml` would; places are columns of `text`.
    """
    node = _compose(text, "value")
    if node is None:
        return None
    reader = _Reader("value")
    value = reader.value(node, ())
    if reader.problems:
        raise ConfigError([text for _, text in sorted(reader.problems)])
    return value


class _Loader(yaml.SafeLoader):
    """PyYAML's syntax with one private tag for every unquoted scalar without a tag of its own."""

    yaml_implicit_resolvers = {None: [("plain", re.compile(""))]}


_UNPRINTABLE = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
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
}


def _compose(text: str, source: str) -> yaml.Node | None:
    text = text.removeprefix("\ufeff")
    if found := _UNPRINTABLE.search(text):
        before = text[: found.start()]
        line, column = before.count("\n") + 1, found.start() - before.rfind("\n")
        raise ConfigError(f"{source}:{line}:{column}: the unprintable character {found[0]!r}")
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = error.problem or error.context or "not YAML"
        plain = next((sentence for words, sentence in _SENTENCES.items() if words in said), said)
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise ConfigError(f"{place}: {plain}") from error
    except (RecursionError, ValueError, OverflowError) as error:  # the last two: an escape of no character
        raise ConfigError(f"{source}: nested too deeply, or not YAML ({error})") from error
    finally:
        loader.dispose()


def _at(source: str, node: yaml.Node) -> str:
    return f"{source}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


_TAG = "tag:yaml.org,2002:"
_ALLOWED_TAGS = {"plain", *(_TAG + name for name in ("str", "int", "float", "bool", "null", "map", "seq"))}
_MOST_VALUES = 100_000  # a configuration has hundreds; aliases of aliases can ask for billions


class _Reader:
    """Builds values out of nodes and collects what is wrong with them."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.marks: dict[Path, Mark] = {}
        self.problems: set[tuple[tuple[int, int], str]] = set()
        self._open: set[int] = set()
        self._count = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        """The value of a node and, in `marks`, the places of all it holds."""
        self._count += 1
        if id(node) in self._open or self._count > _MOST_VALUES:
            self._problem(node, path, "an alias (*name) inside what it names, or far too many values")
            return None
        if node.tag not in _ALLOWED_TAGS:
            self._problem(node, path, f"the tag {node.tag!r} is not allowed; only plain values are")
        self._open.add(id(node))
        try:
            match node:
                case yaml.MappingNode():
                    return self._mapping(node, path)
                case yaml.SequenceNode():
                    return [self._entry(item, item, (*path, i)) for i, item in enumerate(node.value)]
                case _:
                    return self._scalar(node, path)
        finally:
            self._open.discard(id(node))

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        if any("\ud800" <= character <= "\udfff" for character in node.value):
            self._problem(node, path, "half of a surrogate pair is no character")
        if node.tag in ("plain", _TAG + "null"):
            return read_scalar(node.value)
        kind = {_TAG + "int": int, _TAG + "float": (int, float), _TAG + "bool": bool}.get(node.tag)
        if kind is None:
            return node.value
        value = read_scalar(node.value)
        if not isinstance(value, kind):
            self._problem(node, path, f"{node.value!r} is no {node.tag.removeprefix(_TAG)}")
        return float(value) if node.tag == _TAG + "float" and isinstance(value, int) else value

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        entries = self._entries(node, path)
        return {key: self._entry(k, v, (*path, key)) for key, (k, v) in entries.items()}

    def _entry(self, key: yaml.Node, node: yaml.Node, path: Path) -> Any:
        at, key_at = node.start_mark, key.start_mark
        self.marks[path] = Mark(
            self.source, path, at.line + 1, at.column + 1, key_at.line + 1, key_at.column + 1
        )
        return self.value(node, path)

    def _entries(self, node: yaml.MappingNode, path: Path) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Keys as written; what `<<` brings in gives way to the mapping's own keys."""
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._problem(key, path, "a key should be text, not a list or a mapping")
            elif key.tag == "plain" and key.value == "<<":
                for name, entry in self._merged(value, path).items():
                    merged.setdefault(name, entry)
            elif key.value in own:
                first = own[key.value][0].start_mark.line + 1
                line = key.start_mark.line + 1
                self._problem(key, (*path, key.value), f"the key is given twice, in lines {first} and {line}")
            else:
                own[key.value] = (key, value)
        return {**merged, **own}

    def _merged(self, node: yaml.Node, path: Path) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        entries: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(source, yaml.MappingNode) or id(source) in self._open:
                self._problem(node, path, "'<<' takes a mapping from elsewhere (*name) or a list of them")
                continue
            self._open.add(id(source))
            for name, entry in self._entries(source, path).items():
                entries.setdefault(name, entry)
            self._open.discard(id(source))
        return entries

    def _problem(self, node: yaml.Node, path: Path, text: str) -> None:
        where = ".".join(map(str, path))
        line = f"{_at(self.source, node)}: {where + ': ' if where else ''}{text}"
        self.problems.add(((node.start_mark.line, node.start_mark.column), line))
