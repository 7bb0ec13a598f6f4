"""A configuration while it is being read: plain values, where each was written, what was found on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from traiNNer.options.yaml_source import Mark, Path

COMMAND_LINE = "command line"
DERIVED = "derived"
MISSING = object()


class Note(NamedTuple):
    """Something worth saying about a configuration that is accepted."""

    level: int
    """Severity, as `logging` counts it: INFO or WARNING."""
    text: str


class Finding(NamedTuple):
    """A problem with its place."""

    order: tuple[bool, int, int]
    path: Path
    text: str


@dataclass
class Draft:
    """A configuration on its way to the canonical form."""

    tree: dict[str, Any]
    marks: dict[Path, Mark]
    notes: list[Note] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def get(self, path: Path) -> Any:
        """The value at a path, or MISSING."""
        value: Any = self.tree
        for key in path:
            below: dict[Any, Any] = dict(enumerate(value)) if isinstance(value, list) else value
            if not isinstance(below, dict) or key not in below:
                return MISSING
            value = below[key]
        return value

    def section(self, path: Path) -> dict[str, Any]:
        """The mapping at a path, or an empty one."""
        value = self.get(path)
        return value if isinstance(value, dict) else {}

    def matches(self, pattern: tuple[str, ...]) -> Iterator[Path]:
        """The paths of mappings that fit a pattern with `*` for any key."""
        found: list[Path] = [()]
        for key in pattern:
            found = [(*path, k) for path in found for k in (self.section(path) if key == "*" else (key,))]
        return (path for path in found if isinstance(self.get(path), dict))

    def mark(self, path: Path) -> Mark:
        """Where a value was written; for one that was not, the nearest thing around it.

        A section that only the command line names is of the command line.
        """
        for below, mark in () if path in self.marks else self.marks.items():
            if below[: len(path)] == path and mark.source == COMMAND_LINE:
                written = mark.path[: len(mark.path) - (len(below) - len(path))]
                return mark._replace(path=written or mark.path)
        for length in range(len(path), -1, -1):
            if (mark := self.marks.get(path[:length])) and mark.source != DERIVED:
                return mark._replace(path=(*mark.path, *path[length:]))
        return Mark("configuration", path)

    def report(self, path: Path, message: str, *, key: bool = False) -> None:
        """Keep a problem with the value (or the key) at a path."""
        mark = self.marks.get(path)
        written = mark is not None and mark.source != DERIVED
        self.complain(self.mark(path), message, key=key or not written, path=path)

    def complain(self, mark: Mark, message: str, *, key: bool = False, path: Path = ()) -> None:
        """Keep a problem with what a mark points to; `path` is its canonical place."""
        line, column = (mark.key_line, mark.key_column) if key else (mark.line, mark.column)
        text = f"{mark.where(key=key)}: {'.'.join(map(str, mark.path))}: {message}"
        self.findings.append(Finding((not line, line, column), path, text))

    def note(self, level: int, path: Path, message: str) -> None:
        """Keep a note on the key at a path."""
        mark = self.mark(path)
        self.notes.append(Note(level, f"{mark.where(key=True)}: {'.'.join(map(str, mark.path))}: {message}"))

    def take(self, path: Path) -> tuple[Any, dict[Path, Mark]]:
        """Remove a value; returns it with its marks, relative to it."""
        parent: dict[Any, Any] = self.section(path[:-1])
        marks = self.marks_below(path)
        self.marks = {p: mark for p, mark in self.marks.items() if p[: len(path)] != path}
        return parent.pop(path[-1]), marks

    def marks_below(self, path: Path) -> dict[Path, Mark]:
        """The marks of a value and of all it holds, by their paths relative to it."""
        return {p[len(path) :]: mark for p, mark in self.marks.items() if p[: len(path)] == path}

    def put(self, path: Path, value: Any, marks: dict[Path, Mark]) -> bool:
        """Set a value, making the mappings above it; False where something else is in the way."""
        above = path[:-1]
        if above and self.get(above) in (MISSING, None):
            self.put(above, {}, {})
        if self.get(path) is MISSING and not isinstance(self.get(above), dict):
            return False
        parent: Any = self.get(above)
        parent[path[-1]] = value
        self.marks = {p: m for p, m in self.marks.items() if p[: len(path)] != path}
        self.marks |= {(*path, *p): mark for p, mark in marks.items()}
        return True

    def move(self, source: Path, target: Path) -> None:
        """Give a value another place. What is there already must agree; the command line wins."""
        value, marks = self.take(source)
        self._merge(target, value, marks)

    def _merge(self, path: Path, value: Any, marks: dict[Path, Mark]) -> None:
        present = self.get(path)
        if present is MISSING or present is None:
            self.put(path, value, marks)
        elif isinstance(present, dict) and isinstance(value, dict):
            for key, item in value.items():
                below = {p[1:]: mark for p, mark in marks.items() if p[:1] == (key,)}
                self._merge((*path, key), item, below)
        elif present != value and self.mark(path).source != COMMAND_LINE:
            mark = marks.get((), Mark("configuration", path))
            if mark.source == COMMAND_LINE:
                self.put(path, value, marks)
            else:
                other = f"{'.'.join(map(str, mark.path))} in line {mark.key_line}"
                self.report(
                    path, f"given twice with different values: {present!r} here, {value!r} as {other}"
                )
