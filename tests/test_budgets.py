"""Sizes at which something wants a name of its own: lines of a file and of the core, statements, arguments."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "traiNNer"
FILES = sorted(PACKAGE.rglob("*.py"))
LINES, LINES_OF_ARCHS, STATEMENTS, ARGUMENTS, CORE = 300, 500, 40, 8, 2000
OF_USERS = {"PairedImageDataset"}
"""Constructors outside a registry whose arguments are the options that users write, see decision 41."""


def name_of(path):
    return str(path.relative_to(PACKAGE))


def lines(path):
    return len(path.read_text().splitlines())


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_file_is_longer_than_its_budget(path):
    budget = LINES_OF_ARCHS if name_of(path).startswith("archs/") else LINES
    assert lines(path) <= budget


def test_the_core_is_read_in_an_evening():
    text = (ROOT / "docs/architecture.md").read_text()
    core = [ROOT / name for name in re.findall(r"^\| \d+ \| `([^`]+)` \|", text, re.MULTILINE)]
    assert len(core) == 10
    assert sum(map(lines, core)) <= CORE


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def statements(function):
    return sum(isinstance(node, ast.stmt) for node in ast.walk(function)) - 1


def constructors_of_programs(tree):
    """Those that the program calls; of a registered part the arguments are the options that users write."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not any(
            ".register" in ast.unparse(d) for d in node.decorator_list
        ):
            yield from ((node.name, f) for f in functions(node) if f.name == "__init__")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_function_and_no_constructor_is_larger_than_its_budget(path):
    tree = ast.parse(path.read_text())
    assert [f.name for f in functions(tree) if statements(f) > STATEMENTS] == []
    if name_of(path).startswith("archs/"):
        return
    for name, constructor in constructors_of_programs(tree):
        arguments = len(constructor.args.args) - 1 + len(constructor.args.kwonlyargs)
        assert arguments <= ARGUMENTS or name in OF_USERS, name
