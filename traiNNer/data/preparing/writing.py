"""The folders of a prepared data set, its manifest, and a page with pictures of what was kept and dropped."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from traiNNer.data.images.image_io import (
    ImageError,
    Pixels,
    eight_bits,
    image_size,
    read_image,
    write_bytes,
    write_image,
)
from traiNNer.data.preparing.measures import Measures, measure
from traiNNer.data.preparing.places import MANIFEST, tile_place
from traiNNer.data.preparing.selection import Limits, Verdict

_SHOWN, _THUMBNAIL = 8, 160  # pictures of each kind on the page, and their longer side in pixels
_NUMBERS = ("contrast", "sharpness", "blockiness", "jpeg_quality")


def write_one(source: Path, target: Path, tile: int) -> list[str]:
    """Copy a file, or cut it into tiles of `tile` pixels; names of the files written, or there already.

    Tiles are spread evenly over the image, overlapping where its size is no multiple. A file is written beside its
    place and moved there, so what is there is whole.
    """
    if not tile:
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.partial")
            shutil.copyfile(source, partial)
            partial.replace(target)
        return [target.name]
    image = read_image(source)
    rows, columns = (_starts(side, tile) for side in image.shape[:2])
    names = []
    for number, (top, left) in enumerate((top, left) for top in rows for left in columns):
        place, part = tile_place(target, number), image[top : top + tile, left : left + tile]
        if (
            not place.exists() or image_size(place) != part.shape[:2]
        ):  # tiles of another side have its name too
            write_image(place, cast("Pixels", np.ascontiguousarray(part)))
        names.append(place.name)
    return names


def _starts(side: int, tile: int) -> list[int]:
    count = max(1, round(side / tile))
    return [round(place) for place in np.linspace(0, max(0, side - tile), count)]


def write_manifest(
    out: Path,
    settings: Mapping[str, Any],
    found: Mapping[str, Measures],
    verdicts: Mapping[str, Verdict],
    written: Mapping[str, Sequence[str]],
) -> None:
    """`manifest.json`: the settings, and for every source its measures, what became of it, and hashes."""
    files = []
    for name, verdict in verdicts.items():
        made = {part: file_hash(out / part) for part in written.get(name, ())}
        files.append({"source": name, **asdict(verdict), "measures": asdict(found[name]), "written": made})
    text = json.dumps({"settings": settings, "files": files}, indent=1)
    write_bytes(out / MANIFEST, (text + "\n").encode())


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_page(
    out: Path, source: Path, limits: Limits, found: Mapping[str, Measures], verdicts: Mapping[str, Verdict]
) -> None:
    """`report.html`: counts, the spread of every measure with its threshold, pictures by what became of them."""
    kinds = Counter(verdict.kind or verdict.fate for verdict in verdicts.values())
    parts = [f"<h1>{html.escape(source.name)}</h1>", _table(("what became of them", "images"), kinds.items())]
    good = [m for m in found.values() if not m.problem]
    rows = []
    for key in _NUMBERS if good else ():
        values = np.percentile([getattr(m, key) for m in good], [0, 5, 25, 50, 75, 95, 100])
        limit = getattr(limits, f"max_{key}" if key == "blockiness" else f"min_{key}")
        rows.append((key, f"{limit:g}", *(f"{value:.4g}" for value in values)))
    parts.append(_table(("measure", "limit", "least", "5 %", "25 %", "median", "75 %", "95 %", "most"), rows))
    for kind in kinds:
        names = [name for name, verdict in verdicts.items() if (verdict.kind or verdict.fate) == kind]
        chosen = names[:: max(1, len(names) // _SHOWN)][:_SHOWN]
        figures = "".join(_figure(source / name, name, found[name], verdicts[name]) for name in chosen)
        parts.append(f"<h2>{kind}: {len(names)}</h2><div>{figures}</div>")
    style = (
        "body{font:14px sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0}td,th{padding:2px 10px;"
        "border:1px solid #ccc;text-align:right}figure{display:inline-block;margin:4px;width:170px;"
        "vertical-align:top;font-size:11px;overflow-wrap:anywhere}"
    )
    page = f"<!doctype html><meta charset=utf-8><style>{style}</style>{''.join(parts)}\n"
    write_bytes(out / "report.html", page.encode())


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    cells = ["".join(f"<th>{word}</th>" for word in head)]
    cells += ["".join(f"<td>{html.escape(str(value))}</td>" for value in row) for row in rows]
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def _figure(path: Path, name: str, m: Measures, verdict: Verdict) -> str:
    words = verdict.reason or ", ".join(f"{key} {getattr(m, key):g}" for key in _NUMBERS)
    picture = ""
    if not m.problem:
        try:
            picture = f'<img src="{_thumbnail(path)}">'
        except ImageError:
            picture = ""
    return f"<figure>{picture}<br>{html.escape(name)}<br>{html.escape(words)}</figure>"


def _thumbnail(path: Path) -> str:
    image = read_image(path)
    eight = eight_bits(image)
    factor = _THUMBNAIL / max(eight.shape[:2])
    size = [max(1, round(side * factor)) for side in eight.shape[1::-1]]
    small = cv2.resize(eight, size, interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def remembered(path: Path, source: Path) -> dict[str, Measures]:
    """The measures of an earlier call, of files that have not changed since."""
    if not path.is_file():
        return {}
    known: dict[str, Measures] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            name, stamp = entry["name"], entry["stamp"]
            known_measures = Measures(**entry["measures"])
        except (ValueError, KeyError, TypeError):  # the last line of a call that was killed
            continue
        file = source / name
        if file.is_file() and stamp == stamp_of(file):
            known[name] = known_measures
    return known


def stamp_of(path: Path) -> list[int]:
    """Changes with the file."""
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]


def measured_line(source: Path, name: str) -> tuple[str, Measures, str]:
    """Name, measures, and the line by which `remembered` knows them."""
    stamp, found = stamp_of(source / name), measure(source / name)
    return name, found, json.dumps({"name": name, "stamp": stamp, "measures": asdict(found)})
