"""Files of weights, ours and others': tensors by name, out of whatever a trainer has wrapped around them.

Files are read without running code. What is not a set of finite numbers by name is refused in one plain line with
the name of the file; libraries' own messages, which speak to programmers, are left out.
"""

from __future__ import annotations

import json
import logging
import math
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from traiNNer.archs import NETWORKS
from traiNNer.archs.download import local_file
from traiNNer.registry import ConfigError
from traiNNer.wording import counted, no_file, shortened

Weights: TypeAlias = Mapping[str, Tensor]

WRAPPERS = (
    "params_ema",
    "params-ema",
    "params",
    "state_dict_ema",
    "state_dict",
    "model_state_dict",
    "model",
    "net_g",
    "netG",
    "generator",
    "net",
)
"""Names under which trainers store the weights of a generator; the first that is there is taken."""
_SHOWN = 8  # names that a message lists
_GENERATORS = ("netG", "net_g", "generator", "model_g", "G")
"""First parts of names that tell a generator's tensors from those of the other networks in one dictionary."""
_DEEPEST = 8  # wrappers in one another
_LONGEST = 100  # characters of a foreign name that a message shows

_log = logging.getLogger(__name__)

_Rename: TypeAlias = Callable[[Weights], dict[str, Tensor]]


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


def read_weights(path: str | Path, key: str | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file by name, on the CPU, and what a file of safetensors or of ours says about itself.

    Weights may be bare, under one of `WRAPPERS` or under any single key; the prefixes `module.` and `_orig_mod.`
    of wrappers are taken off, and names of the past replaced (`renames`). Plain and numpy values beside them are
    passed over.

    Args:
        path: `.safetensors` or `.pth`, or the address of such a file (`download.local_file`).
        key: Where the weights are in a file that holds several: the key, or the first part of their names.

    Raises:
        ConfigError: For a missing or broken file, one that holds more than tensors and plain values (such a file
            could run code, and is refused), one without weights, and weights that are not finite.
    """
    path = local_file(path)
    if not path.is_file():
        best = path / "models/net_g_best.safetensors"
        hint = f"; the weights of this run: {best}" if best.is_file() else ""
        raise ConfigError(f"{path}: {no_file(path)}{hint}")
    try:
        content, metadata = read_as_it_is(path)
        return _sound(_plain(_chosen(content, key))), metadata
    except ConfigError as error:
        raise ConfigError([f"{path}: {problem}" for problem in error.problems]) from None


def read_as_it_is(path: Path) -> tuple[Any, dict[str, str]]:
    """What a file holds, without a look at it, and what a file of safetensors or of ours says about itself.

    Raises:
        ConfigError: For one that is broken, or holds more than tensors and plain values.
    """
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    content = _read_pickle(path)
    return content, _metadata_in(content)


def holds_weights(path: Path) -> bool:
    """Whether `read_weights` could read a file."""
    try:
        read_weights(path)
    except ConfigError:
        return False
    return True


def without_prefixes(weights: Weights) -> Iterator[dict[str, Tensor]]:
    """The weights without the first part of their names, then without the next, under today's names.

    As long as all names share it or it marks those of a generator. A network may begin all its names alike:
    try the weights as they are first.
    """
    for _ in range(_DEEPEST):
        firsts = {name.partition(".")[0] for name in weights}
        own = next((part for part in _GENERATORS if part in firsts), next(iter(firsts), ""))
        weights = _below(weights, own) if len(firsts) == 1 or own in _GENERATORS else {}
        if not weights:
            return
        yield renamed(weights)


def one_line(text: object) -> str:
    """Any text of a file, shortened, without line ends and what a terminal would obey."""
    plain = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(text)
    )
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}..."


class _Foreign:
    """Stands for a numpy value in a pickle: nothing of numpy runs while it is read."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


_NUMPY = (
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(f"numpy.dtypes.{name}" for name in np.dtypes.__all__),
    "numpy.dtype",
    "numpy.ndarray",
    "_codecs.encode",
)
"""What pickled numpy values are made of."""


def _read_pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([(_Foreign, n) for n in _NUMPY]):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        if error.errno:
            raise ConfigError(f"cannot be read ({error.strerror})") from None
        raise ConfigError(_UNREADABLE) from None
    except MemoryError:
        raise ConfigError("does not fit into memory, or is damaged") from None
    except Exception as error:  # noqa: BLE001 -- damaged pickles raise whatever their bytes happen to call
        said = str(error)
        if "TorchScript" in said:
            raise ConfigError(
                "is a TorchScript program, not a file of weights; save its state_dict"
            ) from None
        if found := re.search(r"GLOBAL ([\w.]+)", said):
            raise ConfigError(
                f"refused, because it holds more than tensors and plain values ({one_line(found[1])}); "
                "convert it to .safetensors where you trust it"
            ) from None
        raise ConfigError(_UNREADABLE) from None


def _metadata_in(content: Any) -> dict[str, str]:
    """What `release.weights` writes beside the weights of a `.pth`: a JSON object of texts."""
    text = content.get("metadata") if isinstance(content, Mapping) else None
    if not isinstance(text, str):
        return {}
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):  # another program's
        return {}
    return (
        {name: said for name, said in told.items() if isinstance(said, str)} if isinstance(told, dict) else {}
    )


_UNREADABLE = "not a readable file of weights: damaged, cut short or of another kind"


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- not a mapping
            return weights, file.metadata() or {}
    except MemoryError:
        raise ConfigError("does not fit into memory, or is damaged") from None
    except Exception:  # noqa: BLE001 -- a header may ask for anything
        raise ConfigError("not a readable safetensors file: damaged, cut short or of another kind") from None


