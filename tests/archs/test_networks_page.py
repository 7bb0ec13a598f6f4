"""`docs/networks.md` and `published_files.md` list the networks of other authors and their files as they are."""

import re
from pathlib import Path

import pytest
import torch
from torch.overrides import TorchFunctionMode

from traiNNer.archs import NETWORKS, build_network
from traiNNer.archs.download import is_address
from traiNNer.archs.published import FAMILIES, PUBLISHED

DOCS = Path(__file__).parents[2] / "docs"
PAGE, FILES_PAGE = ((DOCS / name).read_text() for name in ("networks.md", "published_files.md"))
FAMILY_ROWS = re.findall(
    r"^\| `(\w+)` \| \[?[^|]+ \| ([\d,]+) \| (\d+)/(\d+) \| (\S+) \| ([\w ]+) \|", PAGE, re.MULTILINE
)
PRESET_ROWS = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| `(\w+)` \|$", PAGE, re.MULTILINE)
COUNTS = {name: int(count.replace(",", "")) for name, count, *_ in FAMILY_ROWS}
COUNTS |= {name: int(count.replace(",", "")) for name, count, _ in PRESET_ROWS}
ONNX = {"batch and size": "any", "size": "one image", "nothing": "one size"}
QUICK = ("craft", "ditn", "fdat_tiny", "mosr_t", "omnisr", "plksr_tiny", "safmn", "seemore_t", "swinir_s")


class _NumbersOnTheHost(TorchFunctionMode):
    """Rates of stochastic depth are read while a network is made, which memory-less tensors do not bear."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        place = {"device": "cpu"} if func is torch.linspace else {}
        return func(*args, **{**(kwargs or {}), **place})


def made(name):
    family = next(f for f in FAMILIES.values() if name in (f.name, *f.presets))
    spec = {"type": name, "scale": 4 if 4 in family.scales else family.scales[0]}
    if family.name == "rcan":  # copies numbers into its weights
        return build_network(spec)
    with torch.device("meta"), _NumbersOnTheHost():
        return build_network(spec)


def test_every_family_and_preset_has_its_row():
    assert [name for name, *_ in FAMILY_ROWS] == sorted(FAMILIES)
    assert {(preset, family.name) for family in FAMILIES.values() for preset in family.presets} == {
        (preset, family) for preset, _, family in PRESET_ROWS
    }
    assert COUNTS.keys() == PUBLISHED


def check(names):
    for name, _, least, multiple, tiles, onnx in FAMILY_ROWS:
        if name in names:
            facts = made(name).facts
            margin = "near" if facts.tile_margin is None else str(facts.tile_margin)
            assert (int(least), int(multiple), tiles) == (facts.min_size, facts.multiple_of, margin), name
            assert onnx == ("no" if facts.onnx.refused else ONNX[facts.onnx.free]), name
    assert {name: COUNTS[name] for name in names} == {
        name: sum(p.numel() for p in made(name).parameters()) for name in names
    }


def test_sizes_margins_and_parameters_are_right_for_some():
    check(QUICK)


@pytest.mark.slow
def test_sizes_margins_and_parameters_are_right_for_all():
    check(sorted(PUBLISHED))


def test_every_family_of_other_authors_has_its_licence_once_or_the_words_that_it_is_not_known():
    rows = re.findall(r"^\| (`.+`) \| (.+) \| .*\|$", FILES_PAGE.partition("## Licences")[2], re.MULTILINE)
    named = [name for cell, _ in rows for name in re.findall(r"`(\w+)`", cell)]
    assert len(named) == len(set(named)) and set(FAMILIES) <= set(named) <= set(NETWORKS.names())
    assert all(re.match("MIT|Apache|BSD|CC0|not known", licence) for _, licence in rows)


def test_every_official_file_has_a_type_and_an_address_that_is_read():
    page = FILES_PAGE.partition("## Licences")[0]
    rows = re.findall(
        r"^\| `(\w+)`[^|]* \| (?:\[\S+\]\((\S+)\))?[^|]* \| \d \| (?:`(\w*)`)? ?\|$", page, re.MULTILINE
    )
    assert len(rows) == page.count("\n| `")
    for kind, address, checksum in rows:
        assert kind in NETWORKS.names()
        assert is_address(address) or not address
        assert re.fullmatch("[0-9a-f]{64}", checksum) or not checksum
