"""What is told about a released model: a page in Markdown, and the entry that OpenModelDB asks for.

The entry follows `src/lib/schema.ts` and `src/lib/model-props.ts` of OpenModelDB/open-model-database.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from traiNNer.archs import NetworkFacts
from traiNNer.registry import ConfigError
from traiNNer.release.onnx import OPSET, Comparison

_SIZE_LETTERS = {
    "num_feat": "nf",
    "feature_channels": "nf",
    "dim": "nf",
    "num_groups": "ng",
    "num_block": "nb",
    "num_blocks": "nb",
    "n_blocks": "nb",
    "num_conv": "nc",
}
"""How OpenModelDB writes the size of a network: options and what stands behind their number."""


_OF_NCNN = (".param", ".bin")
"""Files that OpenModelDB has no type for."""


@dataclass(frozen=True)
class ReleasedFile:
    """One file of the bundle."""

    name: str
    bytes: int
    sha256: str
    precision: str
    """float32 or float16."""
    comparisons: Sequence[Comparison] = ()
    """Comparisons of an ONNX or ncnn file with the network."""


@dataclass(frozen=True)
class About:
    """What a person says about a model. Empty: unknown."""

    name: str
    """Without the scale."""
    facts: NetworkFacts
    architecture: str
    """A name of the registry."""
    options: Mapping[str, Any]
    parameters: int
    authors: Sequence[str] = ()
    license: str = ""
    """SPDX expression, such as CC-BY-4.0."""
    dataset: str = ""
    description: str = ""
    tags: Sequence[str] = ()
    pretrained: str = ""
    """OpenModelDB's ID of the model that training began with."""
    iterations: int = 0
    url: str = ""
    """Where the files will be, without their names."""
    files: Sequence[ReleasedFile] = field(default=())
    chainner: str = ""
    """Whether chaiNNer loads the weights: `loads`, or why not."""


def bare_name(name: str, scale: int) -> str:
    """A name without the scale at its begin or end: `2x_Nano` and `Nano_x2` are `Nano`."""
    name = re.sub(rf"^(?:{scale}x|x{scale})(?![0-9])[-_ ]*", "", name.strip(), flags=re.IGNORECASE)
    return re.sub(rf"[-_ ]+(?:{scale}x|x{scale})$", "", name, flags=re.IGNORECASE)


def model_id(name: str, scale: int) -> str:
    """OpenModelDB's ID: `<scale>x-` and letters, digits and single dashes.

    Raises:
        ConfigError: If nothing remains of the name.
    """
    words = re.sub(r"[^a-zA-Z0-9]+", "-", bare_name(name, scale)).strip("-")
    if not words:
        raise ConfigError(f"--name {name!r}: should have letters or digits besides the scale")
    return f"{scale}x-{words}"


def check_license(license: str) -> None:
    """Raise ConfigError if it cannot be an SPDX expression that OpenModelDB reads."""
    if license and not all(re.fullmatch(r"[a-zA-Z0-9.\-]+", part) for part in re.split(r"\s+OR\s+", license)):
        raise ConfigError(
            f"--license {license!r}: should be an SPDX identifier, such as CC-BY-4.0 or Apache-2.0"
        )


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
    authors = [_dashed(author) for author in about.authors]
    return {
        "name": about.name,
        "author": authors[0] if len(authors) == 1 else authors,
        "license": about.license or None,
        "tags": [_dashed(tag) for tag in about.tags],
        "description": about.description.strip(),
        "date": datetime.date.today().isoformat(),
        "architecture": about.architecture.partition("_")[0],
        "size": sizes or None,
        "scale": about.facts.scale,
        "inputChannels": 3,
        "outputChannels": 3,
        "resources": [_resource(f, about.url) for f in about.files if not f.name.endswith(_OF_NCNN)],
        **{key: value for key, value in optional.items() if value},
        "images": [],
    }


