"""Pictures of degraded samples beside each other, with what was done to them in words."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from traiNNer.data.degradations.chain import Applied
from traiNNer.data.images.image_io import eight_bits

Bytes = NDArray[np.uint8]

_GAP, _LINE = 8, 15  # pixels between cells, and of a line of text
_FONT, _SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.4
_LETTER = 7  # pixels, the mean width of a letter


@dataclass(frozen=True)
class Cell:
    """A picture or a text of a sheet."""

    title: str
    image: Bytes | None = None
    """(side, side, 3), RGB; None for text alone."""
    lines: Sequence[str] = ()


def sheet(rows: Sequence[Sequence[Cell]], side: int) -> Bytes:
    """All rows under each other, as one picture; cells are squares of `side` pixels under a title.

    Texts are twice as wide; every row has as many, or none.
    """
    return np.concatenate(
        [np.concatenate([_drawn(cell, side) for cell in _filled(row, rows)], 1) for row in rows]
    )


def _filled(row: Sequence[Cell], rows: Sequence[Sequence[Cell]]) -> list[Cell]:
    return [*row, *[Cell("")] * (max(map(len, rows)) - len(row))]


def _drawn(cell: Cell, side: int) -> Bytes:
    wide = side * (2 if cell.lines else 1)
    canvas = np.full((side + _GAP + _LINE, wide + _GAP, 3), 255, np.uint8)
    _write(canvas, cell.title, _LINE - 4)
    if cell.image is not None:
        canvas[_LINE : _LINE + side, :side] = cell.image
    width = wide // _LETTER
    wrapped = [part for line in cell.lines for part in textwrap.wrap(line, width, subsequent_indent="  ")]
    for number, line in enumerate(wrapped[: side // _LINE]):
        _write(canvas, line, (number + 2) * _LINE)
    return canvas


def _write(canvas: Bytes, text: str, row: int) -> None:
    cv2.putText(canvas, text, (0, row), _FONT, _SIZE, (0, 0, 0), 1, cv2.LINE_AA)


def enlarged(image: NDArray[Any], side: int) -> Bytes:
    """(side, side, 3), uint8, by repeating pixels."""
    pixels = eight_bits(image) if image.dtype == np.uint16 else np.rint(np.clip(image, 0, 255))
    return cast(
        "Bytes",
        cv2.resize(pixels.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST),
    )


def words(stage: str, parameters: Mapping[str, Any]) -> str:
    """What a stage did, in a line."""
    said = {key: value for key, value in parameters.items() if value is not False}
    values = [f"{v}" if isinstance(v, str) else key if v is True else f"{key} {v}" for key, v in said.items()]
    return f"{stage}: {', '.join(values)}"


def sample_row(title: str, gt: Bytes, clean: Bytes, lq: Bytes, trace: Sequence[Applied]) -> list[Cell]:
    """GT, what bicubic shrinking alone would leave, LQ, and the stages in words."""
    side = len(gt)
    lines = [words(applied.stage, applied.parameters) for applied in trace]
    return [
        Cell(f"{title}: GT", enlarged(gt, side)),
        Cell("bicubic", enlarged(clean, side)),
        Cell("LQ", enlarged(lq, side)),
        Cell("stages", lines=lines),
    ]


def stage_rows(gt: Bytes, lq: Bytes, trace: Sequence[Applied], columns: int = 4) -> list[list[Cell]]:
    """The image after every stage."""
    side = len(gt)
    cells = [Cell("GT", enlarged(gt, side))]
    cells += [Cell(words(a.stage, a.parameters), enlarged(a.image, side)) for a in trace]
    cells.append(Cell("LQ", enlarged(lq, side)))
    return [cells[start : start + columns] for start in range(0, len(cells), columns)]
