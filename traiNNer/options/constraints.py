"""What follows from several options together: values that others determine, and values that contradict."""

from __future__ import annotations

from typing import Any

from traiNNer.options.color import complete_color, relate_color
from traiNNer.options.degradation_forms import relate_degradation, relate_preset_of_sets
from traiNNer.options.document import DERIVED, MISSING, Draft
from traiNNer.options.fields import OPTIMIZER, TrainOptions
from traiNNer.options.file_names import check_names
from traiNNer.options.held_out import complete_held_out
from traiNNer.options.kinds import MOST
from traiNNer.options.without_effect import note_idle
from traiNNer.options.yaml_source import Mark, Path
from traiNNer.registry import did_you_mean

_LQ_SIZE = 64  # pixels; what published recipes for small networks use


def complete(draft: Draft) -> None:
    """Add what other options determine: sets held out, names, patch sizes, types of metrics, an optimizer."""
    complete_held_out(draft)
    complete_color(draft)
    for path in draft.matches(("datasets", "*")):
        _derive(draft, (*path, "name"), path[-1])
        for place in [(*path, key) for key in ("lq_size", "gt_size") if draft.get((*path, key)) == "auto"]:
            draft.take(place)
        if path[-1] == "train":
            _complete_sizes(draft, path)
        if "scale" in draft.section(path):
            _drop_scale(draft, (*path, "scale"))
    for label, spec in list(draft.section(("val", "metrics")).items()):
        _derive(draft, ("val", "metrics", label), {})
        if spec is None or isinstance(spec, dict):
            _derive(draft, ("val", "metrics", label, "type"), label)
    if isinstance(draft.get(("train",)), dict):
        draft.section(("train",)).setdefault("optim_g", dict(OPTIMIZER))


def _drop_scale(draft: Draft, place: Path) -> None:
    """The scale of a data set is the scale of the run; writing it again is harmless, another one is not."""
    if draft.get(place) not in (None, draft.get(("scale",))):
        draft.report(place, f"should equal the scale of the run (got {draft.get(place)!r})")
    draft.take(place)


def _complete_sizes(draft: Draft, path: Path) -> None:
    scale, lq, gt = (_whole(draft.get(p)) for p in (("scale",), (*path, "lq_size"), (*path, "gt_size")))
    if not scale:
        return
    if gt and draft.get((*path, "lq_size")) is MISSING and gt % scale == 0:
        _derive(draft, (*path, "lq_size"), gt // scale)
    elif draft.get((*path, "gt_size")) is MISSING:
        if draft.get((*path, "lq_size")) is MISSING:
            lq = draft.section(path)["lq_size"] = _LQ_SIZE
        if lq:
            _derive(draft, (*path, "gt_size"), lq * scale)


def _derive(draft: Draft, path: Path, value: Any) -> None:
    if draft.get(path) in (MISSING, None):
        draft.put(path, value, {(): Mark(DERIVED, path)})


def _whole(value: Any) -> int | None:
    """A positive whole number, or None for what the tree reports."""
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if not isinstance(number, int) or isinstance(number, bool):
        return None
    return number if 0 < number <= MOST else None


def relate(draft: Draft) -> None:
    """Report values that contradict each other and names that cannot be used; note what has no effect."""
    check_names(draft)
    _relate_top(draft)
    for path in draft.matches(("datasets", "*")):
        _relate_dataset(draft, path)
    relate_color(draft)
    _relate_train(draft)
    relate_degradation(draft)
    relate_preset_of_sets(draft)
    tile, overlap = (_whole(draft.get(("val", key))) for key in ("tile_size", "tile_overlap"))
    if tile and overlap and overlap >= tile:
        draft.report(("val", "tile_overlap"), f"should be below tile_size, which is {tile} (got {overlap})")
    note_idle(draft)


def _relate_top(draft: Draft) -> None:
    scale = _whole(draft.get(("scale",)))
    own = draft.get(("network_g", "scale"))
    if scale and own is not MISSING and own != scale:
        draft.report(
            ("network_g", "scale"), f"should equal the scale of the run, which is {scale} (got {own!r})"
        )
    for key in draft.section(("datasets",)):
        if key != "train" and not key.startswith(("val", "test")):
            hint = did_you_mean(key, ("train", "val", "test"))
            draft.report(("datasets", key), f"unknown key{hint}; validation sets begin with 'val'", key=True)
    if draft.get(("datasets", "train")) is not MISSING and draft.get(("train",)) is MISSING:
        draft.report(("train",), "is required where there is a data set to train on")


def _relate_dataset(draft: Draft, path: Path) -> None:
    scale, lq, gt = (_whole(draft.get(p)) for p in (("scale",), (*path, "lq_size"), (*path, "gt_size")))
    if not scale or not gt:
        return
    if gt % scale:
        draft.report((*path, "gt_size"), f"should be a multiple of the scale, which is {scale} (got {gt})")
    elif lq and gt != lq * scale:
        text = f"should be lq_size * scale = {lq} * {scale} = {lq * scale} (got {gt})"
        draft.report((*path, "gt_size"), text)


def _relate_train(draft: Draft) -> None:
    total, warmup = (_whole(draft.get(("train", key))) for key in ("total_iter", "warmup_iter"))
    if total and warmup and warmup >= total:
        draft.report(("train", "warmup_iter"), f"should be below total_iter, which is {total} (got {warmup})")
    for key in ("scheduler", "scheduler_d"):
        place = ("train", key, "milestones")
        steps = draft.get(place)
        if isinstance(steps, list) and all(map(_whole, steps)) and steps != sorted(steps):
            draft.report(place, f"should rise (got {steps})")
    if draft.get(("train", "use_moa")) is True:
        _relate_mixtures(draft)


def _relate_mixtures(draft: Draft) -> None:
    names, chances = (_train_value(draft, key) for key in ("moa_augs", "moa_probs"))
    if not (isinstance(names, list) and isinstance(chances, list)):
        return  # the tree reports it
    place = ("train", "moa_probs")
    if len(names) != len(chances):
        text = f"should hold a probability for each of the {len(names)} moa_augs (got {len(chances)})"
        draft.report(place, text)
    elif len(set(map(str, names))) < len(names):
        draft.report(("train", "moa_augs"), f"should name each mixture once (got {names})")
    elif all(isinstance(chance, int | float) for chance in chances) and abs(sum(chances) - 1) > 1e-3:
        draft.report(place, f"should add up to 1 (got {round(sum(chances), 6)})")
    data = draft.section(("datasets", "train"))
    if _whole(data.get("batch_size_per_gpu")) == 1 and _whole(data.get("accum_iter", 1)) == 1:
        draft.report(
            ("train", "use_moa"), "needs a batch of at least 2 samples to mix (batch_size_per_gpu: 1)"
        )


def _train_value(draft: Draft, key: str) -> Any:
    """A value of `train`, or its default where none is given."""
    value = draft.get(("train", key))
    return TrainOptions.model_fields[key].default if value in (MISSING, None) else value
