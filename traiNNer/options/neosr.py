"""What the names in neosr's files mean here: TOML, and YAML of its first years.

Names that both have mean the same and stay; those of data sets are in `aliases.DATASET_NAMES`, what neosr has and
this program lacks in `aliases.FEATURES`, which is refused where it is switched on.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from traiNNer.options.document import MISSING, Draft
from traiNNer.options.yaml_source import Path
from traiNNer.registry import normalise

_MOVES: tuple[tuple[Path, Path], ...] = (
    (("train", "ema"), ("train", "ema_decay")),
    (("val", "tile"), ("val", "tile_size")),
    (("logger", "total_iter"), ("train", "total_iter")),
)
_TYPES = {"paired": "PairedImageDataset", "otf": "RealESRGANDataset", "single": "SingleImageDataset"}
_GAMES = {"bce": "vanilla", "mse": "lsgan"}
"""The same losses of an adversary by their other names."""
_ERRORS = {"l1loss": "l1", "mseloss": "l2", "charbonnierloss": "charbonnier"}
"""`criterion` of LDLLoss by the type of the loss that is weighted by its map."""
_NORMS = {"span": "norm", "realplksr": "layer_norm"}
"""What these networks have there only where it is asked for, and here by default."""
_TRAIN = ("datasets", "train")


def translate(draft: Draft, *, toml: bool) -> None:
    """Give what neosr names otherwise the names of this program, with a note for each."""
    for source, target in _MOVES:
        _move(draft, source, target)
    for path in list(draft.matches(("datasets", "*"))):
        _reword(draft, (*path, "type"), _TYPES)
    for path in draft.matches(("train", "*")):
        _reword(draft, (*path, "gan_type"), _GAMES)
    _weight_by_artifacts(draft)
    _see_colours(draft, toml=toml)
    _augment(draft)
    _read_numbers(draft)
    if toml:
        _give_networks_their_norms(draft)
    if toml and draft.section(("train",)) and draft.get(("train", "grad_clip")) is MISSING:
        text = "neosr clips gradients to a norm of 1 by itself; here grad_clip = true asks for it"
        _say(draft, ("train",), text)


def _read_numbers(draft: Draft) -> None:
    """Numbers that switch something off there."""
    if draft.get((*_TRAIN, "accumulate")) == 0:
        _put(draft, (*_TRAIN, "accumulate"), 1)
    for path in (("train", "ema_decay"), ("val", "tile_size")):
        value = draft.get(path)
        if isinstance(value, int | float) and value < 0:
            _put(draft, path, 0)


def _weight_by_artifacts(draft: Draft) -> None:
    """`ldl_opt`, and `artifacts_opt` of LDL's authors, weight the loss of their type by LDL's map of artifacts."""
    for path in (("train", "ldl_opt"), ("train", "artifacts_opt")):
        kind = draft.get((*path, "type"))
        if not isinstance(kind, str) or normalise(kind).startswith("ldl"):
            continue
        if (ours := _ERRORS.get(normalise(kind))) is None:
            text = f"LDLLoss weights errors of criterion l1, l2 or charbonnier, not of a {kind}; take one of those"
            draft.report((*path, "type"), text)
        else:
            _say(draft, (*path, "type"), f"{kind!r} read as LDLLoss with criterion {ours}")
            _put(draft, (*path, "type"), "LDLLoss")
            draft.put((*path, "criterion"), ours, {(): draft.mark((*path, "type"))})


def _see_colours(draft: Draft, *, toml: bool) -> None:
    """neosr's mssim is of the three channels with their brightness; MSSIMLoss is redux's, of contrast in luma."""
    for path in draft.matches(("train", "*")):
        kind = draft.get((*path, "type"))
        if not str(path[-1]).endswith("_opt") or kind != "mssim" and not (toml and kind == "mssim_loss"):
            continue
        meant = {"test_y_channel": False, "include_luminance": True}
        absent = {key: value for key, value in meant.items() if draft.get((*path, key)) is MISSING}
        for key, value in absent.items():
            draft.put((*path, key), value, {(): draft.mark((*path, "type"))})
        if absent:
            _say(draft, (*path, "type"), f"{kind!r} read as MSSIMLoss of all channels, with their brightness")


def _give_networks_their_norms(draft: Draft) -> None:
    """The defaults of the two networks whose files of neosr would not load with those of redux, which are ours."""
    kind = draft.get(("network_g", "type"))
    norm = _NORMS.get(normalise(kind)) if isinstance(kind, str) else None
    if norm and draft.get(("network_g", norm)) is MISSING:
        _say(draft, ("network_g", "type"), f"neosr's {kind} has no norm: read with {norm}: false")
        draft.put(("network_g", norm), value=False, marks={(): draft.mark(("network_g", "type"))})
    if norm == "layer_norm" and isinstance(draft.get(("network_g", "dysample")), bool):
        _say(draft, ("network_g", "dysample"), "read as upsampler")
        used, marks = draft.take(("network_g", "dysample"))
        draft.put(("network_g", "upsampler"), "dysample" if used else "pixelshuffle", marks)


def _reword(draft: Draft, path: Path, words: Mapping[str, str]) -> None:
    said = draft.get(path)
    if isinstance(said, str) and (ours := words.get(normalise(said))):
        _say(draft, path, f"{said!r} read as {ours}")
        _put(draft, path, ours)


def _augment(draft: Draft) -> None:
    """`augmentation` with `aug_prob`, shares of any sum, are `moa_augs` with `moa_probs`, which add up to 1."""
    source, shares = (*_TRAIN, "augmentation"), (*_TRAIN, "aug_prob")
    augmentations, given = draft.get(source), draft.get(shares)
    if not isinstance(augmentations, list):
        if given is not MISSING:
            _say(draft, shares, "has no effect without augmentation")
            draft.take(shares)
        return
    total = sum(given) if isinstance(given, list) and all(_is_share(share) for share in given) else 0
    even = given is MISSING
    if even:
        given, total = [1] * len(augmentations), len(augmentations)
    mark = draft.mark(source)
    mixes = any(name != "none" for name in augmentations)
    _move(draft, source, ("train", "moa_augs"))
    if total and not even and not math.isclose(total, 1):
        _say(draft, shares, f"add up to {total:.4g}; read as shares of that")
    if draft.get(shares) is not MISSING:
        _move(draft, shares, ("train", "moa_probs"))
    if total:
        probs = [share / total for share in given]
        paths: list[Path] = [(), *((index,) for index in range(len(probs)))]
        draft.put(("train", "moa_probs"), probs, dict.fromkeys(paths, mark))
    if draft.get(("train", "use_moa")) is MISSING:
        draft.put(("train", "use_moa"), mixes, {(): mark})


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _move(draft: Draft, source: Path, target: Path) -> None:
    if draft.get(source) is not MISSING:
        _say(draft, source, f"read as {'.'.join(map(str, target))}")
        draft.move(source, target)


def _put(draft: Draft, path: Path, value: Any) -> None:
    draft.put(path, value, {(): draft.mark(path)})


def _say(draft: Draft, path: Path, text: str) -> None:
    draft.note(logging.INFO, path, text)
