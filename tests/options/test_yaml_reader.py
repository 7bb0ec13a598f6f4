"""YAML 1.2 scalars, places of values, and plain sentences for everything that cannot be read."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traiNNer.options.scalars import read_scalar, write_scalar
from traiNNer.options.yaml_source import read_value, read_yaml
from traiNNer.registry import ConfigError

# the examples of section 10.3.2 of the YAML 1.2.2 specification, and what YAML 1.1 gets differently
SCALARS = {
    "": None,
    "~": None,
    "null": None,
    "true": True,
    "False": False,
    "yes": "yes",
    "on": "on",
    "No": "No",
    "1e-4": 1e-4,
    "1e5": 1e5,
    "12e03": 12000.0,
    "-2E+05": -2e5,
    ".5": 0.5,
    "0.": 0.0,
    "+12.3": 12.3,
    "010": 10,
    "0o14": 12,
    "0x10": 16,
    "-19": -19,
    ".inf": math.inf,
    "-.INF": -math.inf,
    "1_000": "1_000",
    "12:30:45": "12:30:45",
    "2024-01-01": "2024-01-01",
    "1.2.3": "1.2.3",
    "e5": "e5",
    "9" * 5000: "9" * 5000,
}


@pytest.mark.parametrize("text", SCALARS, ids=lambda text: text[:12])
def test_plain_scalars_mean_what_yaml_1_2_says(text):
    value = read_scalar(text)
    assert value == SCALARS[text] and type(value) is type(SCALARS[text])


def test_not_a_number_is_read():
    assert math.isnan(read_yaml("a: .nan", "f").tree["a"])


def test_quotes_and_tags_fix_the_kind_of_a_scalar():
    tree = read_yaml("a: '1e-4'\nb: \"no\"\nc: !!str 12\nd: !!float 3\ne: !!null ''", "f").tree
    assert tree == {"a": "1e-4", "b": "no", "c": "12", "d": 3.0, "e": None}
    assert isinstance(tree["d"], float)


PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text())


@given(PLAIN)
def test_what_is_written_reads_back(value):
    text = write_scalar(value)
    assert "\n" not in text
    read = read_value(text)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize("text", ["/data/set #1", "#1", "a # b", "C:\\new\\t"])
def test_nothing_of_a_value_on_the_command_line_is_a_comment(text):
    assert read_value(text) == text


# YAML limits such keys to 1024 characters as written (section 7.4.2), and escaping may take ten for one
@given(st.dictionaries(st.text(max_size=100), PLAIN, max_size=3))
def test_written_keys_and_values_read_back_in_a_file(tree):
    text = "\n".join(f"{write_scalar(k)}: {write_scalar(v)}  # why" for k, v in tree.items())
    assert read_yaml(text, "f").tree == tree


def test_marks_hold_the_places_of_keys_and_values():
    marks = read_yaml("a:\n  - x: 1\n    long: {b: 2}\n  - 3\n", "f.yml").marks
    assert marks["a", 0, "long", "b"].where(key=True) == "f.yml:3:12"
    assert marks["a", 0, "long", "b"].where(key=False) == "f.yml:3:15"
    assert marks["a", 1].where(key=False) == "f.yml:4:5"


def test_anchors_and_merge_keys_are_kept_and_own_keys_win():
    text = "base: &b {x: 1, y: 2}\nother: &o {x: 5, z: 6}\nc:\n  <<: [*b, *o]\n  y: 3\nd: *b\n"
    tree = read_yaml(text, "f").tree
    assert tree["c"] == {"x": 1, "y": 3, "z": 6}
    assert tree["d"] == {"x": 1, "y": 2}
    assert tree["d"] is not tree["base"]


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "~", "\ufeff"])
def test_an_empty_text_is_an_empty_mapping(text):
    assert read_yaml(text, "f").tree == {}


BAD = {
    "- 1": "f:1:1: should be a mapping (key: value) at the top",
    "text": "f:1:1: should be a mapping (key: value) at the top",
    "a:\n\tb: 1": "f:2:1: a tab where YAML wants spaces",
    "a: 1\n  b: 2": "f:2:4: a ':' where no key can stand; check the indentation, or quote it",
    "a:\n    b: 1\n  c: 2": "f:3:3: the indentation does not fit the lines above",
    "a: [1, 2\nb: 3": "f:2:2: a ',' or a closing bracket is missing",
    "a: 'x": "f:1:6: the file ends inside a quoted text",
    "a: *x": "f:1:4: no anchor (&name) of this name stands above",
    "a: @x": "f:1:4: a text that begins with this character must be quoted",
    "a: 1\n---\nb: 2": "f:2:1: one file holds one configuration; remove the '---'",
    "a: 1\nb: \x07": "f:2:4: the unprintable character '\\x07'",
    "? [x]\n: 1": "f:1:3: a key should be text, not a list or a mapping",
    "? {x: 1}\n: 1": "f:1:3: a key should be text, not a list or a mapping",
    "a: &a [*a]": "f:1:4: a.0: an alias (*name) inside what it names, or far too many values",
    "a: &a\n  <<: *a": "f:1:4: a: '<<' takes a mapping from elsewhere (*name) or a list of them",
    "<<: 3": "f:1:5: '<<' takes a mapping from elsewhere (*name) or a list of them",
    "a: !!int x": "f:1:4: a: 'x' is no int",
    'a: "\\ud800"': "f:1:4: a: half of a surrogate pair is no character",
}


@pytest.mark.parametrize("text", BAD, ids=repr)
def test_what_cannot_be_read_is_said_in_a_plain_sentence_with_its_place(text):
    with pytest.raises(ConfigError) as error:
        read_yaml(text, "f")
    assert error.value.problems == (BAD[text],)


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.getcwd", "!!python/name:os.system", "!env", "!!binary", "!!set"]
)
def test_tags_that_are_no_plain_values_are_refused_and_nothing_runs(tag):
    with pytest.raises(ConfigError, match=r"f:1:4: a: the tag .* is not allowed"):
        read_yaml(f"a: {tag} {{}}", "f")


def test_every_duplicate_key_is_named_with_both_lines():
    with pytest.raises(ConfigError) as error:
        read_yaml("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 2\n", "f")
    assert error.value.problems == (
        "f:5:3: b.c: the key is given twice, in lines 3 and 5",
        "f:6:1: a: the key is given twice, in lines 1 and 6",
    )


def test_aliases_of_aliases_cannot_fill_the_memory():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(ConfigError, match="far too many values"):
        read_yaml("\n".join(lines), "f")


@given(st.text(alphabet="a:- \n\t[]{}&*!|>'\"%@`#,?<\\01.~\ud800\x00", max_size=40))
def test_no_text_raises_anything_else(text):
    try:
        tree = read_yaml(text, "f").tree
    except ConfigError as error:
        assert all(line.startswith("f:") for line in error.problems)
    else:
        assert isinstance(tree, dict)
