"""Reading weights from files, and building the network that a file of weights belongs to.

A family of networks teaches `load_network` its files by a function under `@recognises(...)`: from names and
shapes it says which network this is and what the file cannot tell. Files are read without running code.
"""

from __future__ import annotations

import difflib
import json
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from traiNNer.archs import NETWORKS
from traiNNer.registry import ConfigError

Weights: TypeAlias = Mapping[str, Tensor]

WRAPPERS = ("params_ema", "params", "state_dict")
"""Names under which trainers store the weights of a generator; the first that is there is taken."""
SHOWN = 20
"""Differences that an error lists before it only counts them."""
_NAMED = 8
"""Names that a sentence lists before it only counts them."""


@dataclass(frozen=True)
class Guess:
    """What names and shapes tell about the network of a file."""

    type: str
    """A name of the registry."""
    options: dict[str, Any]
    """Parameters that follow from the file."""
    assumed: dict[str, Any] = field(default_factory=dict)
    """Parameters that the file does not tell but that all published files of this kind share."""
    asks: tuple[str, ...] = ()
    """Parameters that the file does not tell and nobody can know: metadata or an override must say them."""
    completion: dict[str, Tensor] = field(default_factory=dict)
    """Weights that older files leave out, with the values that change nothing."""


_Infer: TypeAlias = Callable[[Weights], Guess]
_Rename: TypeAlias = Callable[[Weights], dict[str, Tensor]]


class _Detector(NamedTuple):
    applies: Callable[[Weights], bool]
    infer: _Infer


DETECTORS: list[_Detector] = []
"""What `recognises` has registered, in the order in which files are tried."""


def recognises(applies: Callable[[Weights], bool]) -> Callable[[_Infer], _Infer]:
    """A decorator: the function says what network weights belong to if `applies` is true of them.

    `applies` must be false for the files of all other families. The function may raise ConfigError for files
    that it knows and does not support.
    """

    def add(infer: _Infer) -> _Infer:
        DETECTORS.append(_Detector(applies, infer))
        return infer

    return add


class _Renaming(NamedTuple):
    applies: Callable[[Weights], bool]
    rename: _Rename


RENAMINGS: list[_Renaming] = []
"""What `renames` has registered."""


def renames(applies: Callable[[Weights], bool]) -> Callable[[_Rename], _Rename]:
    """A decorator: the function gives weights under names of the past those of today.

    Every file that is read goes through it if `applies` is true of its weights.
    """

    def add(rename: _Rename) -> _Rename:
        RENAMINGS.append(_Renaming(applies, rename))
        return rename

    return add


class Loaded(NamedTuple):
    """What a file of weights gives."""

    net: nn.Module
    type: str
    """Its name in the registry."""
    metadata: dict[str, str]


def load_network(path: str | Path, **overrides: Any) -> nn.Module:
    """The network that `load_with_metadata` finds."""
    return load_with_metadata(path, **overrides).net


def load_with_metadata(path: str | Path, **overrides: Any) -> Loaded:
    """The network that a file of weights belongs to, with those weights, in evaluation mode.

    The architecture and all that names and shapes tell are found out from the file. The rest comes from
    `overrides`, else from our metadata in the file (`architecture`, `options` as JSON, `scale`), else, where
    all published files of a kind agree, from those (Stream: upsampler_alpha 0; Photo: window_size 16; the
    first family: upsampler_alpha 1). What is still unknown is asked for by name.

    Args:
        path: `.safetensors`, or `.pth` with tensors only; see `read_weights`.
        overrides: Parameters of the network, and `type` to name it if the file is not recognised.

    Raises:
        ConfigError: For a file of an unknown or unsupported kind, a parameter that must be given, and weights
            that do not fit.
    """
    weights, metadata = read_weights(path)
    try:
        spec, weights = _describe(weights, metadata, overrides)
        net = NETWORKS.build(spec)
        load_weights(net, weights, strict=True)
    except ConfigError as error:
        raise ConfigError([f"{path}: {problem}" for problem in error.problems]) from None
    return Loaded(net.eval(), NETWORKS.own_name(spec["type"]), metadata)


