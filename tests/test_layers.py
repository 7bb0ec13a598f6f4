"""Which package may import which: arrows point one way, and some parts stay free of torch."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "traiNNer"
OPTION_FILES = {"options", "option_draft", "option_forms", "option_names", "option_relations", "option_tree"}
OPTION_FILES |= {"yaml_reader"}
MAY_IMPORT = {
    "control": set(),
    "registry": set(),
    "options": {"registry"},
    "automations": {"control", "registry"},
    "data": {"registry"},
    "archs": {"registry"},
    "losses": {"registry", "archs"},
    "metrics": {"registry"},
    "optim": {"control", "registry"},
    "models": {"control", "registry", "data", "archs", "losses", "metrics", "optim"},
    "export": {"control", "registry", "data", "archs", "metrics", "models"},
}
MAY_IMPORT["engine"] = {*MAY_IMPORT, "export"} - {"engine"}
WITHOUT_TORCH = {"control", "registry", "options", "automations"}


def layer_of(name: str) -> str:
    return "options" if name in OPTION_FILES else name


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).parts
        if parts != ("__init__.py",):
            yield pytest.param(path, layer_of(parts[0].removesuffix(".py")), id="/".join(parts))


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize(("path", "layer"), list(modules()))
def test_imports_point_one_way(path, layer):
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "traiNNer" and rest and layer_of(rest[0]) != layer:
            assert layer_of(rest[0]) in MAY_IMPORT[layer], f"{path.name} imports {name}"
        if top in ("torch", "torchvision"):
            assert layer not in WITHOUT_TORCH, f"{path.name} imports {name}"


def test_only_the_engine_knows_the_options():
    for path in ROOT.rglob("*.py"):
        layer = layer_of(path.relative_to(ROOT).parts[0].removesuffix(".py"))
        if layer not in ("engine", "options"):
            assert not any(name.startswith("traiNNer.option") for name in imports(path)), path
