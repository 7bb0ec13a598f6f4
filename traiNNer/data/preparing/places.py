"""Where prepared images lie: which file is made of which source, and which of them this program has made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from traiNNer.registry import ConfigError

MANIFEST, MEMORY = "manifest.json", "measures.jsonl"
"""What was made of what, and what is known of the sources; in the folder of the data set."""
_PARTS = ("train", "val")
_TILE = re.compile(r"_s\d{3,}$")


class Places:
    """The files that sources become.

    Args:
        out: Folder of the data set.
        place: Of every source, by its name, the relative path of its copy, both with `/`.
    """

    def __init__(self, out: Path, place: Mapping[str, str]) -> None:
        self._out, self._place = out, place
        self._copied = {copy: name for name, copy in place.items()}
        self._cut = {str(Path(copy).with_suffix("")): name for name, copy in place.items()}

    def target(self, name: str, part: str) -> Path:
        """The copy of a source in `train` or `val`; tiles are called after it."""
        return self._out / part / self._place[name]

    def made(self) -> Iterator[tuple[Path, str]]:
        """The files that are there of the sources, copies and tiles, with the source of each.

        What a call that was killed left half written has no source: an empty name.
        """
        for part in _PARTS:
            for path in _files(self._out / part):
                if path.name.startswith(".") and path.suffix in (".partial", ".part"):
                    yield path, ""
                    continue
                place = path.relative_to(self._out / part)
                source = self._copied.get(place.as_posix())
                if source is None and path.suffix == ".png":
                    source = self._cut.get(_TILE.sub("", str(place.with_suffix(""))))
                if source is not None:
                    yield path, source


def tile_place(target: Path, number: int) -> Path:
    """A tile of an image, beside where its copy would be."""
    return target.with_name(f"{target.stem}_s{number:03}.png")


def refuse_what_others_made(out: Path) -> None:
    """Raise ConfigError for a folder that holds a data set of others, which would be mixed with this one."""
    if (out / MEMORY).is_file() or made_before(out):
        return
    for part in _PARTS:
        if (found := next(_files(out / part), None)) is not None:
            raise ConfigError(f"{out}: holds a data set already ({found}); choose another folder")


def made_before(out: Path) -> set[Path]:
    """The files that the manifest of an earlier call lists."""
    try:
        files = json.loads((out / MANIFEST).read_text(encoding="utf-8"))["files"]
        return {out / file for entry in files for file in entry["written"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())
