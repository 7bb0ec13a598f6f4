"""What is told about a released model, and the page in Markdown that tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from traiNNer.archs import NetworkFacts
from traiNNer.models.colour import IN_WORDS, Color
from traiNNer.release.onnx import OPSET, Comparison, taken_sizes

OF_NCNN = (".param", ".bin")
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
    takes: str = ""
    """What an ONNX file takes."""


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
    color: Color = "rgb"
    """What it sees of images."""
    authors: Sequence[str] = ()
    license: str = ""
    """SPDX expression, such as CC-BY-4.0."""
    dataset: str = ""
    description: str = ""
    tags: Sequence[str] = ()
    pretrained: str = ""
    """OpenModelDB's ID of the model that training began with."""
    iterations: int = 0
    training: Mapping[str, Any] = field(default_factory=dict)
    """What else OpenModelDB asks of a training, under its names."""
    url: str = ""
    """Where the files will be, without their names; empty: unknown."""
    files: Sequence[ReleasedFile] = field(default=())
    images: Sequence[tuple[str, str]] = ()
    """Files of an image and of what the model makes of it."""
    chainner: str = ""
    """Whether chaiNNer loads the weights: `loads`, or why not."""


def model_card(about: About, scores: Mapping[str, Mapping[str, float]], *, comparison: str) -> str:
    """The page: facts, scores, files and what was checked.

    Args:
        about: The model and its files.
        scores: Means by set and metric.
        comparison: Name of the picture that shows bicubic upscaling beside the model; empty: there is none.
    """
    facts = {
        "Scale": about.facts.scale,
        "Sees": "" if about.color == "rgb" else f"one channel: {IN_WORDS[about.color]}",
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
    of_ncnn = [file for file in about.files if file.name.endswith(OF_NCNN)]
    of_onnx = [file for file in about.files if file not in of_ncnn]
    parts += _compared(
        "ONNX",
        f"ONNX opset {OPSET}. Input `input`, output `output`: {IN_WORDS[about.color]}, 0 to 1, "
        f"{next((file.takes for file in of_onnx if file.takes), '')}. Compared in onnxruntime with the network in "
        "float32, on noise:",
        of_onnx,
    )
    parts += _compared(
        "ncnn",
        f"Input `data`, output `output`: ({_channels(about)}, 0 to 1, {taken_sizes(about.facts)}. Compared in "
        "ncnn, on the CPU, with the network in float32, on noise:",
        of_ncnn,
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _compared(title: str, words: str, files: Sequence[ReleasedFile]) -> list[str]:
    """A section on files that were compared with the network; nothing where there are none."""
    rows = [(f.name, str(c.shape), f"{c.difference:.1g}") for f in files for c in f.comparisons]
    return [f"## {title}", words, _table(("file", "input", "largest difference"), rows)] if rows else []


def _channels(about: About) -> str:
    return f"{about.facts.channels}, h, w), {IN_WORDS[about.color]}"


def _file_row(file: ReleasedFile) -> tuple[str, ...]:
    return f"`{file.name}`", file.precision, f"{file.bytes:,}", f"`{file.sha256}`"


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _table(titles: Sequence[str], rows: Any, *, skip_empty: bool = False) -> str:
    lines = [tuple(map(str, row)) for row in rows]
    lines = [line for line in lines if line[1] or not skip_empty]
    return "\n".join(f"| {' | '.join(line)} |" for line in (titles, ("---",) * len(titles), *lines))
