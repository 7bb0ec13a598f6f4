"""Options of a network given on the command line as `key=value`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from traiNNer.options.yaml_source import read_value
from traiNNer.registry import ConfigError

COLOR_HELP = "what a network of one channel sees; as its file says, else y (luma, 16 to 235 of 255)"
"""Help of the option `--color`."""


def network_overrides(texts: Sequence[str]) -> dict[str, Any]:
    """The values of `key=value`, read as YAML reads them.

    Raises:
        ConfigError: For every text that is not of that form.
    """
    wrong = [text for text in texts if not text.partition("=")[2]]
    if wrong:
        raise ConfigError([f"{text}: should be key=value, an option of the network" for text in wrong])
    pairs = (text.partition("=") for text in texts)
    return {key: read_value(value) for key, _, value in pairs}
