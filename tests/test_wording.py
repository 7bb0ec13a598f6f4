"""Counts are written with the noun that goes with them: nowhere "1 images"."""

import ast
import re
from pathlib import Path

from traiNNer.wording import counted

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "traiNNer").rglob("*.py"))
NO_NOUNS = re.compile(
    "is|was|has|does|as|this|its|ms|vs|times|process|takes|goes|stands|lies|leaves|makes|needs|differs|exceeds|"
    "averages|holds|exists|shows|begins"
)
"""Words behind a value that end like a plural."""
NEVER_ONE = re.compile("bytes|pixels|digits|characters|parameters")
"""Pixels are those of a side: one is no patch."""
TEXTS = {"form", "factor", "suffix[1:]", "expected", "len(self.unreadable)"}
"""Values that are no counts, and those that are said from 2 on."""
_NOUN = re.compile(r" ((?:(?:more|other|earlier|synthetic|LQ) )?[a-z-]+s)\b")


def test_one_has_its_own_form():
    assert [counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert counted(1, "pair is", "pairs are") == "1 pair is"
    assert counted(3000, "pair is", "pairs are", form=",") == "3,000 pairs are"


def plurals(tree):
    """Counts that may be 1 and are followed by a plural; not totals, as in "3 of {total} images"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            for before, value, text in zip(["", *node.values], node.values, node.values[1:], strict=False):
                if isinstance(value, ast.FormattedValue) and isinstance(text, ast.Constant):
                    yield from found(
                        getattr(before, "value", ""), ast.unparse(value.value), value, text.value
                    )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            for place in re.finditer("%[ds]", node.value):
                yield from found(node.value[: place.start()], place[0], node, node.value[place.end() :])


def found(before, value, node, behind):
    noun = _NOUN.match(behind)
    fraction = (
        re.search("[.%g]", ast.unparse(node.format_spec)) if getattr(node, "format_spec", None) else None
    )
    total = isinstance(before, str) and before.endswith(("of ", "last ", "the ", "all ", " x "))
    constant = value in TEXTS or value.strip("_").isupper()
    words = noun[1].split() if noun else []
    other = any(NO_NOUNS.fullmatch(word) or NEVER_ONE.fullmatch(word) for word in words)
    if words and not (fraction or total or constant or other):
        yield f"{node.lineno}: {value} {noun[1]}"


def test_no_message_has_a_plural_behind_a_count():
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
    assert [f"{path.name} {text}" for path, tree in trees.items() for text in plurals(tree)] == []
