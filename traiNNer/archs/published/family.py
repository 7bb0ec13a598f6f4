"""Networks of other authors: their modules come from spandrel, what this program must know of them from here.

A `Family` is data: the authors' names of the parameters, the sizes that the network takes, how far it sees, the
blocks that may be computed twice to save memory. `enroll` makes an entry of the registry of it. spandrel is
imported when the first network is built.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from torch import nn

from traiNNer.archs import NETWORKS, NetworkFacts, OnnxForm
from traiNNer.archs.padding import rounded_up
from traiNNer.archs.published.module import adapted, recompute_blocks
from traiNNer.archs.published.words import WORDS
from traiNNer.archs.variants import variant
from traiNNer.registry import ConfigError

Given: TypeAlias = Mapping[str, Any]
"""Options as a user gives them."""

WIDEST = 256
"""LQ pixels of a margin beyond which tiles that equal the whole image are not worth their price."""
RECOMPUTE = "use_checkpointing"
CHANNELS = (
    "num_in_ch", "in_ch", "in_chans", "in_channels", "in_nc", "inp_channels", "img_channel", "n_colors",
)  # fmt: skip
"""The authors' names of the channels of the input."""
LICENCE = "permissive"
"""Licence of all parts of spandrel 0.4.2: MIT, Apache-2.0, BSD or public domain, says its description."""


def _same(options: Given) -> dict[str, Any]:
    return dict(options)


def _one(options: Given) -> int:
    return 1


def _never(options: Given) -> bool:
    return False


def always(options: Given) -> bool:
    """For `Family.pads`."""
    return True


def _unknown(options: Given) -> None:
    return None


@dataclass(frozen=True)
class Family:
    """One family of networks and what must be known to train and to run it."""

    name: str
    """In the registry."""
    architecture: str
    """spandrel's identifier, which is the name of its package too."""
    about: str
    """What it is, and its source."""
    options: Mapping[str, Any]
    """Parameters by the authors' names, with their defaults."""
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What parameters that are text may be."""
    network: str = ""
    """The class; the architecture's name by default."""
    factor: str = "upscale"
    """The authors' name of the scale; empty where there is none."""
    scales: tuple[int, ...] = (1, 2, 3, 4, 8)
    least: int = 1
    """Smallest height and width, in pixels; smaller images are mirrored up to it."""
    multiple: Callable[[Given], int] = _one
    """Divisor that height and width must have, or that tiles must keep to; others are mirrored up to it."""
    pads: Callable[[Given], bool] = _never
    """Whether its own forward pass fills up images to the multiple, in another way than by mirroring."""
    margin: Callable[[Given], int | None] = _unknown
    """LQ pixels around a tile that matter to it; None: all, or more than are known."""
    square: bool = False
    """Images must be square; others are mirrored up to it."""
    blocks: tuple[str, ...] = ()
    """Classes of the blocks that `use_checkpointing` computes twice; without any it is no option."""
    trains_alone: bool = True
    """Whether a batch of one sample can be trained."""
    autocasts: bool = True
    """Whether it can run in half precision; others run in float32 where the rest is in half."""
    onnx: OnnxForm = OnnxForm("trace")
    """How it is written as ONNX."""
    idle: str = ""
    """Regular expression of parameters that no gradient reaches, by the authors' design."""
    asks: tuple[str, ...] = ()
    """Options that a file of weights does not tell, and that change the function."""
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Names of variants, with the defaults in which they differ."""
    foreign: Callable[[dict[str, Any]], dict[str, Any]] = _same
    """The arguments of the class out of the options; `scale` is among both until `factor` replaces it."""
    native: Callable[[dict[str, Any]], dict[str, Any]] = _same
    """The options out of the arguments of the class, as spandrel found them in a file."""

    def build(self, options: Given) -> nn.Module:
        """The network, with the authors' initial values, in training mode.

        Raises:
            ConfigError: For a scale that it does not have, and for what the authors' class refuses.
        """
        scale = options["scale"]
        if scale not in self.scales:
            raise ConfigError(f"{self.name}: scale {scale}; it has {', '.join(map(str, self.scales))}")
        arguments = self.foreign({key: value for key, value in options.items() if key != RECOMPUTE})
        kind = arguments.pop("network", self.network or self.architecture)
        if self.factor:
            arguments[self.factor] = arguments.pop("scale")
        else:
            del arguments["scale"]
        package = importlib.import_module(f"spandrel.architectures.{self.architecture}")
        arguments = {k: list(v) if isinstance(v, tuple) else v for k, v in arguments.items()}
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="torch.meshgrid", category=UserWarning)
                net: Any = adapted(getattr(package, kind))(**arguments)
        except (ArithmeticError, AssertionError, LookupError, RuntimeError, ValueError) as error:
            raise ConfigError(f"{self.name}: these options do not go together ({error})") from error
        net.facts = self._facts(options)
        net.options = dict(options)
        net.square, net.autocasts = self.square, self.autocasts
        if options.get(RECOMPUTE):
            recompute_blocks(net, self.blocks)
        return net

    def _facts(self, options: Given) -> NetworkFacts:
        multiple, margin = self.multiple(options), self.margin(options)
        outside = 1 if self.pads(options) else multiple
        if margin is not None:
            margin = rounded_up(margin, multiple)
        return NetworkFacts(
            "generator",
            scale=options["scale"],
            min_size=rounded_up(self.least, outside),
            multiple_of=outside,
            window=multiple,
            tile_margin=None if margin is None or margin > WIDEST else margin,
            channels=next((options[name] for name in CHANNELS if name in options), 3),
            trains_alone=self.trains_alone,
            onnx=self.onnx,
        )

    def describe(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Options that build the network which spandrel found in a file, given its arguments."""
        found = {("scale" if key == self.factor else key): value for key, value in arguments.items()}
        found = self.native({"scale": 1, **found})
        return {key: value for key, value in found.items() if key in self.options or key == "scale"}


