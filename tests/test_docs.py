"""The documents say what is true: links, files, names, figures and examples."""

import argparse
import ast
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from powershell_grammar import faults

from traiNNer.archs import NETWORKS, build_network, list_networks
from traiNNer.archs.published import PUBLISHED
from traiNNer.build.check import check_parts, check_test_parts
from traiNNer.build.lint import unwise
from traiNNer.cli.trainner import VERBS
from traiNNer.options import load_options
from traiNNer.options.recipes import recipes
from traiNNer.options.shape import sections

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("docs/**/*.md")),
]
PAGES += [ROOT / "datasets/README.md", ROOT / "experiments/README.md"]
RECIPES = sorted(ROOT.glob("options/**/*.yml"))
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
PRELUDE = """
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
import torch
from torch import Tensor, nn
from traiNNer.archs import NETWORKS, NetworkFacts, build_network
from traiNNer.automations import AUTOMATIONS, Automation
from traiNNer.control import Change, Controls, Decision, Plain
from traiNNer.events import Event, RunFacts
from traiNNer.data.loader import TrainLoader
from traiNNer.data.paired_dataset import Excerpt, Pair, Patch
from traiNNer.data.sampler import SampleSpec
from traiNNer.losses import LOSSES, LossInputs
from traiNNer.metrics import METRICS
from traiNNer.metrics.protocol import compared
from traiNNer.optim.schedules import SCHEDULES, Schedule
"""
USE = """
a, b = torch.full((2, 3, 8, 8), 0.2), torch.ones(2, 3, 8, 8)
assert LOSSES.build({"type": "cubicloss"})(LossInputs(a, b, b)).isclose(torch.tensor(0.512))
assert METRICS.build({"type": "mae"})(a, b).tolist() == [204, 204]
net = build_network({"type": "TinyShuffle", "scale": 2})
assert net(a).shape == (2, 3, 16, 16)
assert SCHEDULES.build({"type": "half", "at": 3}, base_lr=1.0, total_iter=9)(5) == 0.5
assert AUTOMATIONS.build({"type": "PatientObserver", "patience": 2}, facts=None).decide(None) == []
controls = Controls(4, 4, 48)
decision = SetPatch(lq_size=40, reason="why")
from traiNNer.tracking.decisions import sentence
assert sentence(decision, controls) == "lq_size adjusted from 48.0 to 40.0 due to why"
decision.apply(controls)
assert controls.lq_size == 40
batch = next(TrainLoader(PlainColours(2), 0).batches(0, 4, 8))
assert batch.gt.shape == (4, 16, 16, 3)
import sys
sys.path.append("tests")
from pathlib import Path
from tempfile import TemporaryDirectory
import small_run
from traiNNer.build import data
data.assemble = lambda options, *_: PlainColours(options.scale)
with TemporaryDirectory() as folder:
    for root in ("train/HR", "train/LRx2", "val/HR", "val/LRx2"):
        (Path(folder) / "demo" / root).mkdir(parents=True)
    tree = small_run.options(Path(folder), total_iter=2) | {"val": {"val_freq": 2}}
    ended = small_run.train(small_run.write_options(Path(folder), tree))
    assert ended.returncode == 0, ended.stderr
    assert "datasets.train: 16 pairs, made as they are read" in ended.stdout + ended.stderr
    assert (Path(folder) / "experiments/small/models/net_g_2.safetensors").is_file()
"""


def ids(path):
    return str(path.relative_to(ROOT))


def named_files(text):
    """Paths of our own in backticks."""
    tops = r"(?:traiNNer|tests|scripts|options|docs|datasets|experiments)/[\w./]*\.(?:py|md|yml)"
    return set(re.findall(rf"`({tops})`", text)) | set(re.findall(r"[ `](options/[\w/]+\.yml)", text))


def anchors(page):
    """What its headings are called in links."""
    text = re.sub(r"^( *)```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def leads_somewhere(page, link):
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    return target.exists() and (not anchor or anchor in anchors(target))


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_relative_links_and_named_files_exist(page):
    text = page.read_text()
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if not leads_somewhere(page, link)] == []
    made_by_the_reader = {"options/mine.yml"}
    assert [name for name in named_files(text) - made_by_the_reader if not (ROOT / name).is_file()] == []


def said(path):
    """Texts of a file that users may see: all but docstrings, and those that a command or the options show."""
    tree = ast.parse(path.read_text())
    hidden = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            is_shown = "cli" in path.parts and isinstance(node, ast.Module) or path.name.endswith("fields.py")
            hidden |= set() if is_shown else {id(s.value) for s in node.body if isinstance(s, ast.Expr)}
    texts = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return [node.value for node in texts if id(node) not in hidden]


def test_nothing_that_users_are_told_is_a_page_that_an_installed_package_has_not():
    naming = [path for path in (ROOT / "traiNNer").rglob("*.py") if "docs/" in path.read_text()]
    found = {path.name: [text for text in said(path) if "docs/" in text] for path in naming}
    of_who_reads_the_code = {"fields.py": 1}  # its first docstring
    assert {name: len(texts) for name, texts in found.items() if texts} == of_who_reads_the_code
    assert "docs/" not in (ROOT / "schemas/traiNNer.schema.json").read_text()


def test_the_core_is_ten_files_in_order():
    rows = re.findall(r"^\| (\d+) \| `([^`]+)` \|", ARCHITECTURE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 11))
    assert all((ROOT / name).is_file() for _, name in rows)


