"""VGG16, VGG19 and AlexNet as measures of what images look like: their activations, by the usual names.

The networks are torchvision's, trained to classify ImageNet, and frozen. Losses get theirs from
`shared_network`, so that losses which look through the same network at the same image compute it once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias
from weakref import WeakValueDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from traiNNer.archs.weights_file import read_weights
from traiNNer.registry import ConfigError, did_you_mean

_log = logging.getLogger(__name__)

FeatureName: TypeAlias = Literal["vgg16", "vgg19", "alexnet"]
Pooling: TypeAlias = Literal["max", "l2"]

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB, 0 to 1; torchvision's


class PublishedFile(NamedTuple):
    """Weights that somebody has published, and where torch keeps them once they are here."""

    url: str
    file_name: str
    """In the folder `checkpoints` of `torch.hub.get_dir()`; ends in the first digits of its SHA-256."""


_FILES: Mapping[FeatureName, PublishedFile] = {
    # of torchvision.models.*_Weights.IMAGENET1K_V1, whose cache is the same folder
    "vgg16": PublishedFile("https://download.pytorch.org/models/vgg16-397923af.pth", "vgg16-397923af.pth"),
    "vgg19": PublishedFile("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", "vgg19-dcbb9e9d.pth"),
    "alexnet": PublishedFile(
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", "alexnet-owt-7be5be79.pth"
    ),
}


class _Layer(NamedTuple):
    name: str
    kind: Literal["conv", "relu", "pool"]
    size: int = 1
    """Height and width of the window, in pixels."""
    stride: int = 1
    padding: int = 0
    channels: tuple[int, int] = (0, 0)
    """Channels in and out of a convolution."""


def _vgg(convolutions: tuple[int, ...]) -> tuple[_Layer, ...]:
    layers: list[_Layer] = []
    width = 3
    for block, count in enumerate(convolutions, start=1):
        out = min(64 * 2 ** (block - 1), 512)
        for i in range(1, count + 1):
            layers.append(_Layer(f"conv{block}_{i}", "conv", 3, 1, 1, (width, out)))
            layers.append(_Layer(f"relu{block}_{i}", "relu"))
            width = out
        layers.append(_Layer(f"pool{block}", "pool", 2, 2))
    return tuple(layers)


_LAYERS: Mapping[FeatureName, tuple[_Layer, ...]] = {
    "vgg16": _vgg((2, 2, 3, 3, 3)),
    "vgg19": _vgg((2, 2, 4, 4, 4)),
    "alexnet": (
        _Layer("conv1", "conv", 11, 4, 2, (3, 64)),
        _Layer("relu1", "relu"),
        _Layer("pool1", "pool", 3, 2),
        _Layer("conv2", "conv", 5, 1, 2, (64, 192)),
        _Layer("relu2", "relu"),
        _Layer("pool2", "pool", 3, 2),
        _Layer("conv3", "conv", 3, 1, 1, (192, 384)),
        _Layer("relu3", "relu"),
        _Layer("conv4", "conv", 3, 1, 1, (384, 256)),
        _Layer("relu4", "relu"),
        _Layer("conv5", "conv", 3, 1, 1, (256, 256)),
        _Layer("relu5", "relu"),
        _Layer("pool5", "pool", 3, 2),
    ),
}


def published(file: PublishedFile, path: str | None, *, option: str) -> dict[str, Tensor]:
    """The tensors of the user's file, or of the published one, downloaded where it is not here yet.

    Args:
        file: What is published.
        path: The user's file instead; any form that `read_weights` reads.
        option: The name under which users give `path`, for the error.

    Raises:
        ConfigError: If there is no file and it cannot be downloaded, with where to put it.
    """
    if path is not None:
        return read_weights(path)[0]
    place = Path(torch.hub.get_dir()) / "checkpoints" / file.file_name
    if not place.is_file():
        _log.info("Downloading %s to %s", file.url, place)
        place.parent.mkdir(parents=True, exist_ok=True)
        digits = place.stem.rpartition("-")[2]
        try:
            torch.hub.download_url_to_file(file.url, str(place), hash_prefix=digits)
        except (OSError, RuntimeError, HTTPException) as error:
            raise ConfigError(
                f"no weights at {place}, and {file.url} could not be downloaded ({error}); where there is a "
                f"network: curl -Lo {place} {file.url}, or name a file that you have by '{option}: path'"
            ) from None
    return read_weights(place)[0]


class FeatureNetwork(nn.Module):
    """A frozen network that shows its activations. It computes in float32 (float64 for float64 images).

    Its weights are no parameters and not in its state. Activations are named as in BasicSR: `conv1_2` is what
    a convolution gives, `relu1_2` the same after its ReLU, `pool1` after the pooling (AlexNet: `conv1`, ...).

    Args:
        name: Which network.
        pretrained: False draws the weights at random (He et al. 2015), the same ones every time.
        weights: A file of weights with torchvision's names, `features.0.weight` and so on; the download of
            torchvision by default.
        use_input_norm: Shift and scale RGB as the network was trained.
        range_norm: Take images of -1 to 1 instead of 0 to 1.
        pooling: "l2" replaces the maximum by the root of squares under a window; Ding et al. 2020.
    """

    mean: Tensor
    std: Tensor
    hann: Tensor

    def __init__(
        self,
        name: FeatureName,
        *,
        pretrained: bool = True,
        weights: str | None = None,
        use_input_norm: bool = True,
        range_norm: bool = False,
        pooling: Pooling = "max",
    ) -> None:
        super().__init__()
        if weights is not None and not pretrained:
            raise ValueError(f"weights: {weights} is not read with 'pretrained: false'; leave one out")
        self.name: FeatureName = name
        self.range_norm, self.pooling = range_norm, pooling
        self.taps: set[str] = set()
        """Names of the activations that somebody wants; `Activations` keeps these alone."""
        mean, std = (_MEAN, _STD) if use_input_norm else ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("hann", torch.tensor((0.25, 0.5, 0.25)), persistent=False)
        for key, tensor in self._tensors(pretrained, weights).items():
            layout = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
            value = tensor.float().contiguous(memory_format=layout)
            self.register_buffer(key, value, persistent=False)

    def _tensors(self, pretrained: bool, weights: str | None) -> dict[str, Tensor]:
        shapes: dict[str, tuple[int, ...]] = {}
        for index, layer in enumerate(_LAYERS[self.name]):
            if layer.kind == "conv":
                given, out = layer.channels
                shapes[f"features.{index}.weight"] = (out, given, layer.size, layer.size)
                shapes[f"features.{index}.bias"] = (out,)
        if pretrained:
            found = published(_FILES[self.name], weights, option="weights")
            for key, shape in shapes.items():
                if key not in found or tuple(found[key].shape) != shape:
                    has = tuple(found[key].shape) if key in found else "none"
                    raise ConfigError(
                        f"{weights or _FILES[self.name].file_name}: not the weights of {self.name}: {key} "
                        f"should be {shape}, the file has {has}"
                    )
        else:
            _log.warning(
                "%s: random weights (pretrained: false), which know little of how images look", self.name
            )
            found = _random(shapes)
        return {_buffer(key): found[key] for key in shapes}

    def check(self, taps: Iterable[str]) -> None:
        """Refuse names that are none of this network's.

        Raises:
            ValueError: With the last of the same block, or the nearest name.
        """
        known = [layer.name for layer in _LAYERS[self.name]]
        for tap in taps:
            if tap not in known:
                block = [name for name in known if name.partition("_")[0] == tap.partition("_")[0]]
                hint = f"; did you mean {block[-1]!r}?" if block else did_you_mean(tap, known)
                raise ValueError(f"{self.name} has no layer {tap!r}{hint}; its layers: {', '.join(known)}")

    def walk(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Every activation in order, (n, channels, h', w'), computed when asked for.

        Args:
            image: (n, 3, h, w), RGB, 0 to 1; float32 or float64.

        Raises:
            ValueError: If the image is too small for the next layer.
        """
        x = image.contiguous(memory_format=torch.channels_last)
        if self.range_norm:
            x = (x + 1) / 2
        x = (x - self.mean.to(x.dtype)) / self.std.to(x.dtype)
        for index, layer in enumerate(_LAYERS[self.name]):
            if min(x.shape[2:]) + 2 * layer.padding < layer.size:
                size = " x ".join(map(str, image.shape[2:]))
                raise ValueError(f"{self.name}: images of {size} pixels are too small for {layer.name}")
            x = self._apply_layer(index, layer, x)
            yield layer.name, x

    def _apply_layer(self, index: int, layer: _Layer, x: Tensor) -> Tensor:
        match layer.kind:
            case "conv":
                weight = self.get_buffer(_buffer(f"features.{index}.weight")).to(x.dtype)
                bias = self.get_buffer(_buffer(f"features.{index}.bias")).to(x.dtype)
                return F.conv2d(x, weight, bias, stride=layer.stride, padding=layer.padding)
            case "relu":
                return x.relu()
            case "pool" if self.pooling == "l2":
                taps = self.hann.to(x.dtype)
                window = (taps[:, None] * taps).expand(x.shape[1], 1, 3, 3)
                squares = F.conv2d(x.square(), window, stride=2, padding=1, groups=x.shape[1])
                return (squares + 1e-12).sqrt()
            case "pool":
                return F.max_pool2d(x, layer.size, layer.stride)


