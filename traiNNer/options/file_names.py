"""Texts of a configuration that become names of files and folders: what they may hold, and where they may lead."""

from __future__ import annotations

import logging
from pathlib import Path as FilePath

from traiNNer.options.document import Draft
from traiNNer.options.yaml_source import Path

_FORBIDDEN = '/\\:*?"<>|'
_LONGEST = 150  # bytes; file systems take 255, and a name gets prefixes, steps and suffixes
_LONGEST_PART, _LONGEST_PATH = 255, 4000
_DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"}
_OF_WINDOWS = _DEVICES | {port + n for port in ("com", "lpt") for n in "123456789\u00b9\u00b2\u00b3"}
_OF_THE_PROGRAM = {"tb_logger"}
_PATHS_OF_SETS = ("dataroot_gt", "dataroot_lq", "filename_tmpl", "cache_dir")
_RUN_FOLDERS = ("models", "training_states", "log", "visualization")


def check_names(draft: Draft) -> None:
    """Report names that are none, paths with characters that nobody means, and folders of another run."""
    name = draft.get(("name",))
    if isinstance(name, str) and name.lower() in _OF_THE_PROGRAM:
        draft.report(("name",), f"should be another name: experiments/{name} holds the records of all runs")
    elif isinstance(name, str):
        _check_name(draft, ("name",), "a name for a folder")
    for path in draft.matches(("datasets", "*")):
        _check_name(draft, (*path, "name"), "a name for a folder")
    _check_name(draft, ("val", "suffix"), "a part of a file name")
    for label in draft.section(("val", "metrics")):
        if fault := _fault(label):
            draft.report(("val", "metrics", label), f"should be a name for a metric, {fault}", key=True)
    losses = draft.get(("train", "losses"))
    for index in range(len(losses) if isinstance(losses, list) else 0):
        _check_name(draft, ("train", "losses", index, "name"), "a name for a loss")
    for path in (("path",), *draft.matches(("datasets", "*"))):
        _check_paths(draft, path)
    _note_other_runs(draft)


def _check_name(draft: Draft, path: Path, kind: str) -> None:
    value = draft.get(path)
    if isinstance(value, str) and (fault := _fault(value)):
        draft.report(path, f"should be {kind}, {fault} (got {value[:200]!r})")


def _fault(name: str) -> str:
    """Why a text cannot be part of a file's name, or nothing."""
    return f"of at most {_LONGEST} bytes" if len(name.encode()) > _LONGEST else name_fault(name)


def name_fault(name: str) -> str:
    """Why no file or folder can have this name on Windows, where most names are refused, or nothing."""
    if not name.strip(". ") or any(c in _FORBIDDEN or not c.isprintable() for c in name):
        return f"without {' '.join(_FORBIDDEN)}"
    if name.split(".")[0].strip().lower() in _OF_WINDOWS:
        return "which Windows keeps for devices"
    return "without a dot or space at its end, which Windows cuts off" if name[-1] in ". " else ""


def _check_paths(draft: Draft, section: Path) -> None:
    """A path with a tab or a line break comes from double quotes, where `\\t` and `\\n` mean those."""
    for key, value in draft.section(section).items():
        if section[0] == "datasets" and key not in _PATHS_OF_SETS:
            continue
        for index, text in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if fault := _path_fault(text) if isinstance(text, str) else "":
                place = (*section, key) if index is None else (*section, key, index)
                draft.report(place, f"{fault} (got {text[:200]!r})")


def _path_fault(text: str) -> str:
    """Why a text cannot be a path, or nothing."""
    if wrong := next((c for c in text if not c.isprintable()), ""):
        message = f"holds the character {wrong!r}; in double quotes '\\' begins a special character: "
        return f"{message}write / instead, or use single quotes"
    if any(len(part.encode()) > _LONGEST_PART for part in text.split("/")) or len(text) > _LONGEST_PATH:
        return f"is too long for a path: file systems take {_LONGEST_PART} bytes between two /"
    return ""


def _note_other_runs(draft: Draft) -> None:
    """A configuration copied under a new name whose folders are still those of the old one."""
    root, name = draft.get(("path", "experiments_root")), draft.get(("name",))
    root = root if isinstance(root, str) else "experiments"
    for key in _RUN_FOLDERS:
        folder = draft.get(("path", key))
        if (
            isinstance(name, str)
            and isinstance(folder, str)
            and (other := run_of(folder, root)) not in ("", name)
        ):
            message = f"lies in the folder of another run, {other!r}; without it, the folder follows the name"
            draft.note(logging.WARNING, ("path", key), message)


def run_of(folder: str, experiments_root: str) -> str:
    """The run in whose folder another folder lies, by its path alone; empty where it lies in none."""
    place, root = FilePath(folder).expanduser().absolute(), FilePath(experiments_root).expanduser().absolute()
    return place.relative_to(root).parts[0] if root in place.parents else ""
