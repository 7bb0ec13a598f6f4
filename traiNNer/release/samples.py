"""What a model makes of a few images, for the page and the entry of its release."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch

from traiNNer.data.images.image_io import Pixels, eight_bits, write_image
from traiNNer.data.images.resize import imresize
from traiNNer.inference.load import Trained
from traiNNer.inference.upscale import ImageUpscaler

COMPARISON = "comparison.png"
_SHOWN = 192  # LQ pixels, from the middle of each image


class Sample(NamedTuple):
    """The middle of an image, uint8."""

    lq: Pixels
    bicubic: Pixels
    sr: Pixels
    """By the model; as large as `bicubic`."""


def samples(trained: Trained, images: Sequence[Pixels]) -> list[Sample]:
    """Each image as the model upscales it, on the CPU."""
    upscaler = ImageUpscaler(trained.net, trained.facts, device=torch.device("cpu"), color=trained.color)
    found = []
    for image in images:
        lq = _middle(image)
        enlarged = imresize(lq, trained.facts.scale)
        found.append(Sample(eight_bits(lq), eight_bits(enlarged), eight_bits(upscaler.pixels(lq))))
    return found


def write_samples(folder: Path, name: str, found: Sequence[Sample]) -> list[tuple[str, str]]:
    """Write them all on one picture, and each as a pair of files; returns the names of the pairs."""
    if found:
        write_image(folder / COMPARISON, comparison(found))
    pairs = []
    for number, one in enumerate(found, start=1):
        pairs.append((f"{name}_{number}_LR.png", f"{name}_{number}_SR.png"))
        for file, image in zip(pairs[-1], (one.lq, one.sr), strict=True):
            write_image(folder / file, image)
    return pairs


def written_samples(folder: Path, name: str) -> list[Path]:
    """The files that `write_samples` has left in a folder."""
    return [*folder.glob(COMPARISON), *folder.glob(f"{name}_[0-9]*_[LS]R.png")]


def comparison(found: Sequence[Sample]) -> Pixels:
    """The samples, one below the other: bicubic at the left, the model at the right."""
    rows = [np.concatenate([one.bicubic, one.sr], axis=1) for one in found]
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return cast("Pixels", np.concatenate(padded))


def _middle(image: Pixels) -> Pixels:
    top, left = (max(0, (size - _SHOWN) // 2) for size in image.shape[:2])
    return cast("Pixels", np.ascontiguousarray(image[top : top + _SHOWN, left : left + _SHOWN]))