def test_the_examples_of_every_kind_of_part_work():
    blocks = re.findall(r"```python\n(.*?)```", ARCHITECTURE, re.DOTALL)
    assert len(blocks) == 7
    program = "\n".join([PRELUDE, *blocks, USE])  # in a process of its own: registries are not put back
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", RECIPES, ids=ids)
def test_every_recipe_loads_and_says_what_it_is_about(path):
    check = check_test_parts if path.is_relative_to(ROOT / "options/test") else check_parts
    options = load_options(path, check=check)
    assert options.datasets
    assert [note.text for note in options.notes] == []
    assert options.train is None or list(unwise(options)) == []
    assert path.read_text().startswith("# ")


def test_every_recipe_is_said_to_be_for_something():
    rows = re.findall(r"^\| (`.+`) \| .+ \|$", (ROOT / "docs/first_model.md").read_text(), re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(recipes())


def test_every_network_is_listed_with_its_parameters():
    text = (ROOT / "docs/networks.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([\d,]+) \|$", text, re.MULTILINE)
    assert [name for name, _ in rows] == [name for name in list_networks() if name not in PUBLISHED]
    counted = {}
    for name, _ in rows:
        scale = {"scale": 2} if "scale" in NETWORKS.parameters(name) else {}
        with torch.device("meta"):
            counted[name] = sum(p.numel() for p in build_network({"type": name, **scale}).parameters())
    assert {name: int(number.replace(",", "")) for name, number in rows} == counted


def test_the_option_names_of_the_networks_page_exist():
    text = (
        (ROOT / "docs/networks.md").read_text().partition("## Options")[2].partition("\n\nParagonSR2 is")[0]
    )
    known = {name for network in list_networks() for name in NETWORKS.parameters(network)}
    words = {word for word in re.findall(r"`([a-z_]+)`", text) if not word.startswith(("_", "paragonsr2"))}
    assert words - known <= set(list_networks())


def test_decisions_are_numbered_once_and_by_their_file():
    files = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
    numbers = [int(file.name[:4]) for file in files]
    assert len(set(numbers)) == len(files) > 0
    for file, number in zip(files, numbers, strict=True):
        assert re.match(rf"# {number}\. \S", file.read_text(encoding="utf-8")), file.name


PROGRAMS = {"python", "python3", "py", "pip", "trainner", "tensorboard", "torchrun", "pytest"}
IN_ANY_SHELL = [page for page in PAGES if page.name not in ("benchmarks.md", "CONTRIBUTING.md")]


def commands(text):
    """Blocks of commands that are not marked as those of bash, with the number of their first line."""
    for found in re.finditer(r"^( *)```(powershell)?\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
        block = found[3]
        if found[2] or block.split(maxsplit=1)[0] in PROGRAMS:
            yield text[: found.start(3)].count("\n") + 1, block


def test_commands_of_the_documents_are_commands_of_powershell_too():
    blocks = [(ids(page), *found) for page in IN_ANY_SHELL for found in commands(page.read_text())]
    assert len(blocks) > 20
    assert [(page, line, why) for page, line, block in blocks for why in faults(block)] == []


OPTIONS = {".".join((*place, name)) for place, section in sections() for name in section.model_fields}
PARSERS = {f"trainner {name}": verb.module for name, verb in VERBS.items()}
PARSERS |= {f"python scripts/{module}.py": module for module in PARSERS.values()}
PARSERS |= {"python scripts/check_config.py": "check", "python train.py": "train", "python test.py": "test"}


def untaken(line):
    """Why a command of ours would be refused for its words; None for those that would not."""
    program = re.match("|".join(map(re.escape, sorted(PARSERS, reverse=True))), line)
    if not program:
        return None
    words = shlex.split(line[program.end() :], comments=True)
    parser = import_module(f"traiNNer.cli.{PARSERS[program[0]]}").command_line()
    parser.exit_on_error = False
    try:
        parser.parse_intermixed_args(words)
    except (argparse.ArgumentError, SystemExit) as error:
        return f"{line}: {error}"
    keys = [key for key, value, _ in (word.partition("=") for word in words) if value and "." in key]
    return next((f"{line}: {key}" for key in keys if not is_option(key)), None)


def is_option(key):
    """Whether it is one of the tree, or below one that is open."""
    parts = re.sub(r"^datasets\.\w+", "datasets.*", key).split(".")
    return any(".".join(parts[:end]) in OPTIONS for end in range(2, len(parts) + 1))


def test_commands_of_the_documents_are_taken_by_their_programs():
    blocks = [block for page in IN_ANY_SHELL for _, block in commands(page.read_text())]
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    assert sum(line.startswith(tuple(PARSERS)) for line in lines) > 20
    assert [why for line in lines if (why := untaken(line))] == []
    assert untaken("trainner upscale a b c --tiles 3") and untaken(
        "python train.py -opt a.yml trian.total_iter=3"
    )


def test_messages_of_the_troubleshooting_page_are_those_of_the_program():
    page = (ROOT / "docs/troubleshooting.md").read_text()
    source = "\n".join(path.read_text() for path in (ROOT / "traiNNer").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*[rf]?"', "", source)  # a message of several literals
    quoted = [
        line for block in re.findall(r"```text\n(.*?)```", page, re.DOTALL) for line in block.splitlines()
    ]
    assert len(quoted) > 80
    pieces = {(line, piece.strip()) for line in quoted for piece in line.split("...")}
    assert sorted(line for line, piece in pieces if piece not in source) == []


def test_what_powershell_does_not_take_is_seen():
    wrong = [
        "a && b",
        "a \\\n  --b",
        "export A=1",
        "A=1 python b.py",
        "python a.py b={c: d}",
        "python -a.b 3",
    ]
    assert [text for text in wrong if not faults(text)] == []
