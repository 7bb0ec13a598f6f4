"""PatchGAN at several resolutions, the discriminator of pix2pixHD: each logit judges a patch.

P. Isola et al., pix2pix, CVPR 2017 (arXiv 1611.07004), section 3.2.2; at several resolutions T.-C. Wang et al.,
pix2pixHD, CVPR 2018 (arXiv 1711.11585), section 3.2. Names of weights and options are those of pix2pixHD.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Literal, TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

from traiNNer.archs import NETWORKS, NetworkFacts, recorded
from traiNNer.archs.detectors import Guess, recognises
from traiNNer.archs.spectral import SpectralConv2d
from traiNNer.archs.weights_file import Weights
from traiNNer.registry import ConfigError

# N: batch, C: channels, H, W: height and width of the image

Norm: TypeAlias = Literal["spectral", "instance", "none"]

SLOPE = 0.2
"""Negative slope of the leaky ReLUs."""
WIDEST = 512
"""Channels that no layer exceeds."""
_PADDING = 2  # of kernels of 4: each layer gives a pixel more than a division would


@NETWORKS.register("patchgan", "MultiscalePatchGANDiscriminatorSN")
class PatchGAN(nn.Module):
    """One network of its own for each resolution, all of the same shape; the image is halved between them.

    With three strided layers a logit sees 70 x 70 pixels of its resolution.

    Args:
        input_nc: Channels of the image, 3 for RGB.
        ndf: Channels after the first layer; each further one doubles them, up to 512.
        n_layers: Strided layers; two more follow.
        num_d: Resolutions.
        norm: What limits each layer: the norm of its weight (`spectral`), or its outputs (`instance`, all but the
            first and the last, as in pix2pixHD).
    """

    def __init__(
        self,
        *,
        input_nc: int = 3,
        ndf: int = 64,
        n_layers: int = 3,
        num_d: int = 3,
        norm: Norm = "spectral",
    ) -> None:
        super().__init__()
        self.options = recorded(locals())
        if min(n_layers, num_d) < 1:
            raise ConfigError(f"patchgan needs n_layers and num_d of at least 1 (got {n_layers} and {num_d})")
        # at half the size, rounded up, the coarsest image needs what instance normalisation needs: 2 pixels
        self.facts = NetworkFacts(
            kind="discriminator", min_size=2 ** (num_d - 1) + 1, tile_margin=None, channels=input_nc
        )
        widths = [input_nc, *(min(ndf * 2**level, WIDEST) for level in range(n_layers + 1)), 1]
        for resolution in range(num_d):
            self.add_module(f"layer{resolution}", _network(widths, norm))

    def forward(self, x_NCHW: Tensor) -> list[Tensor]:
        """`(n, c, h, w)` in 0..1 to logits `(n, 1, h', w')` by resolution, the full one first; high for real."""
        return [tap for name, tap in self.forward_features(x_NCHW).items() if name.startswith("logits")]

    def forward_features(self, x_NCHW: Tensor) -> dict[str, Tensor]:
        """The logits and the maps before them, `layer1_1` and so on to `logits_1` at the full resolution.

        Those of half of it, `layer2_1` and so on to `logits_2`, follow, and so forth.
        """
        taps: dict[str, Tensor] = {}
        for resolution, network in enumerate(reversed(list(self.children())), start=1):
            if resolution > 1:
                x_NCHW = F.avg_pool2d(x_NCHW, 3, 2, 1, count_include_pad=False)
            x, depth = x_NCHW, 0
            for module in network.children():
                x = module(x)
                if isinstance(module, nn.LeakyReLU):
                    depth += 1
                    taps[f"layer{resolution}_{depth}"] = x
            taps[f"logits_{resolution}"] = x
        return taps


def _network(widths: list[int], norm: Norm) -> nn.Sequential:
    modules: list[nn.Module] = []
    last = len(widths) - 2
    for depth, (before, after) in enumerate(pairwise(widths)):
        stride = 2 if depth < last - 1 else 1
        conv = SpectralConv2d if norm == "spectral" else nn.Conv2d
        normalised = norm == "instance" and 0 < depth < last
        # no bias before instance normalisation, which takes it out
        modules.append(conv(before, after, 4, stride=stride, padding=_PADDING, bias=not normalised))
        if normalised:
            modules.append(nn.InstanceNorm2d(after))
        if depth < last:
            modules.append(nn.LeakyReLU(SLOPE))
    return nn.Sequential(*modules)


_NAME = re.compile(r"layer\d+\.\d+\.(weight(_orig|_u|_v)?|bias)")


@recognises(lambda weights: all(_NAME.fullmatch(name) for name in weights))
def _infer(weights: Weights) -> Guess:
    spectral = "layer0.0.weight_orig" in weights
    suffix = ".weight_orig" if spectral else ".weight"
    width, channels = weights[f"layer0.0{suffix}"].shape[:2]
    places = [
        int(name.split(".")[1]) for name in weights if name.startswith("layer0.") and name.endswith(suffix)
    ]
    resolutions = {name.partition(".")[0] for name in weights}
    plain = "none" if sorted(places) == [2 * place for place in range(len(places))] else "instance"
    options = {
        "input_nc": channels,
        "ndf": width,
        "n_layers": len(places) - 2,
        "num_d": len(resolutions),
        "norm": "spectral" if spectral else plain,
    }
    return Guess("patchgan", options)
