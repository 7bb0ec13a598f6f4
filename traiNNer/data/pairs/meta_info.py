"""Lists of the images of a data set, as BasicSR's `meta_info_file`."""

from __future__ import annotations

import re
from pathlib import Path

from traiNNer.data.pairs.file_index import stem
from traiNNer.registry import ConfigError
from traiNNer.text_files import OtherEncoding, read_text


def listed_names(path: str | Path) -> set[str]:
    """The names in a list: relative paths of GT images without suffix, one a line, a size in brackets after it.

    `0001_s001.png (480,480,3)` is `0001_s001`; empty lines are none.

    Raises:
        ConfigError: For a file that cannot be read, names nothing, or names two files in a line.
    """
    try:
        lines = read_text(Path(path)).splitlines()
    except OSError as error:
        raise ConfigError(f"meta_info_file: {path}: cannot be read ({error.strerror})") from None
    except OtherEncoding as error:
        raise ConfigError(f"meta_info_file: {path}: {error}") from None
    named = [name for line in lines if (name := re.sub(r"\s*\([\d\s,]*\)\s*$", "", line).strip())]
    if two := next((name for name in named if ", " in name), None):
        raise ConfigError(
            f"meta_info_file: {path}: names two files in a line ({two}): name the GT alone; its LQ is the file of "
            "the same name (filename_tmpl)"
        )
    if not named:
        raise ConfigError(f"meta_info_file: {path}: names no image")
    return {stem(name.replace("\\", "/").removeprefix("./")) for name in named}
