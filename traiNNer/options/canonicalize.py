"""From the forms in which options may be written to the one form of the tree in `options`.

Aliases, older places, misplaced, deprecated and not yet supported names, all by the tables of
`options.aliases`. `rename` is for the file and for each value of the command line, `settle` for both together.
Nothing is lost silently: each change of meaning leaves a note or a problem with its place.
"""

from __future__ import annotations

import logging
from typing import Any

from traiNNer.options import aliases as names
from traiNNer.options.degradation_forms import complete_degradation, gather, sharpen_as_real_esrgan
from traiNNer.options.document import COMMAND_LINE, MISSING, Draft
from traiNNer.options.held_out import write_out
from traiNNer.options.yaml_source import Path
from traiNNer.registry import did_you_mean, normalise

_AUTOMATIONS = ("train", "training_automations")
_LOSS_SCHEDULING = ("train", "dynamic_loss_scheduling")
_BY_NAME = {normalise(name): name for name in names.AUTOMATION_OPTIONS}
_BY_NAME |= {normalise(alias): name for alias, name in names.AUTOMATION_ALIASES.items()}


# --- first pass: other names -------------------------------------------------------------------------------


def rename(draft: Draft) -> None:
    """Bring every option to its canonical name and place."""
    of_datasets = [
        ((*path, theirs), (*path, ours))
        for path in draft.matches(("datasets", "*"))
        for theirs, ours in names.DATASET_NAMES.items()
    ]
    for source, target in (*names.SILENT_MOVES, *names.MOVES, *of_datasets):
        if draft.get(source) is not MISSING:
            if (source, target) not in names.SILENT_MOVES:
                draft.note(logging.INFO, source, f"read as {'.'.join(map(str, target))}")
            draft.move(source, target)
    gather(draft)
    write_out(draft)
    _collect_losses(draft)
    _collect_automations(draft)
    for path in (*draft.matches((*_AUTOMATIONS, "*")), *draft.matches(_LOSS_SCHEDULING)):
        _clean_automation(draft, path)


def _collect_losses(draft: Draft) -> None:
    for key in [key for key, value in draft.section(("train",)).items() if _is_loss(key, value)]:
        if draft.get(("train", key)) is not None:
            draft.note(logging.INFO, ("train", key), "an older form; read as an entry of train.losses")
        value, marks = draft.take(("train", key))
        losses = draft.section(("train",)).setdefault("losses", [])
        if value is None or not isinstance(losses, list):
            continue
        if isinstance(value, dict) and value.get("reduction") == "mean":
            del value["reduction"]  # every loss here is a mean
        draft.marks |= {("train", "losses", len(losses), *p): mark for p, mark in marks.items()}
        losses.append(value)


def _is_loss(key: Any, value: Any) -> bool:
    named = isinstance(value, dict) and isinstance(value.get("type"), str)
    return key in names.LOSS_FORMS or (str(key).endswith("_opt") and named)


def _collect_automations(draft: Draft) -> None:
    if draft.get(_AUTOMATIONS) is not MISSING:
        _as_block(draft, _AUTOMATIONS)
    children = [key for key in draft.section(_AUTOMATIONS) if normalise(str(key)) in _BY_NAME]
    children.sort(key=lambda key: key not in names.AUTOMATION_OPTIONS)  # what others merge into comes first
    places: list[Path] = [_LOSS_SCHEDULING] if draft.get(_LOSS_SCHEDULING) is not MISSING else []
    places += [(*_AUTOMATIONS, key) for key in children]
    places += [("train", key) for key in draft.section(("train",)) if normalise(str(key)) in _BY_NAME]
    places += [("auto_vram_management",)] if "auto_vram_management" in draft.tree else []
    for source in places:
        if draft.get(source) is not MISSING and _as_block(draft, source):
            _collect_automation(draft, source)
    if _AUTOMATIONS in draft.marks and draft.get((*_AUTOMATIONS, "enabled")) in (True, "auto"):
        _name_the_rest(draft)


def _name_the_rest(draft: Draft) -> None:
    """What switches automations on and names none that is on stands for all but those that are named as off."""
    block = draft.section(_AUTOMATIONS)
    off = {
        key for key, options in block.items() if isinstance(options, dict) and options.get("enabled") is False
    }
    if block.keys() - off <= {"enabled"} and not _inside(draft, _LOSS_SCHEDULING):
        for name in names.ALL_AUTOMATIONS:
            if name not in block:
                draft.put((*_AUTOMATIONS, name), {"enabled": True}, {(): draft.mark(_AUTOMATIONS)})


