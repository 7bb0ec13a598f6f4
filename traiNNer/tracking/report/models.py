"""One page on which trained models lie beside each other: scores of each image, and images under a slider."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from traiNNer.automations.statistics import finite_mean
from traiNNer.tracking.report.compare import in_words, paired_difference
from traiNNer.tracking.report.markup import document, shown, table

Scores = Mapping[str, Mapping[str, float]]
"""By metric and image."""


class Model(NamedTuple):
    """What a page says of a model."""

    name: str
    """Distinct among the models of a page."""
    about: str
    """Its network, in words."""
    scores: Scores


class Versions(NamedTuple):
    """One image by bicubic upscaling, by each model, and the original, in this order."""

    image: str
    size: tuple[int, int]
    """Height and width of what is shown, in pixels."""
    addresses: Mapping[str, str]
    """Data addresses by name."""


def models_page(
    title: str, models: Sequence[Model], images: Sequence[Versions], higher_is_better: Mapping[str, bool]
) -> str:
    """The page as HTML.

    Args:
        title: What is compared, as text.
        models: Bicubic upscaling first, then the models; the others are compared with the first of these.
        images: What is shown.
        higher_is_better: By metric; the first metric is that of the table of images.
    """
    parts = [
        f"<h1>{escape(title)}</h1>",
        "<h2>Scores</h2>",
        _means(models, list(higher_is_better)),
        _viewer(models, images, next(iter(higher_is_better))),
        "<h2>Image by image</h2>",
        _by_image(models, *next(iter(higher_is_better.items()))),
    ]
    return document(escape(title), parts, _STYLE)


def _means(models: Sequence[Model], metrics: Sequence[str]) -> str:
    bases = models[:2] if len(models) > 2 else models[:1]
    titles = ["", "network", *metrics, *(f"{metrics[0]} minus {escape(b.name)}, per image" for b in bases)]
    rows = []
    for place, model in enumerate(models):
        cells = [f"<td>{escape(model.name)}<td>{escape(model.about)}"]
        cells += [f"<td>{shown(finite_mean(model.scores[metric].values()))}" for metric in metrics]
        for base in bases:
            scores = base.scores[metrics[0]], model.scores[metrics[0]]
            cells.append(
                "<td>" + (in_words(paired_difference(*scores)) if place > models.index(base) else "")
            )
        rows.append("<tr>" + "".join(cells))
    text = (
        "Differences are paired, image by image, and stand with the 95 % interval of their mean: bold where it "
        "leaves out 0."
    )
    return table(titles, rows) + f"<p>{text}</p>"


def _by_image(models: Sequence[Model], metric: str, higher: bool) -> str:
    rows = []
    for image in models[0].scores[metric]:
        values = [model.scores[metric].get(image, math.nan) for model in models]
        finite = [value for value in values if math.isfinite(value)]
        best = (max if higher else min)(finite, default=math.nan)
        cells = (f"<td>{f'<b>{shown(v)}</b>' if v == best else shown(v)}" for v in values)
        rows.append(f"<tr><td>{escape(image)}" + "".join(cells))
    return table((escape(metric), *(escape(model.name) for model in models)), rows)


def _viewer(models: Sequence[Model], images: Sequence[Versions], metric: str) -> str:
    """Every image under a slider, and what lies to its left and right chosen for all at once."""
    if not images:
        return ""
    names = list(images[0].addresses)
    left, right = 0, len(names) - 2  # bicubic upscaling and the last model
    choices = " ".join(_choice(side, names, at) for side, at in (("left", left), ("right", right)))
    figures = "".join(
        _figure(one, {model.name: model.scores[metric][one.image] for model in models}, left, right)
        for one in images
    )
    return f'<h2>Pictures</h2><p class="choose">{choices}</p><div class="charts">{figures}</div>{_CHOOSE}'


def _choice(side: str, names: Sequence[str], at: int) -> str:
    options = "".join(
        f'<option value="{k}"{" selected" if k == at else ""}>{escape(name)}' for k, name in enumerate(names)
    )
    return f'<label>{side} <select data-side="{side}">{options}</select></label>'


def _figure(image: Versions, scores: Mapping[str, float], left: int, right: int) -> str:
    """Twice as large as it is: what differs is small."""
    layers = []
    for k, (name, address) in enumerate(image.addresses.items()):
        sides = " ".join(side for side, at in (("left", left), ("right", right)) if k == at)
        layers.append(f'<img src="{address}" alt="{escape(name)}" class="{sides}">')
    said = "".join(
        f'<span class="key">{escape(name)} {shown(score)}</span>' for name, score in scores.items()
    )
    height, width = image.size
    shape = f"width: {2 * width}px; aspect-ratio: {width} / {height}"
    return (
        f"<figure><figcaption>{escape(image.image)}{said}</figcaption>"
        f'<div class="slider versions" style="{shape}">{"".join(layers)}'
        '<input type="range" min="0" max="100" value="50" aria-label="left and right"></div></figure>'
    )


_STYLE = """
.choose { position: sticky; top: 0; z-index: 2; padding: .5em; background: Canvas; }
.choose label { margin-right: 2em; } .choose select { font: inherit; }
.slider.versions { max-width: 100%; } .versions img { position: absolute; inset: 0; visibility: hidden; }
.versions img { width: 100%; height: 100%; image-rendering: pixelated; }
.versions .left, .versions .right { visibility: visible; }
.versions .left { z-index: 1; clip-path: inset(0 calc(100% - var(--at)) 0 0); }
.versions::after, .versions input { z-index: 1; }
"""

_CHOOSE = """<script>
for (const choice of document.querySelectorAll(".choose select"))
  choice.addEventListener("input", () => {
    for (const versions of document.querySelectorAll(".versions"))
      versions.querySelectorAll("img").forEach((image, k) =>
        image.classList.toggle(choice.dataset.side, k === Number(choice.value)));
  });
</script>"""
