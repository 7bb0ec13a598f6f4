"""Building the network that a file of weights belongs to, and copying weights into networks.

`weights_file` reads the files, `detectors` and spandrel tell whose they are.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from traiNNer.archs import NETWORKS
from traiNNer.archs.detectors import DETECTORS, Guess
from traiNNer.archs.published.recognition import recognise
from traiNNer.archs.weights_file import Weights, one_line, read_weights, without_prefixes
from traiNNer.registry import ConfigError
from traiNNer.wording import counted, shortened

SHOWN = 20
"""Differences that an error lists before it only counts them."""
_LARGEST = 2048
"""Largest number allowed in metadata: no published network has more; building it would take all memory."""


class Loaded(NamedTuple):
    """What a file of weights gives."""

    net: nn.Module
    type: str
    """Its name in the registry."""
    metadata: dict[str, str]


def load_network(path: str | Path, **overrides: Any) -> nn.Module:
    """The network that `load_with_metadata` finds."""
    return load_with_metadata(path, **overrides).net


def load_with_metadata(path: str | Path, *, key: str | None = None, **overrides: Any) -> Loaded:
    """The network that a file of weights belongs to, with those weights, in evaluation mode.

    The architecture and all that names and shapes tell are found out from the file. The rest comes from
    `overrides`, else from our metadata in the file (`architecture`, `options` as JSON, `scale`), else, where
    all published files of a kind agree, from those (Stream: upsampler_alpha 0; Photo: window_size 16; the
    first family: upsampler_alpha 1). What is still unknown is asked for by name.

    Args:
        path: `.safetensors`, or `.pth` with tensors only; see `read_weights`.
        key: See `read_weights`.
        overrides: Parameters of the network, and `type` to name it if the file is not recognised.

    Raises:
        ConfigError: For a file of an unknown or unsupported kind, a parameter that must be given, and weights
            that do not fit.
    """
    weights, metadata = read_weights(path, key)
    with _in_words(path):
        return network_of(weights, metadata, **overrides)


def network_of(weights: Weights, metadata: Mapping[str, str], **overrides: Any) -> Loaded:
    """The network that weights in memory belong to; see `load_with_metadata`.

    Raises:
        ConfigError: As there, without the name of a file.
    """
    spec, weights = _describe(weights, metadata, overrides)
    net = NETWORKS.build(spec)
    load_weights(net, weights, strict=True)
    return Loaded(net.eval(), NETWORKS.own_name(spec["type"]), dict(metadata))


@contextmanager
def _in_words(path: str | Path) -> Iterator[None]:
    """Puts the name of the file before what is wrong with it."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError([f"{path}: {problem}" for problem in error.problems]) from None
    except Exception as error:  # noqa: BLE001 -- names of one network with absurd shapes or options
        large = isinstance(error, MemoryError) or "memory" in str(error)
        reason = "its network does not fit into memory" if large else "no network can be built from it"
        raise ConfigError(f"{path}: {reason} ({type(error).__name__})") from None


class Copied(NamedTuple):
    """What `load_weights` did."""

    line: str
    """Counts what was copied, and names the rest."""
    whole: bool
    """Whether all of the network was in the file, and nothing else."""


def load_weights(net: nn.Module, weights: Weights, *, strict: bool) -> Copied:
    """Copies weights into a network by name, and says what did not fit.

    Names that fit only without a prefix that they share are taken without it.

    Args:
        net: The network; dtypes and devices are converted to its own.
        weights: Tensors by name.
        strict: Refuses any difference of names or shapes and changes nothing. Otherwise what fits is copied.

    Raises:
        ConfigError: If strict, with one line for each name or shape that differs, with the nearest match.
            Otherwise if nothing fits.
    """
    own = net.state_dict()
    bare = None
    if not own.keys() & weights.keys():
        bare = next((w for w in without_prefixes(weights) if own.keys() & w.keys()), None)
    weights = bare or weights
    fitting = {name: t for name, t in weights.items() if name in own and own[name].shape == t.shape}
    lines = _differences(own, weights)
    if lines and (strict or not fitting):
        counted = [] if strict else [f"none of the {len(weights)} tensors fits the network; the first:"]
        raise ConfigError([*counted, *lines[: None if strict else 3]])
    net.load_state_dict(fitting, strict=False)
    fresh = [name for name in own if name not in fitting]
    unused = [name for name in weights if name not in fitting]
    texts = [
        f"loaded {len(fitting)} of {len(own)} tensors{', without the first part of their names' if bare else ''}"
    ]
    texts += [f"{what}: {_few(names)}" for what, names in (("fresh", fresh), ("not used", unused)) if names]
    return Copied("; ".join(texts), not fresh and not unused)