def read_weights(path: str | Path, key: str | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file by name, on the CPU, and the metadata of a safetensors file.

    Weights may be bare or under `params_ema`, `params` or `state_dict`; the prefixes `module.` and
    `_orig_mod.` of wrappers are taken off, and names of the past replaced (`renames`).

    Args:
        path: `.safetensors` or `.pth`.
        key: Where the weights are in a `.pth` file that holds several; found by itself by default.

    Raises:
        ConfigError: For a missing or broken file, and for one that holds more than tensors and plain values
            (such a file could run code, and is refused).
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"{path}: refused, because it holds more than tensors and plain values (or no weights at all); "
            f"convert it to .safetensors where you trust it ({_first_line(error)})"
        ) from None
    except (RuntimeError, EOFError, KeyError, OSError) as error:
        raise ConfigError(f"{path}: not a readable file of weights ({_first_line(error)})") from None
    if key is not None:
        if not isinstance(content, Mapping) or key not in content:
            known = ", ".join(map(str, content)) if isinstance(content, Mapping) else "none"
            raise ConfigError(f"{path}: has no key {key!r}; its keys: {known[:200]}")
        content = content[key]
    return _plain(path, content), {}


def load_weights(net: nn.Module, weights: Weights, *, strict: bool) -> list[str]:
    """Copies weights into a network by name, and says what did not fit.

    Args:
        net: The network; dtypes and devices are converted to its own.
        weights: Tensors by name.
        strict: Refuses any difference of names or shapes and changes nothing. Otherwise what fits is copied.

    Returns:
        One line for each name or shape that differs, with the nearest match; empty if all is equal.

    Raises:
        ConfigError: With these lines, if strict and there are any.
    """
    own = net.state_dict()
    lines = _differences(own, weights)
    if strict and lines:
        raise ConfigError(lines)
    net.load_state_dict(
        {name: t for name, t in weights.items() if name in own and own[name].shape == t.shape}, strict=False
    )
    return lines


def coverage(net: nn.Module, weights: Weights) -> str:
    """How much of a network weights cover, in one line: `412 of 418 tensors; fresh: conv_last.weight, ...`."""
    own = net.state_dict()
    fresh = [name for name, t in own.items() if name not in weights or weights[name].shape != t.shape]
    unused = [name for name in weights if name not in own]
    parts = [f"{len(own) - len(fresh)} of {len(own)} tensors"]
    parts += [
        f"{what}: {', '.join(names[:_NAMED])}" + (f" and {len(names) - _NAMED} more" * (len(names) > _NAMED))
        for what, names in (("fresh", fresh), ("not used", unused))
        if names
    ]
    return "; ".join(parts)


class Described(NamedTuple):
    """The network that a file of weights belongs to."""

    spec: dict[str, Any]
    """`type` and options, as `build_network` takes them."""
    assumed: dict[str, Any]
    """Options among them that the file does not tell and nobody has said."""
    scale: int | None
    """Resolution factor of the file, whatever that of the options; None where it does not tell."""


def describe_file(path: str | Path, key: str | None = None, **overrides: Any) -> Described:
    """The network that a file belongs to, without building it; see `load_with_metadata`.

    Raises:
        ConfigError: For a file of an unknown or unsupported kind, and for a parameter that must be given.
    """
    weights, metadata = read_weights(path, key)
    spec = _describe(weights, metadata, overrides)[0]
    recorded, guess = _recorded_options(metadata), _guess(weights, metadata, overrides)[0]
    assumed, told = (guess.assumed, guess.options) if guess else ({}, {})
    open_ones = {k: v for k, v in assumed.items() if k not in recorded and k not in overrides}
    return Described(spec, open_ones, {**assumed, **recorded, **told}.get("scale"))


def read_for(net: nn.Module, path: str | Path, key: str | None = None) -> dict[str, Tensor]:
    """The weights of a file under today's names and with what older files leave out, where it is recognised."""
    weights, metadata = read_weights(path, key)
    if weights.keys() == net.state_dict().keys():
        return weights
    try:
        return dict(_describe(weights, metadata, {})[1])
    except ConfigError:  # what is wrong shows where they are loaded
        return weights


