"""What docstrings say of a part and its parameters, for the schema and the reference."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any

_SECTION = re.compile(r"^(?:Args|Returns|Raises|Attributes):$", re.MULTILINE)
_ENTRY = re.compile(r"^    (\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)


def body(part: Callable[..., Any]) -> str:
    """A docstring without its list of arguments; empty where there is none."""
    return _SECTION.split(_docstring(part))[0].strip()


def arguments(part: Callable[..., Any]) -> dict[str, str]:
    """Each described parameter on one line: from `Args:` of class or constructor, and strings below fields."""
    texts = [_docstring(part), _docstring(part.__dict__.get("__init__"))]
    found = _below_fields(part) if inspect.isclass(part) and is_dataclass(part) else {}
    for text in texts:
        listed = text.partition("Args:\n")[2]
        rest = re.search(r"^\S", listed, re.MULTILINE)
        for name, words in _ENTRY.findall(listed[: rest.start()] if rest else listed):
            found[name] = words
    return {name: " ".join(words.split()) for name, words in found.items()}


def _docstring(part: Any) -> str:
    return inspect.cleandoc(getattr(part, "__doc__", None) or "")


def _below_fields(part: type) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(part))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for statement, below in zip(tree.body, tree.body[1:], strict=False):
        match statement, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                found[name] = words
    return found