def other_network(weights: Weights, metadata: Mapping[str, str], spec: Mapping[str, Any]) -> str | None:
    """How the network that weights are of differs from that of a description; None where it is not known."""
    try:
        theirs, _ = _describe(weights, metadata, {})
        kind, here = NETWORKS.own_name(theirs["type"]), NETWORKS.own_name(spec["type"])
    except Exception:  # noqa: BLE001 -- only the better message depends on it
        named = metadata.get("architecture")
        return f"its metadata say it is of {one_line(named)}" if named else None
    if kind != here:
        return f"it is of {kind}, not {here}"
    known = NETWORKS.parameters(kind)
    differing = [
        f"{name}: {value} in the file, {mine} here"
        for name, value in theirs.items()
        if name in known
        and (mine := spec.get(name, known[name].default)) != value
        and not known[name].required
    ]
    scales = (theirs.get("scale"), spec.get("scale"))
    if None not in scales and scales[0] != scales[1]:
        differing.append(f"scale: {scales[0]} in the file, {scales[1]} here")
    return f"it is of {kind} with other options ({', '.join(differing)})" if differing else None


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
    with _in_words(path):
        spec = _describe(weights, metadata, overrides)[0]
        recorded, guess = _recorded_options(metadata), _guess(weights, metadata, overrides)[0]
    assumed, told = (guess.assumed, guess.options) if guess else ({}, {})
    open_ones = {k: v for k, v in assumed.items() if k not in recorded and k not in overrides}
    return Described(spec, open_ones, {**assumed, **recorded, **told}.get("scale"))


def fitted(net: nn.Module, weights: Weights, metadata: Mapping[str, str]) -> Weights:
    """Weights under today's names and with what older files leave out, where they are recognised."""
    if weights.keys() == net.state_dict().keys():
        return weights
    try:
        return _describe(weights, metadata, {})[1]
    except Exception:  # noqa: BLE001 -- what is wrong shows where they are loaded
        return weights


def _describe(
    weights: Weights, metadata: Mapping[str, str], overrides: Mapping[str, Any]
) -> tuple[dict[str, Any], Weights]:
    recorded = _recorded_options(metadata)
    named = overrides.get("type", metadata.get("architecture"))
    guess, weights = _guess(weights, metadata, overrides)
    if guess is None:
        if named is None or NETWORKS.find(str(named)) is None:
            says = f"; it calls itself {one_line(named)!r}" if named else ""
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
    for bare in (weights, *without_prefixes(weights)):
        infer = next((d.infer for d in DETECTORS if d.applies(bare)), None)
        if infer is not None:
            return infer(bare), bare
    if NETWORKS.find(metadata.get("architecture", "")) is not None:
        return None, weights
    found = recognise(weights)
    return (found.guess, found.weights) if found else (None, weights)


def _recorded_options(metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        options = json.loads(metadata.get("options", "{}"))
    except (ValueError, RecursionError):  # the first: also for numbers of thousands of digits
        raise ConfigError("its metadata 'options' is not JSON of reasonable size") from None
    if not isinstance(options, dict):
        raise ConfigError("its metadata 'options' is not a JSON object")
    for name, value in options.items():
        if any(abs(number) > _LARGEST for number in _numbers(value)):
            raise ConfigError(
                f"its metadata ask for {one_line(name)}: {one_line(value)}, of which no network is"
            )
    if options and NETWORKS.find(metadata.get("architecture", "")):
        known = NETWORKS.parameters(metadata["architecture"])
        options = {name: p.default for name, p in known.items() if not p.required} | options
    if re.fullmatch(r"[0-9]{4,}", metadata.get("scale", "")):
        raise ConfigError(
            f"its metadata ask for scale: {one_line(metadata['scale'])}, of which no network is"
        )
    if re.fullmatch(r"[0-9]+", metadata.get("scale", "")):
        options.setdefault("scale", int(metadata["scale"]))
    return options


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float):
        yield value


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(one_line, shortened(names, 5)))


def _differences(own: Weights, given: Weights) -> list[str]:
    absent = [name for name in own if name not in given]
    surplus = [name for name in given if name not in own]
    other = [name for name in own if name in given and own[name].shape != given[name].shape]
    lines = [
        f"{name}: should be {_shape(own[name])}, the file has {_shape(given[name])}" for name in other[:SHOWN]
    ]
    lines += [f"{name} {_shape(own[name])}: missing{_nearest(name, surplus)}" for name in absent[:SHOWN]]
    lines += [
        f"{one_line(name)} {_shape(given[name])}: unknown to the network{_nearest(name, absent)}"
        for name in surplus[:SHOWN]
    ]
    rest = sum(max(0, len(names) - SHOWN) for names in (other, absent, surplus))
    return [*lines, f"and {counted(rest, 'more name')}"] if rest else lines


def _shape(tensor: Tensor) -> str:
    return "(" + ", ".join(map(str, tensor.shape)) + ")"


def _nearest(name: str, candidates: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, candidates, n=1, cutoff=0.7)
    return f"; nearest: {one_line(close[0])}" if close else ""
