"""Trained models for a page that compares them: their scores on the same images, and what they make of some."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from traiNNer.data.images.image_io import Pixels, eight_bits
from traiNNer.data.images.resize import imresize
from traiNNer.data.paired_dataset import Pair, PairedImageDataset, writable
from traiNNer.data.training_set import lq_headers
from traiNNer.events import SetScores
from traiNNer.inference.images import ImageSet, bicubic
from traiNNer.inference.load import Trained, load_trained
from traiNNer.inference.network import EvalNetwork
from traiNNer.inference.upscale import ImageUpscaler
from traiNNer.metrics import Metric
from traiNNer.metrics.psnr import Psnr
from traiNNer.metrics.ssim import Ssim
from traiNNer.models.colour import Color, coloured, in_color
from traiNNer.models.precision import Precision
from traiNNer.registry import ConfigError
from traiNNer.runtime.device import choose_device
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.tracking.report.models import Model, Versions
from traiNNer.tracking.report.pictures import data_address
from traiNNer.training.validation import ValidationSet, Validator

METRICS_SHOWN = {"psnr_y": True, "ssim_y": True}
"""As papers report them, of luma without `scale` pixels at each edge; and whether higher is better."""
_ALL_SCORED = 64
"""Pixels each way from which on every image can be scored, at any scale."""
_SIDE = 320
"""Side of the part of an image that is shown, in pixels of the result."""


def compared_models(
    files: Mapping[Path, Mapping[str, Any]], gt: Path, lq: Path | None, pictures: int
) -> tuple[list[Model], list[Versions]]:
    """Bicubic upscaling and every model on all images, and some of the images, from large to small gain.

    Args:
        files: Weights of networks of one scale, with options of the network that a file does not tell.
        gt: Folder of originals.
        lq: Folder of what is upscaled; None: made of the originals by MATLAB's bicubic.
        pictures: How many images are shown.

    Raises:
        ConfigError: For weights and images that cannot be used.
        ImageError: For an image that cannot be read.
    """
    names = _names(list(files))
    trained = {name: load_trained(*one) for name, one in zip(names, files.items(), strict=True)}
    scales = {one.facts.scale for one in trained.values()}
    if len(scales) > 1:
        listed = ", ".join(
            f"{path} {one.facts.scale}x" for path, one in zip(files, trained.values(), strict=True)
        )
        raise ConfigError(f"the models should be of one scale ({listed})")
    (scale,) = scales
    images = _images(gt, lq, scale)
    baseline: dict[str, Any] = {}
    scores = {name: _scores(one, images, baseline) for name, one in trained.items()}
    first = next(iter(scores.values()))
    models = [Model("bicubic", "", {m: _by_image(first, first.baseline[m]) for m in METRICS_SHOWN})]
    for name, one in trained.items():
        parameters = sum(p.numel() for p in one.net.parameters())
        found = {m: _by_image(scores[name], scores[name].metrics[m]) for m in METRICS_SHOWN}
        models.append(Model(name, f"{one.type}, {parameters:,} parameters", found))
    chosen = _spread(models[0].scores["psnr_y"], models[1].scores["psnr_y"], pictures)
    index = {name: k for k, name in enumerate(images.names)}
    upscalers = {name: _upscaler(one) for name, one in trained.items()}
    return models, [_versions(images.pair(index[image]), upscalers, scale) for image in chosen]


def _names(files: Sequence[Path]) -> list[str]:
    """Short and distinct: of files, with the folders of their runs, or whole paths."""
    stems = [path.stem for path in files]
    runs = [f"{path.resolve().parent.parent.name} {path.stem}" for path in files]
    taken = {"bicubic", "original"}  # what stands beside the models
    usable = (n for n in (stems, runs) if len({*n} - taken) == len(files))
    return next(usable, [str(path) for path in files])


def _images(gt: Path, lq: Path | None, scale: int) -> ImageSet:
    if lq is not None:
        pairs = PairedImageDataset([gt], [lq], scale)
        _refuse_small(pairs, scale)
        return pairs
    originals = PairedImageDataset([gt], [gt], 1)
    _refuse_small(originals, scale)
    return _Shrunk(originals, scale)


def _refuse_small(images: PairedImageDataset, scale: int) -> None:
    """Raise ConfigError for images that are too small to be scored, by the sizes in their headers."""
    problems: list[str] = []
    for name, (height, width) in zip(images.names, lq_headers(images).tolist(), strict=True):
        if 0 < min(height, width) * images.scale < _ALL_SCORED:
            rows, columns = (side * images.scale // scale * scale for side in (height, width))
            try:
                for metric in _metrics(scale).values():
                    metric(*[torch.zeros(1, 3, rows, columns)] * 2)
            except ValueError as error:
                problems.append(f"{name}: is too small to be scored without its edges: {error}")
    if problems:
        raise ConfigError(problems)


class _Shrunk:
    """Originals, cut to whole LQ pixels, and what MATLAB's bicubic makes of them."""

    def __init__(self, originals: PairedImageDataset, scale: int) -> None:
        self._originals, self._scale = originals, scale
        self.names = originals.names

    def __len__(self) -> int:
        return len(self._originals)

    def pair(self, index: int) -> Pair:
        """See `ImageSet`."""
        gt, scale = self._originals.gt_image(index), self._scale
        height, width = (side // scale * scale for side in gt.shape[:2])
        gt = writable(cast("Pixels", np.ascontiguousarray(gt[:height, :width])))
        return Pair(imresize(gt, 1 / scale), gt, self.names[index])


class _MakesPictures(nn.Module):
    """A network between pictures in colour, of 8 bits once they are scored, whatever it sees of them itself."""

    def __init__(self, net: nn.Module, color: Color) -> None:
        super().__init__()
        self.net = net
        self.color: Color = color

    def forward(self, rgb: Tensor) -> Tensor:
        """(n, 3, h, w), RGB, 0 to 1, to (n, 3, h * scale, w * scale), likewise."""
        return coloured(self.net(in_color(rgb, self.color)).clamp(0, 1), rgb, self.color)


def _scores(one: Trained, images: ImageSet, baseline: dict[str, Any]) -> SetScores:
    """Of the pictures that a network makes; bicubic's are found in `baseline`, or left there for the next."""
    device, scale = choose_device("auto", 0), one.facts.scale
    validator = Validator(
        [ValidationSet("images", images)],
        _metrics(scale),
        scale=scale,
        precision=Precision(device),
        processes=DistributedContext(),
        tile="auto",
    )
    validator.load_state_dict(baseline)
    network = EvalNetwork(
        _MakesPictures(one.net, one.color).to(device).eval(), replace(one.facts, channels=3)
    )
    event = validator.run(network, step=0, position=0, lr_exhausted=False)
    baseline.update(validator.state_dict())
    return event.sets["images"]


def _upscaler(one: Trained) -> ImageUpscaler:
    return ImageUpscaler(one.net, one.facts, device=choose_device("auto", 0), color=one.color)


def _metrics(scale: int) -> dict[str, Metric]:
    """Of luma without edges, as papers report them."""
    return {
        "psnr_y": Psnr(crop_border=scale, test_y_channel=True),
        "ssim_y": Ssim(crop_border=scale, test_y_channel=True),
    }


def _by_image(scores: SetScores, values: Sequence[float]) -> dict[str, float]:
    return dict(zip(scores.images, values, strict=True))


def _spread(base: Mapping[str, float], values: Mapping[str, float], count: int) -> list[str]:
    """Images from the largest to the smallest gain, evenly."""
    gains = {
        image: values[image] - base[image] for image in base if math.isfinite(values[image] - base[image])
    }
    ordered = sorted(gains, key=lambda image: -gains[image])
    places = np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)
    return [ordered[place] for place in places]


def _versions(pair: Pair, upscalers: Mapping[str, ImageUpscaler], scale: int) -> Versions:
    """The part of an image where bicubic upscaling loses most, in every version."""
    gt = eight_bits(cast("Pixels", pair.gt))
    enlarged = eight_bits(bicubic(pair.lq, scale))
    rows, columns = _busiest(gt, enlarged)
    made = {"bicubic": enlarged}
    made |= {name: eight_bits(upscaler.pixels(pair.lq)) for name, upscaler in upscalers.items()}
    made["original"] = gt
    size = rows.stop - rows.start, columns.stop - columns.start
    return Versions(pair.name, size, {name: data_address(one[rows, columns]) for name, one in made.items()})


def _busiest(gt: Pixels, enlarged: Pixels) -> tuple[slice, slice]:
    lost = np.abs(gt.astype(np.float32) - enlarged).mean(2)
    height, width = (min(_SIDE, side) for side in lost.shape)
    sums = cv2.boxFilter(lost, -1, (width, height), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    valid = sums[: lost.shape[0] - height + 1, : lost.shape[1] - width + 1]
    top, left = (int(place) for place in np.unravel_index(int(valid.argmax()), valid.shape))
    return slice(top, top + height), slice(left, left + width)
