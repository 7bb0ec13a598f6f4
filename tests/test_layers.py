"""Which package may import which: arrows point one way, and some parts stay free of torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "traiNNer"
MAY_IMPORT = {
    "control": set(),
    "events": {"control"},
    "problems": set(),
    "registry": {"problems"},
    "options": {"registry"},
    "automations": {"control", "events", "registry"},
    "data": {"registry"},
    "archs": {"registry"},
    "losses": {"registry", "archs"},
    "metrics": {"registry", "archs"},
    "optim": {"control", "registry"},
    "models": {"control", "registry", "data", "archs", "losses", "metrics", "optim"},
}
PARTS = {*MAY_IMPORT} - {"problems", "options", "automations"}
MAY_IMPORT["runtime"] = {"registry"}
MAY_IMPORT["inference"] = {*PARTS, "runtime"}
MAY_IMPORT["release"] = {*MAY_IMPORT["inference"], "inference"}
MAY_IMPORT["tracking"] = {*MAY_IMPORT["inference"], "inference", "automations"}
MAY_IMPORT["training"] = {*MAY_IMPORT["tracking"], "tracking", "release"}
MAY_IMPORT["build"] = {*MAY_IMPORT["training"], "training", "options"}
MAY_IMPORT["cli"] = {*MAY_IMPORT["build"], "build"}
MAY_IMPORT["__main__"] = {"cli"}
for of in MAY_IMPORT.values():
    of.update({"wording", "text_files"})
MAY_IMPORT["wording"] = MAY_IMPORT["text_files"] = set()
WITHOUT_TORCH = {
    "wording",
    "text_files",
    "control",
    "events",
    "problems",
    "registry",
    "options",
    "automations",
}


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


def test_only_build_and_the_command_line_know_the_options():
    for path in ROOT.rglob("*.py"):
        layer = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if layer not in ("build", "cli", "options"):
            assert not any(name.startswith("traiNNer.options") for name in imports(path)), path


def test_using_a_network_imports_nothing_of_training():
    program = (
        "import sys; import traiNNer.cli.upscale, traiNNer.cli.export;"
        "print(*(name for name in sys.modules if name.startswith('traiNNer.')))"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    rooms = {name.split(".")[1] for name in printed.stdout.split()}
    assert "inference" in rooms
    assert not rooms & {"build", "training", "tracking", "automations", "optim", "losses"}
