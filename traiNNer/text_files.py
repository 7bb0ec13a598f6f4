"""Text that people write: UTF-8, or what the mark at the beginning of the file says."""

from __future__ import annotations

import codecs
from pathlib import Path

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),  # what `>` writes in PowerShell 5
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class OtherEncoding(ValueError):
    """A file holds no text in an encoding that it names; says what to do."""


def read_text(path: Path) -> str:
    """What a file says, without the mark of its encoding.

    Raises:
        OSError: For a file that cannot be read.
        OtherEncoding: For one that is neither UTF-8 nor begins with the mark of UTF-16.
    """
    with path.open("rb") as file:
        start = file.read(len(codecs.BOM_UTF8))
    encoding = next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8")
    try:
        return path.read_text(encoding=encoding)
    except UnicodeDecodeError as error:
        text = f"is not UTF-8 text (byte {error.start}); save it anew with the encoding UTF-8"
        raise OtherEncoding(text) from error
