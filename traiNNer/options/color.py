"""The channels that all data sets of a run have: one network sees them."""

from __future__ import annotations

from traiNNer.options.document import DERIVED, MISSING, Draft
from traiNNer.options.yaml_source import Mark, Path


def complete_color(draft: Draft) -> None:
    """Give every data set the `color` of the training set (without one: of the first that says it)."""
    places: list[Path] = [(*path, "color") for path in draft.matches(("datasets", "*"))]
    for place in places:
        if draft.get(place) == "gray":
            draft.put(place, "grey", {(): draft.mark(place)})
    said = [draft.get(place) for place in places if draft.get(place) not in (MISSING, None)]
    train = draft.get(("datasets", "train"))
    first = draft.get(("datasets", "train", "color")) if train is not MISSING else (said or [None])[0]
    color = "rgb" if first in (MISSING, None) else first
    for place in places if said else ():
        if draft.get(place) in (MISSING, None):
            draft.put(place, color, {(): Mark(DERIVED, place)})


def relate_color(draft: Draft) -> None:
    """Report data sets whose channels differ."""
    sets = draft.section(("datasets",))
    key = "train" if "train" in sets else next(iter(sets), "")
    color = draft.get(("datasets", key, "color"))
    for path in draft.matches(("datasets", "*")):
        own = draft.get((*path, "color"))
        if own != color:
            text = f"should be that of datasets.{key}, which is {color}: one network sees both (got {own!r})"
            draft.report((*path, "color"), text)
