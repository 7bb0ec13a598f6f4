"""The entry that OpenModelDB asks for, made of what is known about a model."""

from __future__ import annotations

import datetime
import re
import unicodedata
from typing import Any
from urllib.parse import quote

from traiNNer.registry import ConfigError
from traiNNer.release.entry_form import field_problems
from traiNNer.release.model_card import OF_NCNN, About, ReleasedFile

_ARCHITECTURE_OF = {
    "ultracompact": "compact",
    "superultracompact": "compact",
    "realcugan": "real-cugan",
    "swiftsrgan": "swift-srgan",
}
"""Our families that OpenModelDB names otherwise."""

_SIZE_LETTERS = {
    "num_feat": "nf",
    "feature_channels": "nf",
    "dim": "nf",
    "num_groups": "ng",
    "num_block": "nb",
    "num_blocks": "nb",
    "n_block": "nb",
    "n_blocks": "nb",
    "num_conv": "nc",
}
"""How OpenModelDB writes the size of a network: options and what stands behind their number."""


_OPTION_OF = {
    "license": "--license",
    "tags": "--tags",
    "author": "--author",
    "pretrainedModelG": "--pretrained",
    "trainingIterations": "--iterations",
}


def check_words(about: About) -> None:
    """Raise ConfigError for what the command line says of a model and the database would refuse."""
    entry = open_model_db_entry(about)
    found = []
    for problem in field_problems(entry):
        field = str(problem.path[0])
        if field in _OPTION_OF and entry.get(field):
            found.append(f"{_OPTION_OF[field]}: {problem.message}")
    if about.url and not re.match(r"https?://", about.url):
        found.append(f"--url: should begin with https:// (got {about.url!r})")
    if found:
        raise ConfigError(found)


def open_model_db_entry(about: About) -> dict[str, Any]:
    """The content of `data/models/<id>.json`."""
    sizes = [
        f"{about.options[key]}{letters}" for key, letters in _SIZE_LETTERS.items() if key in about.options
    ]
    optional = {
        "trainingIterations": about.iterations,
        "dataset": about.dataset,
        "pretrainedModelG": about.pretrained,
    }
    authors = [name for name in map(_dashed, about.authors) if name]
    files = [file for file in about.files if not file.name.endswith(OF_NCNN)]
    return {
        "name": about.name,
        "author": authors[0] if len(authors) == 1 else authors,
        "license": about.license or None,
        "tags": [_dashed(tag) for tag in about.tags],
        "description": about.description.strip(),
        "date": datetime.date.today().isoformat(),
        "architecture": _architecture(about),
        "size": sizes or None,
        "scale": about.facts.scale,
        "inputChannels": about.facts.channels,
        "outputChannels": about.facts.channels,
        "resources": [_resource(file, about.url) for file in files],
        **{key: value for key, value in optional.items() if value},
        **about.training,
        "images": [
            {"type": "paired", "LR": _address(about.url, lq), "SR": _address(about.url, sr)}
            for lq, sr in about.images
            if about.url
        ],
    }


def bare_name(name: str, scale: int) -> str:
    """A name without the scale at its begin or end: `2x_Nano` and `Nano_x2` are `Nano`."""
    name = re.sub(rf"^(?:{scale}x|x{scale})(?![0-9])[-_ ]*", "", name.strip(), flags=re.IGNORECASE)
    return re.sub(rf"[-_ ]+(?:{scale}x|x{scale})$", "", name, flags=re.IGNORECASE)


def model_id(name: str, scale: int) -> str:
    """OpenModelDB's ID: `<scale>x-` and letters of English, digits and single dashes.

    Raises:
        ConfigError: If nothing remains of the name.
    """
    words = re.sub(r"[^a-zA-Z0-9]+", "-", _plain(bare_name(name, scale))).strip("-")
    if not words:
        raise ConfigError(f"--name {name!r}: should have letters from a to z, or digits, besides the scale")
    return f"{scale}x-{words}"


def _architecture(about: About) -> str:
    family = about.architecture.partition("_")[0]
    if family == "realplksr" and about.options.get("upsampler") == "dysample":
        return "realplksr-dysample"
    return _ARCHITECTURE_OF.get(family, family)


def _plain(text: str) -> str:
    """Letters without their accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def _dashed(text: str) -> str:
    """As OpenModelDB writes users and tags: lower case, digits and single dashes."""
    return re.sub(r"[^a-z0-9]+", "-", _plain(text).lower()).strip("-")


def _resource(file: ReleasedFile, url: str) -> dict[str, Any]:
    kind = file.name.rpartition(".")[2]
    return {
        "platform": "onnx" if kind == "onnx" else "pytorch",
        "type": kind,
        "size": file.bytes,
        "sha256": file.sha256,
        "urls": [_address(url, file.name)] if url else [],
    }


def _address(url: str, file: str) -> str:
    return f"{url.rstrip('/')}/{quote(file)}"
