"""The places and forms in which options of the degradation chain are written, brought to one section.

traiNNer-redux and Real-ESRGAN have them at the top level and in the training set, neosr in `degradations`.
"""

from __future__ import annotations

import logging
from typing import Any

from traiNNer.options.degradation import PRESETS, DegradationOptions
from traiNNer.options.document import DERIVED, MISSING, Draft
from traiNNer.options.yaml_source import Mark, Path
from traiNNer.registry import normalise

SECTION = ("degradation",)
ALIASES = {"second_blur_prob": "blur_prob2"}
"""Other names of options of the chain."""
SWITCH = "high_order_degradation"
"""traiNNer-redux's switch for options at the top level."""
WITHOUT_EFFECT = {
    "queue_size": "not needed: every sample is drawn for itself, so there is no pool to mix them in",
    "high_order_degradations_debug": "ignored: `trainner preview` shows the samples of any position",
    "high_order_degradations_debug_limit": "ignored, like high_order_degradations_debug",
}
"""Accepted with these words."""
OF_LOSSES = ("l1_gt_usm", "percep_gt_usm", "gan_gt_usm")
"""What is no option of the chain but of the losses: sharpened ground truth, of given pairs too."""
ONLINE_TYPES = ("realesrgandataset", "realesrganpaireddataset")
"""Types of data sets that degrade, normalised."""
KNOWN = {*DegradationOptions.model_fields, *ALIASES, SWITCH, *WITHOUT_EFFECT}
"""All names of options of the chain, wherever they are written."""
_PLACES: tuple[Path, ...] = ((), ("datasets", "train"), ("degradations",))


def gather(draft: Draft) -> None:
    """Bring options of the chain from all places into their section."""
    if isinstance(preset := draft.get(SECTION), str):
        draft.put(SECTION, {"preset": preset}, {(): draft.mark(SECTION), ("preset",): draft.mark(SECTION)})
    for place in _PLACES:
        # unknown keys of the section itself are reported there
        for key in [key for key in draft.section(place) if key in KNOWN or place == ("degradations",)]:
            draft.move((*place, key), (*SECTION, ALIASES.get(key, key)))
    for path in draft.matches(("datasets", "*")):
        for key in [key for key in draft.section(path) if key in KNOWN and path[1] != "train"]:
            draft.note(logging.WARNING, (*path, key), "ignored: all data sets have the chain of the run")
            draft.take((*path, key))
    if draft.get(("degradations",)) == {}:
        draft.take(("degradations",))
    for old in ALIASES.keys() & draft.section(SECTION).keys():
        draft.move((*SECTION, old), (*SECTION, ALIASES[old]))


def sharpen_as_real_esrgan(draft: Draft) -> None:
    """What its models sharpen unasked: the one what LQ is made from, the other with that the target, too."""
    section, model = draft.section(SECTION), normalise(str(draft.get(("model_type",))))
    implied: dict[str, tuple[str, ...]] = {
        "realesrganmodel": ("gt_usm",),
        "realesrnetmodel": ("l1_gt_usm", "percep_gt_usm") if section.get("gt_usm") else (),
    }
    keys = [key for key in implied.get(model, ()) if key not in section]
    if not keys or not section or section.get(SWITCH) is False:
        return
    mark = draft.mark(("model_type",))
    draft.note(logging.INFO, ("model_type",), f"read as {' and '.join(f'{key}: true' for key in keys)}")
    draft.take(("model_type",))
    for key in keys:
        draft.put((*SECTION, key), value=True, marks={(): mark})


def complete_degradation(draft: Draft) -> None:
    """Take the switch, leave notes, and fill in the values of the preset."""
    online = [
        path
        for path in draft.matches(("datasets", "*"))
        if normalise(str(draft.get((*path, "type")))) in ONLINE_TYPES
    ]
    section = draft.section(SECTION)
    for key in WITHOUT_EFFECT.keys() & section.keys():
        if draft.get((*SECTION, key)) not in (None, False):
            draft.note(logging.INFO, (*SECTION, key), WITHOUT_EFFECT[key])
        draft.take((*SECTION, key))
    switch = draft.take((*SECTION, SWITCH))[0] if SWITCH in section else None
    if switch is False:
        _switch_off(draft, online)
    elif online and (draft.get(SECTION) is None or draft.get(SECTION) is MISSING or section):
        _fill_in(draft, "redux" if switch else "realesrgan" if section else "medium")
    elif section.keys() - OF_LOSSES:
        text = "has no effect: no data set is a RealESRGANDataset or a RealESRGANPairedDataset"
        draft.note(logging.WARNING, SECTION, text)
    elif draft.get(SECTION) in (None, {}):
        draft.take(SECTION)


