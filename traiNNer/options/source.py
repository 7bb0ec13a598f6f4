"""A configuration from its file, YAML or TOML."""

from __future__ import annotations

from pathlib import Path

from traiNNer.options.document import Draft
from traiNNer.options.neosr import translate
from traiNNer.options.toml_source import read_toml
from traiNNer.options.yaml_source import read_yaml
from traiNNer.registry import ConfigError
from traiNNer.text_files import OtherEncoding, read_text


def is_toml(path: Path) -> bool:
    """Whether a file is read as TOML, by its name."""
    return path.suffix.lower() == ".toml"


def read_file(path: Path) -> Draft:
    """What a file says.

    Raises:
        ConfigError: For a file that cannot be read, and for what is neither YAML nor TOML.
    """
    try:
        text = read_text(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except OtherEncoding as error:
        raise ConfigError(f"{path}: {error}") from error
    toml = is_toml(path)
    document = read_toml(text, str(path)) if toml else read_yaml(text, str(path))
    draft = Draft(document.tree, document.marks)
    translate(draft, toml=toml)
    return draft
