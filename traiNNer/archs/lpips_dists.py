"""LPIPS and DISTS, distances between images that were fitted to what people say: one pass over activations.

Here are the weighted sums; the losses and the metrics of the same names bring the activations. Both take
them layer by layer, so that a metric needs to hold only one layer of a large image at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from traiNNer.archs.vgg_features import FeatureName, FeatureNetwork, PublishedFile, published
from traiNNer.registry import ConfigError

LpipsNet: TypeAlias = Literal["alex", "vgg"]

LPIPS_NETWORK: Mapping[LpipsNet, FeatureName] = {"alex": "alexnet", "vgg": "vgg16"}
LPIPS_TAPS: Mapping[LpipsNet, tuple[str, ...]] = {
    "alex": ("relu1", "relu2", "relu3", "relu4", "relu5"),
    "vgg": ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"),
}
DISTS_TAPS = LPIPS_TAPS["vgg"]

_LPIPS_FILES: Mapping[LpipsNet, PublishedFile] = {  # version 0.1, by the authors, BSD licence
    "alex": PublishedFile(
        "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/alex.pth",
        "lpips_v0.1_alex-df73285e.pth",
    ),
    "vgg": PublishedFile(
        "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/vgg.pth",
        "lpips_v0.1_vgg-a78928a0.pth",
    ),
}
_DISTS_FILE = PublishedFile(  # by the authors, MIT licence
    "https://raw.githubusercontent.com/dingkeyan93/DISTS/master/DISTS_pytorch/weights.pt",
    "dists_weights-f5e65c96.pt",
)
_LPIPS_CHANNELS: Mapping[LpipsNet, tuple[int, ...]] = {
    "alex": (64, 192, 384, 256, 256),
    "vgg": (64, 128, 256, 512, 512),
}
_DISTS_CHANNELS = (3, 64, 128, 256, 512, 512)  # the image, then the feature layers


class Layer(NamedTuple):
    """One layer's activations of two images, (n, channels, h, w) each."""

    first: Tensor
    second: Tensor


def layers(network: FeatureNetwork, first: Tensor, second: Tensor, taps: Iterable[str]) -> Iterator[Layer]:
    """The feature layers of two images (n, 3, h, w), in the network's order, computed one by one."""
    left = set(taps)
    for (name, a), (_, b) in zip(network.walk(first), network.walk(second), strict=True):
        if name in left:
            yield Layer(a, b)
            left.remove(name)
        if not left:
            return


class Lpips(nn.Module):
    """The sum of LPIPS over layers; Zhang et al. 2018, equation 1, version 0.1 of the authors' weights.

    Activations are scaled to length 1 over channels; the squared differences, weighted by channel, are averaged
    over positions.

    Args:
        net: Whose activations these are.
        pretrained: False weights all channels by 1.
        linear_weights: A file with `lin0.model.1.weight` and so on; the authors' by default.
    """

    def __init__(self, net: LpipsNet, *, pretrained: bool = True, linear_weights: str | None = None) -> None:
        super().__init__()
        if linear_weights is not None and not pretrained:
            raise ValueError(f"linear_weights: {linear_weights} is not read with 'pretrained: false'")
        channels = _LPIPS_CHANNELS[net]
        if pretrained:
            found = published(_LPIPS_FILES[net], linear_weights, option="linear_weights")
        else:
            found = {_linear(i): torch.ones(1, count, 1, 1) for i, count in enumerate(channels)}
        for index, count in enumerate(channels):
            weight = found.get(_linear(index))
            if weight is None or tuple(weight.shape) != (1, count, 1, 1):
                file = linear_weights or _LPIPS_FILES[net].file_name
                raise ConfigError(f"{file}: holds no {_linear(index)} of LPIPS with {net}")
            self.register_buffer(f"weight_{index}", weight.float(), persistent=False)

    def forward(self, pairs: Iterable[Layer]) -> Tensor:
        """Distances (n,), 0 for equal images, of all layers in order."""
        return torch.stack([self._distance(i, a, b) for i, (a, b) in enumerate(pairs)]).sum(0)

    def _distance(self, index: int, a: Tensor, b: Tensor) -> Tensor:
        weight = self.get_buffer(f"weight_{index}").to(a.dtype)
        return ((_unit(a) - _unit(b)).square() * weight).sum(1).mean((1, 2))


def _linear(index: int) -> str:
    return f"lin{index}.model.1.weight"


def _unit(x: Tensor) -> Tensor:
    # 1e-8 under the root, as in the authors' later code: their first, outside of it, has an infinite gradient
    # where all channels are 0
    return x / (x.square().sum(1, keepdim=True) + 1e-8).sqrt()


class Dists(nn.Module):
    """The weighted sum of DISTS over layers; Ding et al. 2020.

    The means of each channel are compared as texture, its correlation with the other's as structure; the image
    itself is the first layer. The activations are VGG16's with `pooling="l2"`.

    Args:
        pretrained: False weights all channels and both terms alike.
        dists_weights: A file with `alpha` and `beta`; the authors' by default.
    """

    alpha: Tensor
    beta: Tensor

    def __init__(self, *, pretrained: bool = True, dists_weights: str | None = None) -> None:
        super().__init__()
        if dists_weights is not None and not pretrained:
            raise ValueError(f"dists_weights: {dists_weights} is not read with 'pretrained: false'")
        shape = (1, sum(_DISTS_CHANNELS), 1, 1)
        if pretrained:
            found = published(_DISTS_FILE, dists_weights, option="dists_weights")
        else:
            found = {"alpha": torch.ones(shape), "beta": torch.ones(shape)}
        for name in ("alpha", "beta"):
            if name not in found or tuple(found[name].shape) != shape:
                file = dists_weights or _DISTS_FILE.file_name
                raise ConfigError(f"{file}: holds no {name} of DISTS")
        total = found["alpha"].double().sum() + found["beta"].double().sum()
        self.register_buffer("alpha", (found["alpha"].double() / total).float().flatten(), persistent=False)
        self.register_buffer("beta", (found["beta"].double() / total).float().flatten(), persistent=False)

    def forward(self, pairs: Iterable[Layer]) -> Tensor:
        """Distances (n,), 0 for equal images, of the images and then all layers in order."""
        alphas, betas = self.alpha.split(_DISTS_CHANNELS), self.beta.split(_DISTS_CHANNELS)
        terms = [
            _dissimilarity(a, b, alpha.to(a.dtype), beta.to(a.dtype))
            for (a, b), alpha, beta in zip(pairs, alphas, betas, strict=True)
        ]
        return torch.stack(terms).sum(0)


def _dissimilarity(a: Tensor, b: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """What one layer adds, (n,). Written as errors, not as 1 minus similarities: exactly 0 for equal images."""
    mean_a, mean_b = a.mean((2, 3), keepdim=True), b.mean((2, 3), keepdim=True)
    texture = (mean_a - mean_b).square() / (mean_a.square() + mean_b.square() + 1e-6)
    centred_a, centred_b = a - mean_a, b - mean_b
    variances = centred_a.square().mean((2, 3)) + centred_b.square().mean((2, 3))
    structure = (centred_a - centred_b).square().mean((2, 3)) / (variances + 1e-6)
    return (alpha * texture.flatten(1) + beta * structure).sum(1)
