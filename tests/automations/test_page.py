"""The tables of docs/automations.md are the signatures of the automations."""

import re
import typing
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import pytest
from automations.simulate import ALL
from automations.test_every_automation import GIVEN

from traiNNer.automations import AUTOMATIONS, Limits
from traiNNer.options.aliases import COMMON_OPTIONS

PAGE = (Path(__file__).resolve().parents[2] / "docs/automations.md").read_text()


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