FAMILIES: dict[str, Family] = {}
"""Every family by its name in the registry."""
PUBLISHED: set[str] = set()
"""The names of all families and presets."""


def enroll(family: Family) -> None:
    """Make a family and its presets known to the registry of networks."""
    FAMILIES[family.name] = family
    PUBLISHED.update((family.name, *family.presets))
    factory = _factory(family)
    NETWORKS.register(family.name)(factory)
    for name, changes in family.presets.items():
        NETWORKS.register(name)(variant(factory, **changes))


def _factory(family: Family) -> Callable[..., nn.Module]:
    defaults = dict(family.options) | ({RECOMPUTE: False} if family.blocks else {})
    parameters = [inspect.Parameter("scale", inspect.Parameter.KEYWORD_ONLY, default=4, annotation=int)]
    if 4 not in family.scales:
        parameters = [parameters[0].replace(default=family.scales[0])]
    for name, default in defaults.items():
        hint = _hint(default, family.choices.get(name))
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        )

    def build(**options: Any) -> nn.Module:
        return family.build({p.name: options.get(p.name, p.default) for p in parameters})

    build.__signature__ = inspect.Signature(parameters)
    build.__annotations__ = {p.name: p.annotation for p in parameters}
    build.__doc__ = _docstring(family, defaults)
    return build


def _hint(default: Any, choices: tuple[str, ...] | None) -> Any:
    """The type of an option, from its default: whole numbers are taken for others, lists are of one kind."""
    if choices:
        return Literal[choices]
    match default:
        case bool():
            return bool
        case int():
            return int
        case float():
            return float
        case None:
            return float | None
        case tuple():
            return _of_items(default)
    return type(default)


def _of_items(default: tuple[Any, ...]) -> Any:
    kinds = {type(item) for item in default}
    if kinds == {str}:
        return tuple[str, ...]
    return tuple[int | None, ...] if type(None) in kinds else tuple[int, ...]


def _docstring(family: Family, defaults: Given) -> str:
    lines = [family.about, "", "Args:", f"    scale: Resolution factor, one of {list(family.scales)}."]
    lines += [f"    {name}: {WORDS[name]}" for name in defaults]
    return "\n".join(lines)