def _collect_automation(draft: Draft, source: Path) -> None:
    _drop_left_out(draft, source, but=COMMAND_LINE)  # there it takes away what the file says
    written = normalise(str(source[-1]))
    name = _BY_NAME[written]
    target = _LOSS_SCHEDULING if name == names.LOSS_SCHEDULING else (*_AUTOMATIONS, name)
    if source == target:
        return
    draft.note(logging.INFO, source, f"read as {'.'.join(target)}")
    for alias, options in names.PATCH_TUNING.items():
        if normalise(alias) == written:
            draft.put(source, {**options, **draft.section(source)}, draft.marks_below(source))
    draft.move(source, target)


def _drop_left_out(draft: Draft, path: Path, *, but: str = "") -> None:
    """Take null and `auto`, which mean the same as leaving an option out, unless they come from one source."""
    for key, value in list(draft.section(path).items()):
        omitted = value is None or (value == "auto" and key != "enabled")
        if omitted and draft.mark((*path, key)).source != but:
            draft.take((*path, key))


def _as_block(draft: Draft, path: Path) -> bool:
    """Make `true`, `auto` and `false` a mapping with `enabled`; False where none results."""
    value = draft.get(path)
    if value is None and draft.mark(path).source != COMMAND_LINE:
        draft.take(path)
    elif value is None or isinstance(value, bool) or value == "auto":
        mark = draft.mark(path)
        draft.put(path, {"enabled": value not in (None, False)}, {(): mark, ("enabled",): mark})
        return True
    elif not isinstance(value, dict):
        draft.report(path, f"should be true, false or a mapping (key: value) (got {value!r})")
        draft.take(path)
    return isinstance(value, dict)


def _clean_automation(draft: Draft, path: Path) -> None:
    owner = names.LOSS_SCHEDULING if path == _LOSS_SCHEDULING else str(path[-1])
    own = (*names.COMMON_OPTIONS, *names.AUTOMATION_OPTIONS.get(owner, ()))
    aliases = names.OPTION_ALIASES.get(owner, {})
    for key in list(draft.section(path)):
        if key in aliases:
            _use_alias(draft, (*path, key), aliases[key])
        elif key not in own:
            _judge_foreign(draft, (*path, key))


def _use_alias(draft: Draft, place: Path, alias: names.OptionAlias) -> None:
    target = (*place[:-1], alias.name)
    value, present = draft.get(place), draft.get(target)
    sources = {draft.mark(place).source, draft.mark(target).source}
    numbers = all(isinstance(v, (int, float)) for v in (value, present))
    if alias.stricter and numbers and value != present and COMMAND_LINE not in sources:
        strictest = min(value, present) if alias.stricter == "smaller" else max(value, present)
        text = f"{value} differs from {alias.name}: {present}; the stricter of the two, {strictest}, is used"
        draft.note(logging.WARNING, place, text)
        loser = target if strictest == value else place
        draft.take(loser)
    if draft.get(place) is not MISSING:
        draft.note(logging.INFO, place, f"read as {alias.name}")
        draft.move(place, target)


def _judge_foreign(draft: Draft, place: Path) -> bool:
    """Deal with an option that this automation does not have; False if no automation knows it either."""
    key = str(place[-1])
    if key in names.REFUSED_OPTIONS:
        draft.report(place, names.REFUSED_OPTIONS[key], key=True)
    elif any(key == d or (d.endswith("*") and key.startswith(d[:-1])) for d in names.DEPRECATED_OPTIONS):
        draft.note(logging.WARNING, place, "deprecated; it has no effect")
    elif owner := _owner(key):
        draft.note(logging.WARNING, place, f"ignored here; it belongs under {owner}")
    else:
        return False
    draft.take(place)
    return True


def _owner(option: str) -> str:
    owners = [name for name, own in names.AUTOMATION_OPTIONS.items() if option in own]
    owners += [name for name, aliases in names.OPTION_ALIASES.items() if option in aliases]
    if not owners:
        return ""
    return ".".join(_LOSS_SCHEDULING if owners[0] == names.LOSS_SCHEDULING else (*_AUTOMATIONS, owners[0]))


# --- second pass: what it means ----------------------------------------------------------------------------


def settle(draft: Draft) -> None:
    """Decide which automations are on, drop what asks for nothing, report what is not supported yet."""
    _switch_automations(draft)
    _note_relativistic(draft)
    sharpen_as_real_esrgan(draft)
    for place, options in names.INTERNAL.items():
        for path in draft.matches(place):
            for key in options.keys() & draft.section(path).keys():
                if draft.get((*path, key)) not in (None, options[key]):
                    draft.note(logging.INFO, (*path, key), "decided by the program; ignored")
                draft.take((*path, key))
    off = [f.switch for f in names.FEATURES if f.switch and draft.get(f.switch) is False]
    for feature in names.FEATURES:
        for path in draft.matches(feature.place):
            _drop_feature(draft, path, feature.options, off=feature.switch in off)
    complete_degradation(draft)


