"""The way from a file to the typed options, and back to a file that says where each value comes from.

The file (`source`: YAML, or TOML with the names of neosr) and each value of the command line (`overrides`) are
brought to the canonical form (`canonicalize`, by the tables of `aliases`), laid over each other, completed by what
follows from them, and validated once against the typed tree (`fields`) and the relations between its values
(`constraints`). Reading options asks no device, draws no seed and writes nothing; it finds every problem of a file
at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from pydantic import ValidationError

from traiNNer.options.canonicalize import rename, settle
from traiNNer.options.constraints import complete, relate
from traiNNer.options.degradation import DegradationOptions as DegradationOptions
from traiNNer.options.document import MISSING, Draft
from traiNNer.options.document import Note as Note
from traiNNer.options.fields import DatasetOptions as DatasetOptions
from traiNNer.options.fields import Options, Provenance, Section
from traiNNer.options.fields import TrainOptions as TrainOptions
from traiNNer.options.overrides import lay_over
from traiNNer.options.resolved import dump_resolved as dump_resolved
from traiNNer.options.shape import container_at, section_at, sections
from traiNNer.options.source import read_file
from traiNNer.options.yaml_source import Mark, Path
from traiNNer.registry import ConfigError, Problem, did_you_mean, problems_of


class Examined(NamedTuple):
    """What reading a configuration found, right or wrong."""

    options: Options | None
    """None where a value is wrong."""
    tree: dict[str, Any]
    """What the file says, in the canonical form and without defaults; wrong values are still in it."""
    marks: Mapping[Path, Mark]
    """Where each value of the tree was written."""
    notes: tuple[Note, ...]
    problems: tuple[str, ...]
    """Lines that name the place, in the order of the file."""


def load_options(
    path: str | FilePath,
    overrides: Iterable[str] = (),
    *,
    check: Callable[[Mapping[str, Any]], list[Problem]] | None = None,
) -> Options:
    """The options of a YAML or TOML file, with `overrides` of the form `train.total_iter=100` winning over it.

    `check` finds problems of the parts with a type (networks, losses, ...). It gets the tree in its canonical
    form without defaults, in which every section and list has its right kind, even if other values are wrong.

    Raises:
        ConfigError: With every problem, by line.
    """
    found = examine(path, overrides, check=check)
    if found.problems or found.options is None:
        raise ConfigError(found.problems)
    return found.options


def examine(
    path: str | FilePath,
    overrides: Iterable[str] = (),
    *,
    check: Callable[[Mapping[str, Any]], list[Problem]] | None = None,
) -> Examined:
    """`load_options` for a reader who wants to see everything. Raises ConfigError for what has no form."""
    draft = _prepare(read_file(FilePath(path)), overrides)
    options = _validate(draft)
    if check is not None:
        known = {finding.path for finding in draft.findings}
        for problem in check(_shaped(draft)):
            if problem.path not in known:
                draft.report(problem.path, problem.message, key=problem.message.startswith("unknown"))
    problems = tuple(dict.fromkeys(finding.text for finding in sorted(draft.findings)))
    notes = tuple(draft.notes)
    if options is not None:
        options = options.with_provenance(Provenance(draft.marks, notes))
    return Examined(options, draft.tree, draft.marks, notes, problems)


def _prepare(draft: Draft, overrides: Iterable[str]) -> Draft:
    rename(draft)
    lay_over(draft, overrides)
    settle(draft)
    _drop_nulls(draft)
    complete(draft)
    return draft


# --- the tree ----------------------------------------------------------------------------------------------


def _drop_nulls(draft: Draft) -> None:
    """In sections with fixed keys, null means that the option was left out."""
    for place, section in sections():
        for path in draft.matches(place):
            for key in [k for k, v in draft.section(path).items() if v is None and k in section.model_fields]:
                draft.take((*path, key))


def _validate(draft: Draft) -> Options | None:
    options = None
    try:
        options = Options.model_validate(deepcopy(draft.tree))
    except ValidationError as error:
        for problem, item in zip(problems_of(error), error.errors(include_url=False), strict=True):
            path, section = problem.path, section_at(problem.path[:-1])
            if item["type"] == "extra_forbidden" and section is not None:
                draft.report(path, f"unknown key{_hint(str(path[-1]), section)}", key=True)
            else:
                draft.report(path, problem.message)
    relate(draft)
    return options


def _hint(key: str, section: type[Section]) -> str:
    for place, other in sections():
        if key in other.model_fields:
            return f"; it belongs {'under ' + '.'.join(place) if place else 'at the top'}"
    return did_you_mean(key, section.model_fields)


def _shaped(draft: Draft) -> dict[str, Any]:
    """A copy of the tree in which sections, lists and mappings are what they should be."""
    copy = Draft(deepcopy(draft.tree), {})
    for path in {finding.path for finding in draft.findings}:
        value = copy.get(path)
        if value is MISSING:
            continue
        if kind := container_at(path):
            if not isinstance(value, kind):
                copy.put(path, kind(), {})
        elif path and section_at(path[:-1]):
            copy.take(path)
    return copy.tree
