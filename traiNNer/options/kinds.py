"""Kinds of values that options take: counts, sizes, words in place of numbers, folders, parts with a type."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Required, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def or_word(word: str, least: int) -> BeforeValidator:
    """A whole number of at least `least`, or one word."""

    def check(value: Any) -> Any:
        value = _whole(value)
        if value == word or (isinstance(value, int) and not isinstance(value, bool) and value >= least):
            return value
        text = "should be a whole number of at least {least}, or '{word}'"
        raise PydanticCustomError("or_word", text, {"least": least, "word": word})

    return BeforeValidator(check)


def listed(value: Any) -> Any:
    """A single text as a list of one."""
    return [value] if isinstance(value, str) else value


Whole: TypeAlias = Annotated[int, BeforeValidator(_whole)]
Count: TypeAlias = Annotated[Whole, Field(ge=1)]
Size: TypeAlias = Annotated[Whole, Field(ge=0)]
AutoCount: TypeAlias = Annotated[Count | Literal["auto"], or_word("auto", 1)]
AutoSize: TypeAlias = Annotated[Size | Literal["auto"], or_word("auto", 0)]
Paths: TypeAlias = Annotated[
    list[str],
    BeforeValidator(listed),
    WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}}),
]


class Spec(TypedDict, total=False):
    """A part: its `type` and whatever parameters that type takes."""

    __pydantic_config__ = ConfigDict(extra="allow", allow_inf_nan=False)  # type: ignore[reportGeneralTypeIssues] - read by pydantic
    type: Required[str]


class LossSpec(Spec, total=False):
    """A loss: its type, its weight and its parameters."""

    loss_weight: float


class OptimizerSpec(Spec, total=False):
    """An optimizer: its type, its peak learning rate and its parameters."""

    lr: Annotated[float, Field(gt=0)]