def _describe(
    weights: Weights, metadata: Mapping[str, str], overrides: Mapping[str, Any]
) -> tuple[dict[str, Any], Weights]:
    recorded = _recorded_options(metadata)
    named = overrides.get("type", metadata.get("architecture"))
    guess, weights = _guess(weights, metadata, overrides)
    if guess is None:
        if named is None or NETWORKS.find(str(named)) is None:
            says = f"; it calls itself {named!r}" if named else ""
            raise ConfigError(f"these weights belong to none of the known networks{says}")
        return {**recorded, **overrides, "type": named}, weights
    known = NETWORKS.parameters(guess.type)
    recorded = {name: value for name, value in recorded.items() if name in known}
    spec = {**guess.assumed, **recorded, **guess.options, **overrides, "type": guess.type}
    missing = [name for name in guess.asks if name not in spec]
    if missing and known.keys() >= overrides.keys():  # a mistyped name is reported first, by the registry
        raise ConfigError(
            f"a file of {guess.type} does not tell {' and '.join(missing)}, nor does its metadata: give "
            f"{' '.join(f'{name}=...' for name in missing)}"
        )
    return spec, {**guess.completion, **weights}


def _guess(
    weights: Weights, metadata: Mapping[str, str], overrides: Mapping[str, Any]
) -> tuple[Guess | None, Weights]:
    """What names and shapes tell, by our own families and then by spandrel; None where a name is given."""
    if "type" in overrides:
        return None, weights
    NETWORKS.names()  # imports every family, and with it what it recognises
    infer = next((d.infer for d in DETECTORS if d.applies(weights)), None)
    if infer is not None:
        return infer(weights), weights
    if NETWORKS.find(metadata.get("architecture", "")) is not None:
        return None, weights
    from traiNNer.archs.published.recognition import recognise  # imports this module

    found = recognise(weights)
    return (found.guess, found.weights) if found else (None, weights)


def _recorded_options(metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        options = json.loads(metadata.get("options", "{}"))
    except json.JSONDecodeError:
        raise ConfigError("its metadata 'options' is not JSON") from None
    if not isinstance(options, dict):
        raise ConfigError("its metadata 'options' is not a JSON object")
    if options and NETWORKS.find(metadata.get("architecture", "")):
        known = NETWORKS.parameters(metadata["architecture"])
        options = {name: p.default for name, p in known.items() if not p.required} | options
    if re.fullmatch(r"[0-9]+", metadata.get("scale", "")):
        options.setdefault("scale", int(metadata["scale"]))
    return options


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- not a mapping
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path}: not a readable safetensors file ({_first_line(error)})") from None
    return _plain(path, weights), metadata


def _plain(path: Path, content: Any) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not content:
        raise ConfigError(f"{path}: holds no weights by name")
    foreign = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if foreign:
        raise ConfigError(
            f"{path}: {foreign[0]!r} is not a tensor; weights are looked for at the top or under "
            f"{', '.join(WRAPPERS)}"
        )
    plain: dict[str, Tensor] = {}
    for name, tensor in content.items():
        short = re.sub(r"^(module\.)+", "", str(name).replace("_orig_mod.", ""))
        if short in plain:
            raise ConfigError(f"{path}: two tensors are named {short!r} once wrappers are taken off")
        plain[short] = tensor
    NETWORKS.names()  # imports every family, and with it its names of the past
    rename = next((r.rename for r in RENAMINGS if r.applies(plain)), None)
    return rename(plain) if rename else plain


def _differences(own: Weights, given: Weights) -> list[str]:
    absent = [name for name in own if name not in given]
    surplus = [name for name in given if name not in own]
    other = [name for name in own if name in given and own[name].shape != given[name].shape]
    lines = [
        f"{name}: should be {_shape(own[name])}, the file has {_shape(given[name])}" for name in other[:SHOWN]
    ]
    lines += [f"{name} {_shape(own[name])}: missing{_nearest(name, surplus)}" for name in absent[:SHOWN]]
    lines += [
        f"{name} {_shape(given[name])}: unknown to the network{_nearest(name, absent)}"
        for name in surplus[:SHOWN]
    ]
    rest = sum(max(0, len(names) - SHOWN) for names in (other, absent, surplus))
    return [*lines, f"and {rest} more names"] if rest else lines


def _shape(tensor: Tensor) -> str:
    return "(" + ", ".join(map(str, tensor.shape)) + ")"


def _nearest(name: str, candidates: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, candidates, n=1, cutoff=0.7)
    return f"; nearest: {close[0]}" if close else ""


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