def still_to_say(entry: Mapping[str, Any]) -> list[str]:
    """What OpenModelDB wants to know and the entry does not say."""
    empty = [key for key in ("author", "license", "tags", "description") if not entry[key]]
    return [*empty, *(["resources.urls"] if not all(r["urls"] for r in entry["resources"]) else []), "images"]


def model_card(about: About, scores: Mapping[str, Mapping[str, float]], *, comparison: str) -> str:
    """The page: facts, scores, files and what was checked.

    Args:
        about: The model and its files.
        scores: Means by set and metric.
        comparison: Name of the picture that shows bicubic upscaling beside the model; empty: there is none.
    """
    facts = {
        "Scale": about.facts.scale,
        "Architecture": f"{about.architecture}, {about.parameters:,} parameters",
        "Author": ", ".join(about.authors),
        "License": about.license,
        "Trained on": about.dataset,
        "Iterations": f"{about.iterations:,}" if about.iterations else "",
        "Began with": about.pretrained,
    }
    parts = [
        f"# {about.facts.scale}x {about.name}",
        about.description.strip(),
        _table(("", ""), facts.items(), skip_empty=True),
    ]
    if scores:
        metrics = list(dict.fromkeys(metric for means in scores.values() for metric in means))
        rows = [(name, *(_score(means.get(metric)) for metric in metrics)) for name, means in scores.items()]
        parts += ["## Scores", _table(("set", *metrics), rows)]
    if comparison:
        parts += [
            "## Comparison",
            f"Left: bicubic. Right: this model.\n\n![Bicubic beside the model]({comparison})",
        ]
    parts += ["## Files", _table(("file", "precision", "bytes", "SHA-256"), map(_file_row, about.files))]
    parts += [f"chaiNNer {about.chainner}." if about.chainner else ""]
    of_ncnn = [file for file in about.files if file.name.endswith(_OF_NCNN)]
    of_onnx = [file for file in about.files if file not in of_ncnn]
    parts += _compared(
        "ONNX",
        f"ONNX opset {OPSET}. Input `input`, output `output`: (n, 3, h, w), RGB, 0 to 1, any batch, "
        f"{_sizes(about.facts)}. Compared in onnxruntime with the network in float32, on noise:",
        of_onnx,
    )
    parts += _compared(
        "ncnn",
        f"Input `data`, output `output`: (3, h, w), RGB, 0 to 1, {_sizes(about.facts)}. Compared in ncnn, on the "
        "CPU, with the network in float32, on noise:",
        of_ncnn,
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _compared(title: str, words: str, files: Sequence[ReleasedFile]) -> list[str]:
    """A section on files that were compared with the network; nothing where there are none."""
    rows = [(f.name, str(c.shape), f"{c.difference:.1g}") for f in files for c in f.comparisons]
    return [f"## {title}", words, _table(("file", "input", "largest difference"), rows)] if rows else []


def _sizes(facts: NetworkFacts) -> str:
    if facts.multiple_of == facts.min_size == 1:
        return "any size"
    return f"heights and widths of {facts.min_size} or more that are multiples of {facts.multiple_of}"


def _dashed(text: str) -> str:
    """As OpenModelDB writes users and tags: lower case, digits and single dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _resource(file: ReleasedFile, url: str) -> dict[str, Any]:
    kind = file.name.rpartition(".")[2]
    return {
        "platform": "onnx" if kind == "onnx" else "pytorch",
        "type": kind,
        "size": file.bytes,
        "sha256": file.sha256,
        "urls": [f"{url.rstrip('/')}/{file.name}"] if url else [],
    }


def _file_row(file: ReleasedFile) -> tuple[str, ...]:
    return f"`{file.name}`", file.precision, f"{file.bytes:,}", f"`{file.sha256}`"


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _table(titles: Sequence[str], rows: Any, *, skip_empty: bool = False) -> str:
    lines = [tuple(map(str, row)) for row in rows]
    lines = [line for line in lines if line[1] or not skip_empty]
    return "\n".join(f"| {' | '.join(line)} |" for line in (titles, ("---",) * len(titles), *lines))
