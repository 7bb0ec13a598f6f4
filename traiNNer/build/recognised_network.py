"""`network_g: {type: auto}`: the file of pretrained weights says which network is trained."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from traiNNer.archs.loading import Described, describe_file
from traiNNer.options import Options
from traiNNer.registry import normalise

_log = logging.getLogger(__name__)


def is_auto(spec: Mapping[str, Any] | None) -> bool:
    """Whether a network is to be found out from its file."""
    return normalise(str((spec or {}).get("type", ""))) == "auto"


def recognised(file: str, key: str | None, spec: Mapping[str, Any], scale: int) -> Described:
    """The network of a file at the scale of the run; options of `spec` win over what the file says.

    Raises:
        ConfigError: For a file of no known network.
    """
    own = {name: value for name, value in spec.items() if name != "type"}
    return describe_file(file, key, **{**own, "scale": scale})


def with_recognised_network(options: Options) -> Options:
    """The options with the network of the file in the place of `auto`, which the log says in a line.

    For another scale than that of the file, what fits is loaded: the body, and not the upsampler.
    """
    file = options.path.pretrain_network_g
    if not is_auto(options.network_g) or file is None:
        return options
    assert options.network_g is not None
    found = recognised(file, options.path.param_key_g, options.network_g, options.scale)
    _log.info("network_g: auto: %s is %s", file, in_words(found))
    changes: dict[str, Any] = {"network_g": found.spec}
    if found.scale not in (None, options.scale):
        _log.info("It upscales by %d, this run by %d: what fits is taken over", found.scale, options.scale)
        changes["path.strict_load_g"] = False
    return options.with_derived(changes)


def in_words(found: Described) -> str:
    """Which network it is, and what was assumed of it."""
    kind = found.spec["type"]
    if not found.assumed:
        return kind
    told = ", ".join(f"{name}: {value}" for name, value in found.assumed.items())
    return f"{kind}; assumed, because a file does not tell it: {told} (options of the network say otherwise)"
