"""How counts are written in messages: 1 image, 2 images."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "", *, form: str = "") -> str:
    """A count with its noun.

    Args:
        count: Not negative.
        one: The noun in the singular, with what else differs: `pair is`.
        many: The same in the plural where that is not made by adding an s.
        form: How the number is written, as in a format string.
    """
    return f"{count:{form}} {one if count == 1 else many or one + 's'}"
