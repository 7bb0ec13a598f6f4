"""Every text file is opened in an encoding that is named: the default of Windows is not UTF-8."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path for top in ("traiNNer", "scripts") for path in (ROOT / top).rglob("*.py"))
OF_OTHERS = {"os", "Image", "av", "writer"}
"""Modules and objects whose `open` is not Python's and takes no encoding."""


def modes(call):
    """The mode that a call of `open` is given: its second argument, its first for a method, or `mode=`."""
    position = 1 if isinstance(call.func, ast.Name) else 0
    return [
        *call.args[position : position + 1],
        *(word.value for word in call.keywords if word.arg == "mode"),
    ]


def opens_text(call):
    """Whether a call is Python's `open`, `read_text` or `write_text` on text."""
    match call.func:
        case ast.Attribute(attr="read_text" | "write_text"):
            return True
        case ast.Attribute(value=ast.Name(id=owner), attr="open") if owner in OF_OTHERS:
            return False
        case ast.Name(id="open") | ast.Attribute(attr="open"):
            return not any(isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in modes(call))
    return False


def without_encoding(text):
    """The lines of calls that open text and name no encoding."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and opens_text(node)]
    return [call.lineno for call in calls if not any(word.arg == "encoding" for word in call.keywords)]


def test_every_file_that_is_opened_as_text_names_its_encoding():
    found = {path: without_encoding(path.read_text(encoding="utf-8")) for path in FILES}
    assert [f"{path.relative_to(ROOT)}:{line}" for path, lines in found.items() for line in lines] == []


@pytest.mark.parametrize(
    ("call", "found"),
    [
        ("path.read_text()", True),
        ("path.write_text(text)", True),
        ("open(name)", True),
        ('open(name, "w")', True),
        ('path.open("a")', True),
        ('path.open(mode="rb")', False),
        ('open("b.txt")', True),
        ('open(name, encoding="utf-8")', False),
        ("Image.open(name)", False),
    ],
)
def test_what_counts_as_opened_text(call, found):
    assert bool(without_encoding(call)) == found