class Activations:
    """What a network makes of one image, computed once and no deeper than somebody asks."""

    def __init__(self, network: FeatureNetwork, image: Tensor) -> None:
        self._network = network
        self._device = image.device.type
        self._rest = network.walk(image)
        self._kept: dict[str, Tensor] = {}

    def at(self, taps: Iterable[str]) -> dict[str, Tensor]:
        """The activations of these names, which must be among the `taps` of the network."""
        wanted = list(taps)
        assert self._network.taps.issuperset(wanted), f"{wanted} were not announced"
        with torch.autocast(self._device, enabled=False):  # losses compute in float32
            while not self._kept.keys() >= set(wanted):
                name, value = next(self._rest)
                if name in self._network.taps:
                    self._kept[name] = value
        return {tap: self._kept[tap] for tap in wanted}


_shared: WeakValueDictionary[tuple[object, ...], FeatureNetwork] = WeakValueDictionary()


def shared_network(
    name: FeatureName,
    taps: Iterable[str],
    *,
    pretrained: bool = True,
    weights: str | None = None,
    use_input_norm: bool = True,
    range_norm: bool = False,
    pooling: Pooling = "max",
) -> FeatureNetwork:
    """The one network of this process with these settings, from now on with these feature layers too.

    It lives as long as somebody holds it, and moves to another device with any of its owners.

    Raises:
        ValueError: For names that are none of its layers'.
        ConfigError: If it has no weights.
    """
    wanted = list(taps)
    key = (name, pretrained, weights, use_input_norm, range_norm, pooling)
    network = _shared.get(key)
    if network is None:
        network = FeatureNetwork(
            name,
            pretrained=pretrained,
            weights=weights,
            use_input_norm=use_input_norm,
            range_norm=range_norm,
            pooling=pooling,
        )
        _shared[key] = network
    network.check(wanted)
    network.taps.update(wanted)
    return network


def _buffer(key: str) -> str:
    return key.replace(".", "_")


def _random(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Zero biases and normal weights of variance 2 / inputs, which keep the size of activations."""
    generator = torch.Generator().manual_seed(0)
    drawn: dict[str, Tensor] = {}
    for key, shape in shapes.items():
        if len(shape) == 1:
            drawn[key] = torch.zeros(shape)
        else:
            inputs = shape[1] * shape[2] * shape[3]
            drawn[key] = torch.randn(shape, generator=generator) * (2 / inputs) ** 0.5
    return drawn
