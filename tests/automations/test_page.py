"""The tables of docs/automations.md are the signatures of the automations."""

import re
import typing
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import pytest
from automations.simulate import ALL
from automations.test_every_automation import GIVEN

from traiNNer.automations import AUTOMATIONS, Limits
from traiNNer.options.aliases import AUTOMATION_OPTIONS, COMMON_OPTIONS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/automations.md").read_text()
GUIDE = PAGE.partition("\n## The guide, statement by statement\n")[2]


def table(text):
    return dict(re.findall(r"^\| `([\w.]+)` \| ([^|]+) \|", text, re.MULTILINE))


def written(value):
    match value:
        case None:
            return "auto"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case tuple():
            return f"[{', '.join(value)}]"
        case _:
            return str(value)


def defaults(name):
    for option in AUTOMATIONS.parameters(name, GIVEN[name]).values():
        kinds = [kind for kind in (option.hint, *typing.get_args(option.hint)) if is_dataclass(kind)]
        if not kinds:
            yield option.name, written(option.default)
        for field in fields(kinds[0]) if kinds else ():
            default = field.default_factory() if field.default is MISSING else field.default
            yield f"{option.name}.{field.name}", written(default)


@pytest.mark.parametrize("name", ALL)
def test_the_page_has_every_option_with_its_default(name):
    section = PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert table(section) == dict(defaults(name))
    for part in ("**Watches**", "**Does**", "**Turn it off**", "Measured: ", "```\n"):
        assert part in section


def test_the_options_of_every_automation_come_first():
    assert set(table(PAGE.partition("\n## ")[0])) == set(COMMON_OPTIONS)
    assert Limits() == Limits(max_adjustments=None, monitor_only=False)


def rows_of_the_guide():
    lines = [line for line in GUIDE.splitlines() if line.startswith("| ") and "`" in line]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_statement_of_the_guide_names_a_file_and_a_test_that_exist():
    files = {path.name: path for path in (ROOT / "tests").rglob("test_*.py")}
    for row in rows_of_the_guide():
        file, _, name = row[-1].strip("` ").partition("::")
        assert file in files and f"def {name}(" in files[file].read_text(), row
        places = re.findall("`(traiNNer/[^`]+)`", row[1]) if len(row) == 3 else []
        assert all((ROOT / place).exists() for place in places), row
        assert len(row) == 2 or places or "iffers" in row[1], row


def test_every_option_of_an_automation_is_in_the_guide_and_no_other():
    named = {name: set[str]() for name in ALL}
    for row in rows_of_the_guide():
        cell = row[0]
        for name, options in re.findall(r"`(\w+)\.(\w+`(?:, `\.\w+`)*)", cell):
            if name in named:
                named[name] |= set(re.findall(r"\w+", options))
    assert named == {name: set(options) for name, options in AUTOMATION_OPTIONS.items()}