def _note_relativistic(draft: Draft) -> None:
    """BasicSR's ESRGANModel compares real with made images, whatever `gan_type` says."""
    if normalise(str(draft.get(("model_type",)))) != "esrganmodel":
        return
    losses = draft.section(("train",)).get("losses")
    for loss in losses if isinstance(losses, list) else ():
        name = normalise(str(loss.get("type"))) if isinstance(loss, dict) else ""
        if name in ("gan", "ganloss") and loss.get("gan_type", "vanilla") == "vanilla":
            text = (
                "ignored, but BasicSR's plays a relativistic game: write gan_type: ragan to play it here too"
            )
            draft.note(logging.WARNING, ("model_type",), text)
            draft.take(("model_type",))
            return


def _drop_feature(draft: Draft, path: Path, options: dict[str, Any], *, off: bool) -> None:
    for key in options.keys() & draft.section(path).keys():
        if not off and _asks(draft.get((*path, key)), options[key]):
            instead = f"; {names.INSTEAD[key]}" if key in names.INSTEAD else ""
            draft.report((*path, key), f"not supported yet{instead}", key=True)
        draft.take((*path, key))


def _asks(value: Any, harmless: Any) -> bool:
    if value is None or value is False or value == harmless:
        return False
    if isinstance(value, dict):
        usual = harmless if isinstance(harmless, dict) else {}
        return value.get("enabled") is not False and any(
            item is not None and item != usual.get(key) for key, item in value.items()
        )
    return True


def _switch_automations(draft: Draft) -> None:
    block = draft.section(_AUTOMATIONS)
    master = draft.take((*_AUTOMATIONS, "enabled"))[0] if _enabled_is_valid(draft, _AUTOMATIONS) else None
    _drop_unknown_parts(draft)
    if master in (True, "auto"):
        if not block:
            _name_the_rest(draft)
        on = [name for name, options in block.items() if options.get("enabled") is not False]
        implied = [name for name in on if draft.mark((*_AUTOMATIONS, name)).path == _AUTOMATIONS]
        all_are = "no automation is named; all" if len(implied) == len(names.ALL_AUTOMATIONS) else "these"
        if implied:
            draft.note(logging.INFO, _AUTOMATIONS, f"{all_are} are on: {', '.join(implied)}")
    for path in (*draft.matches((*_AUTOMATIONS, "*")), *draft.matches(_LOSS_SCHEDULING)):
        _drop_left_out(draft, path)
        _switch_automation(draft, path, off=master is False)
    some_on = any(options["enabled"] is True for options in block.values())
    if master is None and _AUTOMATIONS in draft.marks and some_on:
        draft.note(logging.WARNING, _AUTOMATIONS, "'enabled' is missing; taken as true, because a part is on")


def _inside(draft: Draft, path: Path) -> bool:
    """Whether an automation was written among the others, whatever its place is now."""
    return draft.get(path) is not MISSING and draft.mark(path).path[:2] == _AUTOMATIONS


def _enabled_is_valid(draft: Draft, path: Path) -> bool:
    """Whether a block has a switch; one of a wrong kind is reported and removed."""
    value = draft.get((*path, "enabled"))
    if isinstance(value, bool) or value == "auto":
        return True
    if value not in (None, MISSING):
        draft.report((*path, "enabled"), f"should be true or false (got {value!r})")
    if value is not MISSING:
        draft.take((*path, "enabled"))
    return False


def _drop_unknown_parts(draft: Draft) -> None:
    for key in [key for key in draft.section(_AUTOMATIONS) if key not in names.AUTOMATION_OPTIONS]:
        if not _judge_foreign(draft, (*_AUTOMATIONS, key)):
            hint = did_you_mean(key, names.AUTOMATION_OPTIONS)
            draft.report((*_AUTOMATIONS, key), f"unknown automation{hint}", key=True)
            draft.take((*_AUTOMATIONS, key))


def _switch_automation(draft: Draft, path: Path, *, off: bool) -> None:
    options = draft.section(path)
    if not _enabled_is_valid(draft, path):
        draft.note(logging.WARNING, path, "'enabled' is missing; taken as true")
        draft.put((*path, "enabled"), True, {(): draft.mark(path)})
    if options["enabled"] == "auto":
        options["enabled"] = True
    inside = _inside(draft, path)
    if off and options["enabled"] and (inside or path != _LOSS_SCHEDULING):
        if not inside:
            draft.note(logging.WARNING, path, "off, because train.training_automations.enabled is false")
        options["enabled"] = False
