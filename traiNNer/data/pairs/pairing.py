"""Which image files belong together: folders to matched pairs, by names alone."""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from traiNNer.data.images.image_io import IMAGE_SUFFIXES
from traiNNer.data.pairs.file_index import Files, Names, stem, suffix
from traiNNer.registry import ConfigError
from traiNNer.wording import command, counted, no_folder, shortened

LOG = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the number of files that were checked so far, and of all."""

_LISTED = 20  # lines of a list that a message shows


class Problems:
    """What is wrong with a data set: collected, then refused or, with `skip`, logged."""

    def __init__(self, *, skip: bool) -> None:
        self._skip = skip
        self._found: list[str] = []
        self._cause = ""

    def add(self, what: str, items: Sequence[str]) -> None:
        """Note bad files, one line each, under what is wrong with them; an empty list is nothing."""
        if not items:
            return
        shown = [f"  {line}" for line in shortened(items, _LISTED)]
        self._found.append("\n".join([f"{what} ({len(items)}):", *shown]))

    def refuse(self, cause: str) -> None:
        """Note what is wrong with nearly all files, for which none may be skipped; it takes the place of lists."""
        self._cause = cause

    def settle(self, remaining: int, where: str) -> None:
        """Log what is skipped.

        Raises:
            ConfigError: With the one cause, or with everything found if nothing may be skipped or remains.
        """
        if self._cause:
            raise ConfigError(self._cause)
        if not self._found and remaining:
            return
        if not self._skip and self._found:
            raise ConfigError([*self._found, "skip_bad_images: true goes on without these files"])
        if not remaining:
            raise ConfigError([*self._found, f"{where}: no image is left to use"])
        for problem in self._found:
            LOG.warning("skipped: %s", problem)


def find_images(root: Path) -> list[str]:
    """Relative paths of all images below a folder, sorted, with `/`; hidden files and folders are left out.

    Other files are named by their suffixes in the log.

    No file is opened or asked for its state, except links.

    Raises:
        ConfigError: If the folder is missing, cannot be listed or has no image.
    """
    if not root.is_dir():
        raise ConfigError(f"{root}: {no_folder(root)}")
    others: Counter[str] = Counter()
    try:
        found = sorted(_images_below(str(root), "", others))
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be listed ({error.strerror})") from error
    if others:
        kinds = " ".join(shortened(sorted(others), _LISTED))
        LOG.info("%s: %s passed over: %s", root, counted(others.total(), "other file"), kinds)
    if not found:
        raise ConfigError(f"{root}: holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def _images_below(folder: str, prefix: str, others: Counter[str]) -> Iterator[str]:
    """Image files; what else there is, is counted by suffix. No state is asked for: the folder tells the kind."""
    inner: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                continue
            if entry.is_dir():
                inner.append(name)
            elif not entry.is_file() and not entry.is_symlink():
                others["pipes and devices"] += 1
            elif suffix(name).lower() in IMAGE_SUFFIXES:
                yield prefix + name
            else:
                others[suffix(name).lower() or "(no suffix)"] += 1
    for name in inner:
        yield from _images_below(f"{folder}/{name}", f"{prefix}{name}/", others)


class Pairs(NamedTuple):
    """Files that belong together by their names; index i of both is one pair."""

    gt: Files
    lq: Files


class _Choice:
    """The GT images that are listed, or all; `absent` are the names that no folder has had so far."""

    def __init__(self, names: Collection[str] | None) -> None:
        self.names, self.absent = names, set(names or ())

    def among(self, files: list[str]) -> list[str]:
        """Those of a folder's files that are wanted."""
        if self.names is None:
            return files
        self.absent.difference_update(map(stem, files))
        return [file for file in files if stem(file) in self.names]


def paired_files(
    gt_roots: Sequence[Path],
    lq_roots: Sequence[Path],
    filename_tmpl: str,
    problems: Problems,
    listed: Collection[str] | None = None,
) -> Pairs:
    """Match GT and LQ files by relative path and stem; of GT those that are listed, or all."""
    gt_names: list[Names] = []
    lq_names: list[Names] = []
    choice = _Choice(listed)
    for gt_root, lq_root in zip(gt_roots, lq_roots, strict=True):
        gt, lq = _match(gt_root, lq_root, filename_tmpl, problems, choice)
        gt_names.append(gt)
        lq_names.append(lq)
    problems.add(f"names of meta_info_file that are not in {gt_roots[0]}", sorted(choice.absent))
    return Pairs(Files.joined(gt_roots, gt_names), Files.joined(lq_roots, lq_names))


