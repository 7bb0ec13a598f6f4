"""What shows a run while it goes on: TensorBoard, Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from traiNNer.data.images.image_io import Pixels


class Board(Protocol):
    """Takes what a run has to show; the numbers of a window come at its end, after what happened within it."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One point on each named curve."""
        ...

    def text(self, step: int, tag: str, text: str) -> None:
        """A sentence, or a piece of Markdown."""
        ...

    def strip(self, step: int, tag: str, images: Mapping[str, Pixels]) -> None:
        """Images of one height that belong together, by what they are."""
        ...

    def settle(self) -> dict[str, int]:
        """Make safe what was shown so far; returns the lengths of the files that `cut` can shorten, by name."""
        ...

    def cut(self, lengths: Mapping[str, int]) -> None:
        """Forget what was shown after lengths were remembered; empty: everything."""
        ...

    def close(self) -> None:
        """Nothing more will be shown."""
        ...
