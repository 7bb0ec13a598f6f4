"""Counts are written with the noun that goes with them: nowhere "1 images"."""

import ast
import re
from pathlib import Path

from powershell_grammar import faults

from traiNNer.wording import counted, line_of, shortened

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "traiNNer").rglob("*.py"))
COUNTED = re.compile(
    "images|pairs|files|folders|steps|iterations|samples|validations|tensors|names|values|frames|pages|decisions|"
    "changes|adjustments|channels|workers|processes|periods|spans|losses|weights|networks|options|epochs|patches|"
    "batches|runs|trials|photographs|lines|problems|warnings|errors|ones"
)
"""What messages count. Not pixels, which are those of a side, nor bytes and parameters: there is never one."""
TEXTS = {"form", "factor", "suffix[1:]", "expected", "len(self.unreadable)"}
"""Values that are no counts, and those that are said from 2 on."""
_NOUN = re.compile(r" ((?:(?:more|other|earlier|synthetic|LQ) )?[a-z-]+s)\b")


def test_one_has_its_own_form():
    assert [counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert counted(1, "pair is", "pairs are") == "1 pair is"
    assert counted(3000, "pair is", "pairs are", form=",") == "3,000 pairs are"


def test_a_command_line_for_windows_is_one_of_powershell():
    words = ["trainner", r"C:\my photos\\", "(1).yml", "a,b", "train.total_iter=5", "-opt", "1:a?"]
    line = line_of(words, windows=True)
    assert line == r'trainner "C:\my photos\\\\" "(1).yml" "a,b" train.total_iter=5 -opt 1:a?'
    assert faults(line) == []
    assert line_of(["a", "b c"], windows=False) == "a 'b c'"


def test_long_lists_are_cut_in_one_way():
    assert shortened("abc", 3) == ["a", "b", "c"]
    assert shortened({"a": 1, "b": 2, "c": 3}, 1) == ["a", "and 2 more"]
    own = re.compile(r"and \{[^}]*len\([^}]*\} more")
    assert [str(path) for path in FILES if own.search(path.read_text("utf-8"))] == []


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
    if noun and COUNTED.fullmatch(noun[1].split()[-1]) and not (fraction or total or constant):
        yield f"{node.lineno}: {value} {noun[1]}"


def test_no_message_has_a_plural_behind_a_count():
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
    assert [f"{path.name} {text}" for path, tree in trees.items() for text in plurals(tree)] == []
