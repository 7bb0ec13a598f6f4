"""Single values of YAML 1.2 (core schema), read and written: `1e-4` is a number, `on` is text, `010` is ten."""

from __future__ import annotations

import math
import re
from typing import Any

NULL = {"", "~", "null", "Null", "NULL"}
"""Ways to write that there is no value."""

_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NAN = {".nan", ".NaN", ".NAN"}
_LONGEST_NUMBER = 300  # characters; beyond it Python refuses to convert, and nobody means a number
_PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*")


def read_scalar(text: str) -> Any:
    """What an unquoted scalar means in YAML 1.2 (core schema, section 10.3.2 of the specification)."""
    if text in NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if len(text) > _LONGEST_NUMBER:
        return text
    if _INT.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(text)
    if match := _INFINITE.fullmatch(text):
        return -math.inf if match[1] == "-" else math.inf
    return math.nan if text in _NAN else text


def write_scalar(value: Any) -> str:
    """The inverse of `read_scalar`, on one line; text that means something else is quoted."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float() if not math.isfinite(value):
            return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
        case int() | float():
            return repr(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and read_scalar(text) == text:
        return text
    return '"' + "".join(map(_in_quotes, text)) + '"'


def _in_quotes(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08x}"
