"""Kinds of values that options take: counts, sizes, words in place of numbers, folders, parts with a type."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal, Required, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

MOST = 10**12
"""The largest whole number that an option takes; nothing is counted further."""


def _whole(value: Any) -> Any:
    """`2e3` is a whole number too, as long as it is exact."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= MOST else value


def or_word(word: str, least: int, most: int = MOST) -> BeforeValidator:
    """A whole number from `least` to `most`, or one word."""

    def check(value: Any) -> Any:
        value = _whole(value)
        number = isinstance(value, int) and not isinstance(value, bool)
        if value == word or (number and least <= value <= most):
            return value
        if number and value > most:
            raise PydanticCustomError("or_word", "should be at most {most}", {"most": f"{most:,}"})
        text = "should be a whole number of at least {least}, or '{word}'"
        raise PydanticCustomError("or_word", text, {"least": least, "word": word})

    return BeforeValidator(check)


def at_most(most: int) -> Any:
    """The upper end of a whole number, said in words that fit a count."""

    def check(value: int) -> int:
        if value > most:
            raise PydanticCustomError("at_most", "should be at most {most}", {"most": f"{most:,}"})
        return value

    return AfterValidator(check)


def _no_sign(value: float) -> float:
    if value < 0:
        text = "should be 0 or more: a negative weight trains away from the target"
        raise PydanticCustomError("negative_weight", text)
    return value


def listed(value: Any) -> Any:
    """A single text as a list of one."""
    return [value] if isinstance(value, str) else value


Whole: TypeAlias = Annotated[int, BeforeValidator(_whole), at_most(MOST)]
Count: TypeAlias = Annotated[Whole, Field(ge=1)]
Size: TypeAlias = Annotated[Whole, Field(ge=0)]
Weight: TypeAlias = Annotated[
    float, AfterValidator(_no_sign), WithJsonSchema({"type": "number", "minimum": 0})
]
AutoCount: TypeAlias = Annotated[Count | Literal["auto"], or_word("auto", 1)]
AutoSize: TypeAlias = Annotated[Size | Literal["auto"], or_word("auto", 0)]
AutoRate: TypeAlias = Annotated[
    float,
    Field(gt=0),
    WrapValidator(lambda value, number: value if value == "auto" else number(value)),
    PlainSerializer(lambda value: value, return_type=Any),  # the word is no float
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"const": "auto"}]}),
]
"""A number above 0, or `auto`."""
FilePath: TypeAlias = Annotated[str, AfterValidator(os.path.expanduser)]
"""A file or folder; `~` is the home of the user."""
Paths: TypeAlias = Annotated[
    list[FilePath],
    BeforeValidator(listed),
    WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}}),
]


class Spec(TypedDict, total=False):
    """A part: its `type` and whatever parameters that type takes."""

    __pydantic_config__ = ConfigDict(extra="allow", allow_inf_nan=False)  # type: ignore[reportGeneralTypeIssues] - read by pydantic
    type: Required[str]


class LossSpec(Spec, total=False):
    """A loss: its type, its weight and its parameters."""

    loss_weight: Weight
    target: Literal["gt", "teacher"]


class OptimizerSpec(Spec, total=False):
    """An optimizer: its type, its peak learning rate and its parameters."""

    lr: AutoRate
