"""The images of a validation: read while others are computed, and shown to whoever wants to look at them."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from traiNNer.data.images.image_io import Pixels
from traiNNer.data.images.resize import imresize
from traiNNer.data.paired_dataset import Pair
from traiNNer.models.colour import Color, coloured
from traiNNer.models.precision import Precision


class ImageSet(Protocol):
    """Whole images by index, such as `PairedImageDataset`; `SingleImageDataset` has no ground truth."""

    @property
    def names(self) -> Sequence[str]:
        """Names of all images, unique in the set."""
        ...

    def __len__(self) -> int: ...

    def pair(self, index: int) -> Pair:
        """LQ, GT and the name of one image."""
        ...


class ReadPair(NamedTuple):
    """One image of a set, ready to go to the device."""

    number: int
    """Place of the image in its set."""
    name: str
    lq: Tensor
    """(1, h, w, 3), integers."""
    gt: Tensor | None
    """(1, h * scale, w * scale, 3), integers; None where there is no ground truth."""
    checksum: int = 0
    """Of the pixels of both."""


@dataclass
class Shown:
    """One validated image, for whoever wants to look at it. All pixels (h, w, 3) of the LQ's integer type.

    What takes time is made when it is looked at.
    """

    set_name: str
    name: str
    number: int
    """Place of the image in its set."""
    lq: Pixels
    gt: Pixels | None
    enlarged: Tensor
    """What the network made of it, (1, 1 or 3, h * scale, w * scale), 0 to 1."""
    scale: int
    color: Color = "rgb"
    """What the network sees."""

    @functools.cached_property
    def bicubic(self) -> Pixels:
        """The LQ upscaled by MATLAB's bicubic."""
        return bicubic(self.lq, self.scale)

    @functools.cached_property
    def output(self) -> Pixels:
        """What the network made of it, rounded; of one channel with the colours of the LQ, see `coloured`."""
        lq = Precision(self.enlarged.device, dtype=self.enlarged.dtype).rgb(torch.from_numpy(self.lq)[None])
        return to_pixels(coloured(self.enlarged, lq, self.color)[0], self.lq.dtype)


def bicubic(lq: Pixels, scale: int) -> Pixels:
    """(h, w, 3) to (h * scale, w * scale, 3) by MATLAB's bicubic, which scores are compared with."""
    return imresize(lq, scale)


def to_pixels(image: Tensor, dtype: Any) -> Pixels:
    """(3, h, w), 0 to 1, to (h, w, 3) of an unsigned integer dtype, rounded."""
    white = 65535.0 if dtype == np.uint16 else 255.0
    return image.clamp(0, 1).mul(white).round().permute(1, 2, 0).cpu().numpy().astype(dtype)


def read_ahead(images: ImageSet, indices: Iterable[int], device: torch.device) -> Iterator[ReadPair]:
    """The images in their order; a thread reads the next one while this one is used.

    Whoever stops in between does not wait for it.
    """
    reader = ThreadPoolExecutor(1, "validation")
    try:
        coming: Future[ReadPair] | None = None
        for index in indices:
            following = reader.submit(_read, images, index, device)
            if coming:
                yield coming.result()
            coming = following
        if coming:
            yield coming.result()
    finally:
        reader.shutdown(wait=False, cancel_futures=True)


def _read(images: ImageSet, index: int, device: torch.device) -> ReadPair:
    lq, gt, name = images.pair(index)
    found = [np.ascontiguousarray(pixels) for pixels in (lq, gt) if pixels is not None]
    checksum = functools.reduce(lambda before, pixels: zlib.crc32(pixels.data, before), found, 0)
    planes = [torch.from_numpy(pixels)[None] for pixels in found]
    if device.type == "cuda":  # or the copy to the device would wait for all that the device has yet to do
        planes = [plane.pin_memory() for plane in planes]
    return ReadPair(index, name, planes[0], planes[1] if len(planes) > 1 else None, checksum)
