"""Which package may import which: arrows point one way, and some parts stay free of torch."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "traiNNer"
MAY_IMPORT = {
    "control": set(),
    "registry": set(),
    "options": {"registry"},
    "automations": {"control", "registry"},
    "data": {"registry"},
    "archs": {"registry"},
    "losses": {"registry", "archs"},
    "metrics": {"registry", "archs"},
    "optim": {"control", "registry"},
    "models": {"control", "registry", "data", "archs", "losses", "metrics", "optim"},
}
MAY_IMPORT["engine"] = {*MAY_IMPORT} - {"engine"}
WITHOUT_TORCH = {"control", "registry", "options", "automations"}


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).parts
        if parts != ("__init__.py",):
            yield pytest.param(path, parts[0].removesuffix(".py"), id="/".join(parts))


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
        if top == "traiNNer" and rest and rest[0] != layer:
            assert rest[0] in MAY_IMPORT[layer], f"{path.name} imports {name}"
        if top in ("torch", "torchvision"):
            assert layer not in WITHOUT_TORCH, f"{path.name} imports {name}"


def test_only_the_engine_knows_the_options():
    for path in ROOT.rglob("*.py"):
        layer = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if layer not in ("engine", "options"):
            assert not any(name.startswith("traiNNer.options") for name in imports(path)), path
