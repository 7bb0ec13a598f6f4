"""A trained generator out of its file, for the scripts that use it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from traiNNer.archs import NetworkFacts
from traiNNer.archs.loading import load_with_metadata
from traiNNer.registry import ConfigError


class Trained(NamedTuple):
    """A generator of RGB images with its weights, in evaluation mode."""

    net: nn.Module
    facts: NetworkFacts
    type: str
    """Its name in the registry."""
    options: dict[str, Any]
    """The arguments that build it again."""
    metadata: dict[str, str]
    """What its file says about itself."""


def load_trained(path: Path, overrides: Mapping[str, Any], *, key: str | None = None) -> Trained:
    """The generator of a file; overrides are options of the network that the file does not tell.

    `key`: see `read_weights`.

    Raises:
        ConfigError: For a file that cannot be used, and for networks that are no generators of RGB images.
    """
    loaded = load_with_metadata(path, key=key, **overrides)
    facts: NetworkFacts = loaded.net.facts  # type: ignore[assignment]  # every registered network has both
    options: dict[str, Any] = loaded.net.options  # type: ignore[assignment]
    if facts.kind != "generator":
        raise ConfigError(f"{path}: {loaded.type} is a discriminator, which makes no images")
    other = [key for key in ("num_in_ch", "num_out_ch", "in_ch", "out_ch") if options.get(key, 3) != 3]
    if other:
        raise ConfigError(f"{path}: is not a network of RGB images ({other[0]}: {options[other[0]]})")
    return Trained(loaded.net, facts, loaded.type, options, loaded.metadata)