def _chosen(content: Any, key: str | None) -> Mapping[Any, Any]:
    """The mapping that holds the weights."""
    if not isinstance(content, Mapping):
        raise ConfigError("holds no weights by name")
    if key is None:
        return _unwrapped(content)
    inner = content.get(key)
    if isinstance(inner, Mapping):
        return _unwrapped(inner)
    try:
        top = _unwrapped(content)
    except ConfigError:
        raise ConfigError(f"has no key {one_line(key)!r}; {_keys(content)}") from None
    if named := _below(top, key):
        return named
    if key in WRAPPERS and top is content:
        _log.info("the weights lie at the top, not under %r", key)  # as redux takes such files
        return top
    raise ConfigError(f"has no key {one_line(key)!r}; {_keys(content)}")


def _keys(content: Mapping[Any, Any]) -> str:
    """The keys that weights could be taken from, in words; names of single tensors are none."""
    inner = [name for name, value in content.items() if isinstance(value, Mapping)]
    if inner or not content:
        return f"its keys: {_listed(inner) or 'none'}"
    parts = dict.fromkeys(str(name).partition(".")[0] for name in content if "." in str(name))
    return f"its weights lie at the top: leave the key out, or name a first part of their names: {_listed(parts)}"


def _listed(names: Collection[Any]) -> str:
    return ", ".join(shortened([one_line(name) for name in names], _SHOWN))


def _below(weights: Mapping[Any, Any], prefix: str) -> dict[str, Any]:
    start = f"{prefix}."
    return {str(n)[len(start) :]: t for n, t in weights.items() if str(n).startswith(start)}


def _unwrapped(content: Mapping[Any, Any]) -> Mapping[Any, Any]:
    for _ in range(_DEEPEST):
        _refuse_state(content)
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            if any(isinstance(value, Tensor) for value in content.values()):
                return content
            inner = _only(content)
        content = inner
    raise ConfigError("holds no weights by name")


def _refuse_state(content: Mapping[Any, Any]) -> None:
    if {"format", "parts"} <= content.keys() or {"optimizers", "schedulers"} <= content.keys():
        raise ConfigError(
            "is a training state, which path.resume_state takes; the weights are in models/ beside it"
        )


def _only(content: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The single value that is itself a mapping with something in it."""
    inner = {name: v for name, v in content.items() if isinstance(v, Mapping) and v}
    for depth in (0, _DEEPEST):  # an optimizer beside weights has its tensors further down
        if holding := {n: v for n, v in inner.items() if _holds_tensors(v, depth)}:
            break
    holding = holding or inner
    if len(holding) > 1:
        names = ", ".join(one_line(name) for name in list(holding)[:8])
        raise ConfigError(f"holds several sets of weights ({names}): say which (param_key_g, --key)")
    if not holding:
        raise ConfigError("holds no weights by name")
    return next(iter(holding.values()))


def _holds_tensors(content: Mapping[Any, Any], depth: int) -> bool:
    """Itself, or in mappings of at most that depth."""
    return any(
        isinstance(value, Tensor)
        or (depth and isinstance(value, Mapping) and _holds_tensors(value, depth - 1))
        for value in content.values()
    )


def _plain(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Tensors under the names of the network, without those of wrappers."""
    plain: dict[str, Tensor] = {}
    foreign: list[str] = []
    for name, tensor in content.items():
        if not isinstance(tensor, Tensor):
            foreign.append(one_line(name))
            continue
        short = re.sub(r"^(module\.)+", "", str(name).replace("_orig_mod.", ""))
        if short in plain:
            raise ConfigError(f"two tensors are named {one_line(short)!r} once wrappers are taken off")
        plain[short] = tensor.detach()
    if not plain:
        raise ConfigError("holds no weights by name")
    if foreign:
        _log.info("passed over beside the weights, being no tensors: %s", ", ".join(foreign[:8]))
    return renamed(plain)


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights under today's names."""
    NETWORKS.names()  # imports every family, and with it its names of the past
    rename = next((r.rename for r in RENAMINGS if r.applies(weights)), None)
    return rename(weights) if rename else weights


def _sound(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    for name, tensor in weights.items():
        if wrong := _kind_that_is_refused(tensor):
            raise ConfigError(f"{one_line(name)} {wrong}")
    if wrong := {name: count for name, t in weights.items() if (count := _not_finite(name, t))}:
        name, count = next(iter(wrong.items()))
        more = f", and so do {counted(len(wrong) - 1, 'more tensor')}" if len(wrong) > 1 else ""
        size = weights[name].numel()
        raise ConfigError(f"{one_line(name)} holds values that are not finite ({count} of {size}){more}")
    return weights


def _kind_that_is_refused(tensor: Tensor) -> str | None:
    if tensor.is_meta:
        return "has no values (a meta tensor)"
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested:
        return "is a sparse, nested or quantised tensor; save it dense"
    if tensor.is_complex():
        return "holds complex numbers, which no network here has"
    if math.prod(tensor.shape) * tensor.element_size() > max(tensor.untyped_storage().nbytes(), 1 << 20):
        return "claims more values than the file holds"
    return None


def _not_finite(name: str, tensor: Tensor) -> int:
    """How many values are NaN or infinite; masks of attention may be infinite."""
    if not tensor.is_floating_point() or not tensor.numel():
        return 0
    values = tensor if tensor.element_size() > 1 else tensor.float()
    wrong = values.isnan() if "mask" in name else ~values.isfinite()
    return int(wrong.sum())