def _match(
    gt_root: Path, lq_root: Path, filename_tmpl: str, problems: Problems, choice: _Choice
) -> tuple[Names, Names]:
    """(GT, LQ) relative paths. The LQ stem is the template with the GT stem in it, in the same subfolder."""
    if gt_root == lq_root and filename_tmpl == "{}":  # one listing, and one message for what is wrong with it
        files = choice.among(find_images(gt_root))
        doubled = _later_of_their_stem(files, files)
        problems.add(_DOUBLED.format(gt_root), sorted(doubled))
        both = Names.of([name for name in files if name not in doubled])
        return both, both
    lq_suffixes = _suffixes(lq_root, problems)
    gt_files = choice.among(find_images(gt_root))
    gt_kept: list[str] = []
    lq_kept: list[str] = []
    left: list[str] = []
    for gt in gt_files:
        folder, slash, base = stem(gt).rpartition("/")
        lq = f"{folder}{slash}{filename_tmpl.format(base)}"
        ending = lq_suffixes.pop(lq, None)
        if ending is None:
            left.append(gt)
        else:
            gt_kept.append(gt)
            lq_kept.append(lq + ending)
    doubled = _later_of_their_stem(gt_files, left)
    alone = [gt for gt in left if gt not in doubled]
    hint = "" if gt_kept else f"; no name fits: is filename_tmpl {filename_tmpl!r} right?"
    problems.add(_DOUBLED.format(gt_root), sorted(doubled))
    problems.add(f"GT images in {gt_root} without an LQ image in {lq_root}{hint}", alone)
    problems.add(
        f"LQ images in {lq_root} without a GT image in {gt_root}",
        sorted(lq + ending for lq, ending in lq_suffixes.items()) if choice.names is None else [],
    )
    return Names.of(gt_kept), Names.of(lq_kept)


_DOUBLED = "images in {} that differ from another only by their suffix"


def _suffixes(root: Path, problems: Problems) -> dict[str, str]:
    """Suffixes by relative path without suffix; of several with one stem, the first."""
    found: dict[str, str] = {}
    doubled: list[str] = []
    for name in find_images(root):
        ending = sys.intern(suffix(name))  # one string for all, where a million would take 50 MB
        if found.setdefault(stem(name), ending) is not ending:
            doubled.append(name)
    problems.add(_DOUBLED.format(root), doubled)
    return found


def _later_of_their_stem(files: Sequence[str], suspects: Sequence[str]) -> set[str]:
    """The suspects that have the stem of an earlier file. A set of all stems would take 100 MB for a million."""
    first: dict[str, str] = dict.fromkeys(map(stem, suspects), "")
    for name in files if suspects else ():
        if first.get(stem(name)) == "":
            first[stem(name)] = name
    return {name for name in suspects if first[stem(name)] != name}


def check_folders(gt_roots: Sequence[Path], lq_roots: Sequence[Path], scale: int) -> None:
    """Raise ConfigError unless there are as many folders of LQ as of GT, and all exist."""
    if not gt_roots:
        raise ConfigError("dataroot_gt is missing: a folder of ground truth is needed")
    if not lq_roots:
        folder = gt_roots[0]
        made = folder.parent / f"LRx{scale}"
        words = folder, folder.parent, "--scale", str(scale)
        raise ConfigError(
            f"dataroot_lq is missing; make {made} from the ground truth: {command('lr', *words)}"
        )
    if len(gt_roots) != len(lq_roots):
        raise ConfigError(
            f"dataroot_gt lists {counted(len(gt_roots), 'folder')} and dataroot_lq {len(lq_roots)}: "
            "they go in pairs"
        )
    roots = dict.fromkeys((*gt_roots, *lq_roots))
    if missing := [f"{root}: {no_folder(root)}" for root in roots if not root.is_dir()]:
        raise ConfigError(missing)


def check_template(filename_tmpl: str) -> None:
    """Raise ConfigError unless a name of GT can be put into the template of a name of LQ."""
    try:
        works = filename_tmpl.format("a") != filename_tmpl.format("b")
    except (IndexError, KeyError, ValueError):
        works = False
    if not works:
        raise ConfigError(
            f"filename_tmpl: needs {{}} for the GT name, as in '{{}}x4' (got {filename_tmpl!r})"
        )
