"""What is wrong with a configuration, in words: problems, their error, and the name that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError


class Problem(NamedTuple):
    """One thing that is wrong with a configuration."""

    path: tuple[str | int, ...]
    """Keys and list indices from the top of the configuration (or of the part) to the value."""
    message: str
    """What is wrong and, where known, what would be right."""

    def below(self, *prefix: str | int) -> Problem:
        """The same problem, seen from a place further up."""
        return Problem((*prefix, *self.path), self.message)


class ConfigError(ValueError):
    """The configuration asks for something that does not exist or does not fit.

    `problems` holds every problem that was found, each a finished line of text; `messages` the same without their
    subject, for who says it otherwise.

    Args:
        messages: What is wrong.
        subject: With what, such as a part by kind and name, or one for each message; empty where they say it
            themselves.
    """

    def __init__(self, messages: str | Sequence[str], *, subject: str | Sequence[str] = "") -> None:
        self.messages = (messages,) if isinstance(messages, str) else tuple(messages)
        subjects = [subject] * len(self.messages) if isinstance(subject, str) else subject
        pairs = zip(subjects, self.messages, strict=True)
        self.problems = tuple(f"{about}: {text}" if about else text for about, text in pairs)
        super().__init__("\n".join(self.problems))


def normalise(name: str) -> str:
    """The form in which names are compared: lower case, without underscores."""
    return name.lower().replace("_", "")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name if it is near enough to be a typing mistake, or nothing.

    One slip in names of four to six letters, two up to ten, three in longer ones; in shorter ones two neighbours
    swapped; or the one name that begins with this one, of five letters or more.
    """
    known, wanted = list(known), normalise(name)
    allowed = 0 if len(wanted) < 4 else 1 if len(wanted) <= 6 else 2 if len(wanted) <= 10 else 3
    slips = {candidate: _slips(wanted, normalise(candidate)) for candidate in known}
    swapped = [c for c in known if slips[c] == 1 and sorted(normalise(c)) == sorted(wanted)]
    nearest = min([*swapped, *known], key=lambda candidate: slips[candidate], default=None)
    if nearest is None or (slips[nearest] > allowed and nearest not in swapped):
        longer = [candidate for candidate in known if normalise(candidate).startswith(wanted)]
        nearest = longer[0] if len(longer) == 1 and len(wanted) >= 5 else None
    return f"; did you mean {nearest!r}?" if nearest is not None else ""


def _slips(one: str, other: str) -> int:
    """Letters left out, added, replaced or swapped with their neighbour between two words (Damerau 1964)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        new = [i]
        for j, wanted in enumerate(other, start=1):
            cost = min(row[j] + 1, new[j - 1] + 1, row[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, before[j - 2] + 1)
            new.append(cost)
        before, row = row, new
    return row[-1]


def shorten(value: Any) -> str:
    """A value as it was written, but not a page of it; Python refuses to print integers of 4300 digits."""
    huge = isinstance(value, int) and value.bit_length() > 256
    written = f"a number of about {int(value.bit_length() * 0.30103):,} digits" if huge else repr(value)
    return written if len(written) <= 200 else f"{written[:200]}..."


_EXPECTED = {
    "int_parsing": "should be a whole number",
    "int_type": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_parsing": "should be a number",
    "float_type": "should be a number",
    "bool_parsing": "should be true or false",
    "bool_type": "should be true or false",
    "string_type": "should be text",
    "list_type": "should be a list",
    "tuple_type": "should be a list",
    "dict_type": "should be a mapping (key: value)",
    "model_type": "should be a mapping (key: value)",
    "missing": "is required",
}


def problems_of(error: ValidationError) -> list[Problem]:
    """pydantic's findings in our words: what was expected and what was written."""
    found: list[Problem] = []
    for item in error.errors(include_url=False):
        if item["type"] == "value_error" and isinstance(
            item["input"], Mapping
        ):  # its parts contradict each other
            found.append(Problem(tuple(item["loc"]), str(item.get("ctx", {}).get("error"))))
            continue
        said = item["msg"].removeprefix("Input ")
        text = _EXPECTED.get(item["type"]) or said[0].lower() + said[1:]
        got = "" if item["type"] == "missing" else f" (got {shorten(item['input'])})"
        found.append(Problem(tuple(item["loc"]), text + got))
    return found