def _switch_off(draft: Draft, online: list[Path]) -> None:
    """No chain: its options ask for nothing, and sets that degrade have the LQ that they are given alone."""
    section = draft.section(SECTION)
    for key in [key for key in section if key not in OF_LOSSES or not section[key]]:
        draft.take((*SECTION, key))
    if not section:
        draft.take(SECTION)
    for path in online:
        place = (*path, "type")
        if draft.get((*path, "dataroot_lq")) in (MISSING, None):
            text = "makes its LQ by the chain, which high_order_degradation: false switches off; "
            draft.report(place, f"{text}SingleGtDataset only shrinks")
        else:
            draft.note(
                logging.INFO, place, "read as PairedImageDataset, since high_order_degradation is false"
            )
            draft.put(place, "PairedImageDataset", {(): draft.mark(place)})


def _fill_in(draft: Draft, default: str) -> None:
    """Every option that is not given gets the value of the preset."""
    _fill(draft, "preset", default)
    preset = draft.get((*SECTION, "preset"))
    for key, value in PRESETS.get(preset if isinstance(preset, str) else "", {}).items():
        _fill(draft, key, value)


def _fill(draft: Draft, key: str, value: Any) -> None:
    path = (*SECTION, key)
    if draft.get(path) in (MISSING, None):
        draft.put(path, value, {(): Mark(DERIVED, path)})


_WEIGHTED = {
    f"{kind}_list{number}": f"{kind}_prob{number}"
    for kind, numbers in (("kernel", ("", "2")), ("resize_mode", ("", "2", "3")))
    for number in numbers
}


def relate_degradation(draft: Draft) -> None:
    """Report lists of different lengths, and weights that are all 0."""
    if not draft.section(SECTION):
        return
    for names, weights in _WEIGHTED.items():
        items, shares = _value(draft, names), _value(draft, weights)
        if isinstance(items, list) and isinstance(shares, list) and len(items) != len(shares):
            text = f"should have a number for each of {names}: {len(items)} (got {len(shares)})"
            draft.report((*SECTION, weights), text)
    for key in (*_WEIGHTED.values(), "resize_prob", "resize_prob2"):
        if isinstance(shares := _value(draft, key), list) and not any(shares):
            draft.report((*SECTION, key), f"should not all be 0 (got {shares})")
    _say_what_is_idle(draft)


_BLUR = (
    "blur_kernel_size", "kernel_range", "kernel_list", "kernel_prob", "sinc_prob", "blur_sigma", "betag_range",
    "betap_range",
)  # fmt: skip
_SWITCHED: dict[str, tuple[str, ...]] = {
    "blur_prob": _BLUR,
    "blur_prob2": tuple(f"{name}2" for name in _BLUR),
    "gaussian_noise_prob": ("noise_range",),
    "gaussian_noise_prob2": ("noise_range2",),
    "jpeg_prob": ("jpeg_range", "webp_prob", "webp_range"),
    "jpeg_prob2": ("jpeg_range2", "webp_prob2", "webp_range2", "video_prob"),
    "webp_prob": ("webp_range",),
    "webp_prob2": ("webp_range2",),
    "video_prob": ("video_codec_list", "video_quality_range"),
    "final_sinc_prob": ("final_kernel_range",),
    "halo_prob": ("halo_amount_range", "halo_sigma_range"),
    "chroma_prob": ("chroma_list",),
    "dither_prob": ("dither_list", "dither_levels_range"),
    "lq_usm": ("lq_usm_radius_range",),
}
"""By option: those that do nothing where it is 0 or false."""


def _say_what_is_idle(draft: Draft) -> None:
    """Note options that were written, are not what the preset says, and change nothing."""
    preset = PRESETS.get(str(_value(draft, "preset")), {})
    for switch, names in _SWITCHED.items():
        idle = [
            name
            for name in names
            if draft.get((*SECTION, name)) is not MISSING
            and _value(draft, name) != _preset_value(preset, name)
        ]
        if idle and _value(draft, switch) in (0, False):
            text = f"without effect, since {switch} is {'false' if switch == 'lq_usm' else 0}"
            more = f" (so is {', '.join(idle[1:])})" if idle[1:] else ""
            draft.note(logging.INFO, (*SECTION, idle[0]), text + more)


def _preset_value(preset: dict[str, Any], name: str) -> Any:
    return preset.get(name, DegradationOptions.model_fields[name].default)


def relate_preset_of_sets(draft: Draft) -> None:
    """Report a set's own preset where nothing would be degraded by it, or the training would."""
    for path in draft.matches(("datasets", "*")):
        place = (*path, "degradation_preset")
        if draft.get(place) in (MISSING, None):
            continue
        if path[-1] == "train":
            draft.report(place, "is for validation and test sets; the training takes degradation.preset")
        elif normalise(str(draft.get((*path, "type")))) not in ONLINE_TYPES:
            draft.report(place, "has no effect: the type of the set should be RealESRGANDataset")


def _value(draft: Draft, key: str) -> Any:
    value = draft.get((*SECTION, key))
    return DegradationOptions.model_fields[key].default if value is MISSING else value
