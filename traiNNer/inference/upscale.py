"""Upscaling pictures with a trained network: any size, 8 or 16 bits a value, with or without transparency."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from traiNNer.archs import NetworkFacts
from traiNNer.data.images.image_io import Pixels
from traiNNer.inference.images import to_pixels
from traiNNer.inference.network import EvalNetwork
from traiNNer.inference.picture import Picture, filled
from traiNNer.inference.tile_size import FittingTiles
from traiNNer.inference.tiles import Tiles
from traiNNer.models.colour import Color, coloured, in_color
from traiNNer.models.precision import Precision

_log = logging.getLogger(__name__)


class _Finite(nn.Module):
    """A network in a precision, between float32 images. Infinities come out as NaN: they would pass for white.

    Low precision is that of training, autocast. Weights and images are not rounded beforehand: k / 255 always
    rounds upwards to bfloat16, so that the enlarged image that many networks add their detail to would be 0.001
    too bright, and the attention of some mixes types.
    """

    def __init__(self, net: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.net, self.precision = net, precision

    def forward(self, lq: Tensor) -> Tensor:
        return self.precision.infer(self.net, lq).nan_to_num(torch.nan, torch.nan, torch.nan)


class ImageUpscaler:
    """A network on a device, with the tiles that fit into its memory.

    Args:
        net: A generator; it is moved to the device.
        facts: Of that network.
        device: Where it computes.
        dtype: In which it computes: float32, float16 or bfloat16. The last two keep 11 and 8 bits of a value, in
            layers where that does no harm.
        tile: Side of the tiles in LQ pixels; 0: whole images; None: whole images where the free memory allows it,
            else the largest tiles that fit. Where memory runs out all the same, they are halved.
        color: What the network sees of an image; of one channel, the rest is enlarged by bicubic.
        ensemble: Average the results of the eight flipped and turned versions of each image: a little better,
            eight times the work.
        on_pixels: Called with the LQ pixels that the network has worked on, one image's together being about its
            pixels times `passes`.
    """

    def __init__(
        self,
        net: nn.Module,
        facts: NetworkFacts,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        tile: int | None = None,
        color: Color = "rgb",
        ensemble: bool = False,
        on_pixels: Callable[[int], None] | None = None,
    ) -> None:
        low = None if dtype == torch.float32 else dtype
        self._precision = Precision(device, low, color=color)
        inner = _Finite(net.to(device, torch.float32).eval(), self._precision)
        self._model = EvalNetwork(inner, facts)
        self.facts, self._ensemble = facts, ensemble
        self._tiles = FittingTiles(device, tile)
        if tile is None:
            self._tiles.measure(self._model)
        if on_pixels:
            inner.register_forward_hook(
                lambda _, images, __: on_pixels(images[0].shape[-2] * images[0].shape[-1])
            )

    @property
    def passes(self) -> int:
        """How often the network sees an image."""
        return 8 if self._ensemble else 1

    def picture(self, picture: Picture) -> Pixels:
        """A picture `scale` times as large: (h * scale, w * scale, c), of the same type.

        Transparency (c is 4) is upscaled by the network too, as a grey image; the same everywhere, it needs none.
        Hidden colours do not count: see `picture.filled`. What is grey comes out grey, in one channel if it was
        stored so.

        Raises:
            MemoryTooSmallError: Where even the smallest tiles do not fit.
            FloatingPointError: Where the output is not finite, which low precision may bring about.
        """
        alpha = picture.alpha
        pixels = picture.pixels if alpha is None else filled(picture.pixels, alpha)
        output = self._upscaled(pixels)
        if bool((pixels == pixels[..., :1]).all()):
            output = output.mean(0, keepdim=True).expand(1 if picture.grey else 3, -1, -1)
        colours = to_pixels(output, pixels.dtype)
        if alpha is None:
            return colours
        if alpha.min() == alpha.max():
            enlarged = np.full((*colours.shape[:2], 1), alpha.flat[0], alpha.dtype)
        else:
            grey = self._upscaled(cast("Pixels", np.repeat(alpha[..., None], 3, axis=2)))
            enlarged = to_pixels(grey.mean(0, keepdim=True), alpha.dtype)
        return cast("Pixels", np.concatenate([colours, enlarged], axis=2))

    def pixels(self, pixels: Pixels) -> Pixels:
        """(h, w, 3) to (h * scale, w * scale, 3), of the same integer type. Raises as `picture`."""
        return to_pixels(self._upscaled(pixels), pixels.dtype)

    def _upscaled(self, pixels: Pixels) -> Tensor:
        """To (3, h * scale, w * scale), 0 to 1."""
        rgb = self._precision.rgb(torch.from_numpy(pixels)[None])
        lq = in_color(rgb, self._precision.color)
        tiles = self._tiles.of(self._model, (lq.shape[2], lq.shape[3]))
        output = self._averaged(tiles, lq) if self._ensemble else tiles.upscale(self._model, lq)
        if not bool(torch.isfinite(output).all()):
            half = self._precision.name == "fp16"
            why = "; compute in float32, or in bfloat16 (--bf16)" if half else ": its weights are broken"
            raise FloatingPointError(f"the output of the network is not finite{why}")
        return coloured(output, rgb, self._precision.color)[0]

    def _averaged(self, tiles: Tiles, lq: Tensor) -> Tensor:
        total = torch.zeros((), device=lq.device)
        for turns in range(4):
            for mirrored in (False, True):
                turned = torch.rot90(lq.flip(3) if mirrored else lq, turns, (2, 3))
                back = torch.rot90(tiles.upscale(self._model, turned), -turns, (2, 3))
                total = total + (back.flip(3) if mirrored else back)
        return total / 8
