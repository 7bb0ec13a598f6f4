"""A trained generator out of its file, for the scripts that use it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from traiNNer.archs import NetworkFacts
from traiNNer.archs.loading import load_with_metadata
from traiNNer.models.colour import IN_WORDS, Color
from traiNNer.registry import ConfigError

_log = logging.getLogger(__name__)

_OUTPUTS = ("num_out_ch", "out_ch", "out_channels", "out_nc")
"""How networks call the channels of their output, where they have a name for it."""


class Trained(NamedTuple):
    """A generator with its weights, in evaluation mode."""

    net: nn.Module
    facts: NetworkFacts
    type: str
    """Its name in the registry."""
    options: dict[str, Any]
    """The arguments that build it again."""
    metadata: dict[str, str]
    """What its file says about itself."""
    color: Color
    """What it sees of images."""


def load_trained(
    path: Path, overrides: Mapping[str, Any], *, key: str | None = None, color: str | None = None
) -> Trained:
    """The generator of a file; overrides are options of the network that the file does not tell.

    Args:
        path: Of the file.
        overrides: By name.
        key: See `read_weights`.
        color: What a network of one channel sees, `y` or `grey`; by default as its file says, else `y`.

    Raises:
        ConfigError: For a file that cannot be used, for networks that are no generators or of other channels.
    """
    loaded = load_with_metadata(path, key=key, **overrides)
    facts: NetworkFacts = loaded.net.facts  # type: ignore[assignment]  # every registered network has both
    options: dict[str, Any] = loaded.net.options  # type: ignore[assignment]
    if facts.kind != "generator":
        raise ConfigError(f"{path}: {loaded.type} is a discriminator, which makes no images")
    made = next((options[key] for key in _OUTPUTS if key in options), facts.channels)
    if facts.channels not in (1, 3) or made != facts.channels:
        channels = f"{facts.channels} in, {made} out"
        raise ConfigError(f"{path}: is a network of neither RGB images nor those of one channel ({channels})")
    return Trained(
        loaded.net, facts, loaded.type, options, loaded.metadata, _color(path, facts, loaded.metadata, color)
    )


def _color(path: Path, facts: NetworkFacts, metadata: Mapping[str, str], said: str | None) -> Color:
    if facts.channels == 3:
        if said:
            raise ConfigError(f"--color {said}: is for networks of one channel, and {path} is of RGB images")
        return "rgb"
    match said or metadata.get("color"):
        case "y" | "grey" as known:
            color: Color = known
        case _:
            color = "y"
            _log.info("%s does not say what its one channel is: taken for luma (--color grey)", path)
    _log.info("one channel: %s; colours are enlarged by bicubic", IN_WORDS[color])
    return color
