"""Mixing the samples of a batch: mixup, cutmix, resizemix and cutblur, of which each step takes one or none.

What a step does is drawn from (seed, step, rank) on the host, as in `data.sampler`: resuming repeats it, and
nothing is read from the device. The pixels are mixed where they are, on the device.

Ranges of the mixtures are those of traiNNer-redux and neosr, whose users know them. Different here: boxes are
drawn in LQ pixels and lie inside the image (redux divides by 4 whatever the scale is), no sample is mixed with
itself, and cutblur also works outside its box, as in its paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from traiNNer.data.purposes import Purpose

Mixture = Literal["none", "mixup", "cutmix", "resizemix", "cutblur"]

_MIXUP_SHARES = (0.4, 0.6)  # of the sample itself
_CUTMIX_SHARES = (0.0, 0.9)  # of the image that stays
_RESIZEMIX_SIDES = (0.5, 0.9)  # of the box over that of the image
_CUTBLUR_SIDES = (0.2, 0.7)  # likewise


class _Pair(NamedTuple):
    lq: Tensor
    gt: Tensor


class _Box(NamedTuple):
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, images: Tensor) -> Tensor:
        """That part of images (n, 3, h, w), a view."""
        rows = slice(self.top, self.top + self.height)
        return images[..., rows, self.left : self.left + self.width]

    def times(self, scale: int) -> _Box:
        """The same part of images that are `scale` times as large."""
        return _Box(*(scale * edge for edge in self))


class _Draws:
    """The random numbers of one step."""

    def __init__(self, seed: int, step: int, rank: int) -> None:
        self._bits = np.random.Philox(key=(seed, Purpose.MIXTURE), counter=(0, 0, rank, step))

    def between(self, low: float, high: float) -> float:
        """Uniform in low..high, `high` excluded."""
        return low + (high - low) * (int(self._bits.random_raw()) >> 11) / 2**53

    def box(self, images: Tensor, side: float) -> _Box:
        """Somewhere inside the images, with sides `side` times theirs, at least a pixel."""
        height, width = (max(1, round(size * side)) for size in images.shape[-2:])
        top, left = (
            int(self.between(0, size - taken + 1))
            for size, taken in zip(images.shape[-2:], (height, width), strict=True)
        )
        return _Box(top, left, height, width)

    def partners(self, images: Tensor) -> Tensor:
        """For every sample another one, each taken once: the next in a random circle."""
        order = np.argsort(self._bits.random_raw(len(images)), kind="stable")
        partner = np.empty_like(order)
        partner[order] = np.roll(order, 1)
        return torch.from_numpy(partner).to(
            images.device, non_blocking=True
        )  # or the host waits for the device


class BatchAugmentation:
    """Mixes the samples of a batch.

    Args:
        probabilities: Of each mixture; together 1.
        seed: Of the run.
        rank: Of the process, whose batch differs from those of others.
    """

    def __init__(self, probabilities: Mapping[Mixture, float], *, seed: int, rank: int = 0) -> None:
        self._probabilities = dict(probabilities)
        self._seed, self._rank = seed, rank

    def choice(self, step: int) -> Mixture:
        """The mixture of a step."""
        return self._choose(_Draws(self._seed, step, self._rank))

    @torch.no_grad()
    def __call__(self, lq: Tensor, gt: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """The mixed batch of a step, the whole of it at once: what is given stays as it is.

        Args:
            lq: (n, 3, h, w), RGB, 0 to 1.
            gt: (n, 3, h * scale, w * scale), likewise.
            step: Of the run.
        """
        draws = _Draws(self._seed, step, self._rank)
        given = _Pair(lq, gt)
        match self._choose(draws):
            case "none":
                return given
            case "mixup":
                return _mixup(given, draws)
            case "cutmix":
                return _cutmix(given, draws)
            case "resizemix":
                return _resizemix(given, draws)
            case "cutblur":
                return _cutblur(given, draws)

    def _choose(self, draws: _Draws) -> Mixture:
        left = draws.between(0.0, sum(self._probabilities.values()))
        for mixture, probability in self._probabilities.items():
            left -= probability
            if left < 0:
                return mixture
        raise AssertionError("the draw lies below the sum")


def _mixup(given: _Pair, draws: _Draws) -> _Pair:
    """Every sample fades into another one; Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization"."""
    share, partners = draws.between(*_MIXUP_SHARES), draws.partners(given.lq)
    return _Pair(*(x.mul(share).add_(x[partners], alpha=1 - share) for x in given))


def _cutmix(given: _Pair, draws: _Draws) -> _Pair:
    """A box of every sample shows another one, at the same place; Yun et al. 2019, "CutMix"."""
    box = draws.box(given.lq, (1 - draws.between(*_CUTMIX_SHARES)) ** 0.5)
    partners = draws.partners(given.lq)
    return _Pair(*(_pasted(x, part, part.of(x)[partners]) for x, part in _both(given, box)))


def _resizemix(given: _Pair, draws: _Draws) -> _Pair:
    """A box of every sample shows the whole of another one, shrunk; Qin et al. 2020, "ResizeMix".

    LQ and GT are shrunk each by itself, so that what was done to the LQ stays visible in it.
    """
    box = draws.box(given.lq, draws.between(*_RESIZEMIX_SIDES))
    partners = draws.partners(given.lq)
    return _Pair(
        *(_pasted(x, part, _shrunk(x, part.height, part.width)[partners]) for x, part in _both(given, box))
    )


def _cutblur(given: _Pair, draws: _Draws) -> _Pair:
    """A part of the LQ becomes the GT at the size of the LQ; the GT stays. Yoo et al. 2020, "CutBlur".

    The part is a box or all but a box, as in the paper (section 3.2). There the network gets an LQ that was
    upscaled before, and the part holds the GT itself. Here the GT is shrunk (bicubic): the network learns where
    there is something to repair besides the size. A pair without noise, blur or compression changes little.
    """
    box, inside = draws.box(given.lq, draws.between(*_CUTBLUR_SIDES)), draws.between(0, 1) < 0.5
    clean = _shrunk(given.gt, *given.lq.shape[-2:])
    below, above = (given.lq, clean) if inside else (clean, given.lq)
    return _Pair(_pasted(below, box, box.of(above)), given.gt)


def _both(given: _Pair, box: _Box) -> tuple[tuple[Tensor, _Box], tuple[Tensor, _Box]]:
    """LQ and GT with the same part of each."""
    scale = given.gt.shape[-1] // given.lq.shape[-1]
    return (given.lq, box), (given.gt, box.times(scale))


def _pasted(images: Tensor, box: _Box, part: Tensor) -> Tensor:
    """A copy of images that shows `part` in the box."""
    copy = images.clone()
    box.of(copy).copy_(part)
    return copy


def _shrunk(images: Tensor, height: int, width: int) -> Tensor:
    """Smaller by antialiased bicubic interpolation, 0 to 1."""
    return F.interpolate(images, (height, width), mode="bicubic", antialias=True).clamp_(0, 1)
