"""The best and the worst validation image of a run, before and after, for its report."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import nn

from traiNNer.archs import NetworkFacts
from traiNNer.data.images.image_io import Pixels, eight_bits
from traiNNer.data.images.resize import imresize
from traiNNer.data.single_dataset import MeasuredDataset
from traiNNer.events import SetScores
from traiNNer.inference.images import to_pixels
from traiNNer.inference.network import upscale
from traiNNer.models.colour import Color, coloured, in_color
from traiNNer.models.precision import Precision

_SIDE = 192
"""Side of the central part that is shown, in LQ pixels at most."""


class Picture(NamedTuple):
    """One image upscaled in two ways, as data addresses for a page."""

    title: str
    before: str
    """By bicubic upscaling."""
    after: str
    """By the trained network."""


def pictures_of(
    images: MeasuredDataset,
    net: nn.Module,
    *,
    set_name: str,
    scores: SetScores,
    higher_is_better: Mapping[str, bool],
    color: Color,
) -> list[Picture]:
    """The images of a validation set where a network of `color` gains most and least over bicubic."""
    metric, gains = gains_of(scores, higher_is_better)
    index = {image: k for k, image in enumerate(images.names)}
    chosen = sorted((image for image in gains if image in index), key=lambda image: gains[image])
    pictures = []
    for word, image in (("largest", chosen[-1:]), ("smallest", chosen[:-1][:1])):
        for one in image:
            title = f"{set_name}/{one}: {word} gain over bicubic, {gains[one]:+.3g} {metric}"
            pictures.append(picture(title, images.pair(index[one]).lq, net, color))
    return pictures


def gains_of(scores: SetScores, higher_is_better: Mapping[str, bool]) -> tuple[str, dict[str, float]]:
    """The first metric, and by how much each image is better than bicubic in it."""
    metric = next(iter(scores.metrics))
    sign = 1 if higher_is_better.get(metric, True) else -1
    pairs = zip(scores.metrics[metric], scores.baseline[metric], strict=True)
    gains = zip(scores.images, (sign * (value - base) for value, base in pairs), strict=True)
    return metric, {image: gain for image, gain in gains if math.isfinite(gain)}


@torch.no_grad()
def picture(title: str, lq: Pixels, net: nn.Module, color: Color) -> Picture:
    """The middle of one image, upscaled by bicubic and by a network."""
    height, width = lq.shape[:2]
    side = min(_SIDE, height, width)
    top, left = (height - side) // 2, (width - side) // 2
    part = eight_bits(lq[top : top + side, left : left + side])
    facts: NetworkFacts = net.facts  # type: ignore[assignment]  # every registered network has it
    image = Precision(torch.device("cpu")).rgb(torch.from_numpy(part.copy())[None])
    out = coloured(upscale(net, facts, in_color(image, color)), image, color)
    return Picture(
        title, data_address(imresize(part, facts.scale)), data_address(to_pixels(out[0], np.uint8))
    )


def data_address(image: Pixels) -> str:
    """An image (h, w, 3), RGB, for the `src` of a page that stands alone."""
    _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return "data:image/png;base64," + base64.b64encode(encoded.tobytes()).decode()
