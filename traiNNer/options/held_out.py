"""`datasets.val: auto`: the validation set that is a part of the training set, written out as a data set."""

from __future__ import annotations

from traiNNer.options.document import DERIVED, MISSING, Draft
from traiNNer.options.yaml_source import Mark, Path

_TRAIN: Path = ("datasets", "train")
_SHARED = (
    "type",
    "dataroot_gt",
    "dataroot_lq",
    "meta_info_file",
    "filename_tmpl",
    "lq_resize_mode",
    "skip_bad_images",
    "cache",
    "cache_dir",
)
"""What a set that is held out has in common with the training set, where it does not say it itself."""


def write_out(draft: Draft) -> None:
    """Make sets that are `auto` mappings, to which the command line can add options."""
    for key, value in list(draft.section(("datasets",)).items()):
        path = ("datasets", key)
        if value == "auto" and str(key).startswith("val"):
            draft.put(path, {"part": "held_out"}, {(): draft.mark(path), ("part",): Mark(DERIVED, path)})


def complete_held_out(draft: Draft) -> None:
    """Give sets that are held out the images of the training set."""
    for key in list(draft.section(("datasets",))):
        path = ("datasets", key)
        if key == "train" or draft.get((*path, "part")) != "held_out":
            continue
        if draft.section(_TRAIN):
            _share(draft, path)
        elif draft.marks[(*path, "part")].source == DERIVED:
            draft.report(path, "auto sets images of datasets.train aside, and there is no such set")


def _share(draft: Draft, path: Path) -> None:
    own = any(draft.get((*path, key)) not in (MISSING, None) for key in ("dataroot_gt", "dataroot_lq"))
    for key in _SHARED if not own else ():
        value = draft.get((*_TRAIN, key))
        if value is not MISSING and draft.get((*path, key)) in (MISSING, None):
            draft.put((*path, key), value, {(): Mark(DERIVED, (*path, key))})
    if not own and draft.get((*_TRAIN, "part")) in (MISSING, None):
        draft.put((*_TRAIN, "part"), "training", {(): Mark(DERIVED, (*_TRAIN, "part"))})
