"""What `scripts/export.py` does: from trained weights to a folder that can be published.

Weights keep the names of the plain network, which other programs know; folding (`archs.fuse`), after which only
this program could read them, happens inside the ONNX files alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch

from traiNNer.data.image_io import ImageError, Pixels, read_image, write_image
from traiNNer.data.resize import imresize
from traiNNer.engine.checkpoint import write_weights
from traiNNer.engine.launch import say_mistakes
from traiNNer.engine.model_card import (
    About,
    ReleasedFile,
    bare_name,
    check_license,
    model_card,
    model_id,
    open_model_db_entry,
    still_to_say,
)
from traiNNer.engine.onnx_export import compare_onnx, export_onnx, require_onnx
from traiNNer.engine.run_folder import written_beside
from traiNNer.engine.trained import Trained, load_trained
from traiNNer.engine.upscale import Enlarger
from traiNNer.registry import ConfigError

_SHOWN = 192  # LQ pixels of a comparison, from the middle of each image


class Bundle(NamedTuple):
    """What was made."""

    folder: Path
    files: list[ReleasedFile]
    problems: list[str]
    """Files that could not be published as they are, with the reason; they are not in the folder."""
    missing: list[str]
    """What OpenModelDB still wants to know."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Export the model of the command line; returns the exit status.

    0: done. 1: a file is not as the network is, and was left out. 2: a mistake on the command line, in words.
    """
    args = _parser().parse_intermixed_args(arguments)
    try:
        bundle = make_bundle(args)
    except (ConfigError, ImageError) as error:
        return say_mistakes(error if isinstance(error, ConfigError) else ConfigError(str(error)))
    out = sys.stdout.write
    out(f"{bundle.folder}:\n")
    for file in bundle.files:
        out(f"  {file.name}  {file.bytes:,} bytes  sha256 {file.sha256[:16]}...\n")
        for comparison in file.comparisons:
            out(f"    {comparison.shape}: differs from the network by {comparison.difference:.1g}\n")
    out(f"for OpenModelDB, still to be said in its entry: {', '.join(bundle.missing)}\n")
    for problem in bundle.problems:
        sys.stderr.write(f"failed: {problem}\n")
    return 1 if bundle.problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Make a trained network ready to be published.")
    parser.add_argument("model", type=Path, help=".safetensors or .pth; which network it is, is found out")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="options of the network")
    parser.add_argument("--onnx", action="store_true", help="ONNX too, compared with the network")
    parser.add_argument("--fp16", action="store_true", help="each file in half precision too")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="release/<id> by default")
    parser.add_argument("--name", help="of the model; what the file says, or its name")
    parser.add_argument("--author", action="append", metavar="NAME", help="may be repeated")
    parser.add_argument("--license", metavar="SPDX", help="such as CC-BY-4.0")
    parser.add_argument("--dataset", metavar="TEXT", help="what it was trained on")
    parser.add_argument("--description", default="", metavar="TEXT")
    parser.add_argument("--iterations", type=int, help="of the training; what the file says by default")
    parser.add_argument("--tags", default="", metavar="A,B", help="of OpenModelDB, such as photo,restoration")
    parser.add_argument("--pretrained", default="", metavar="ID", help="the model that training began with")
    parser.add_argument("--url", default="", metavar="FOLDER", help="where the files will be downloaded from")
    parser.add_argument("--metrics", type=Path, metavar="FILE", help="metrics.json of test.py, for the card")
    parser.add_argument(
        "--image", type=Path, action="append", default=[], metavar="FILE", help="LQ, for the card"
    )
    return parser


def make_bundle(args: argparse.Namespace) -> Bundle:
    """Write the weights, ONNX files, card and entry into a folder.

    Raises:
        ConfigError: For what cannot be used of the command line; nothing is written then.
        ImageError: For an image that cannot be read.
    """
    check_license(args.license or "")
    if args.onnx:
        require_onnx()
    trained = load_trained(args.model, args.overrides)
    about = _about(trained, args)
    scores = read_scores(args.metrics) if args.metrics else {}
    images = [read_image(path) for path in args.image]
    name = model_id(about.name, about.facts.scale)
    folder = args.output or Path("release") / name
    made = _Files(folder, trained, _metadata(trained, about))
    for dtype in (torch.float32, torch.float16) if args.fp16 else (torch.float32,):
        made.weights(name, dtype)
        if args.onnx:
            made.onnx(name, dtype)
    about = replace(about, files=made.files)
    if images:
        write_image(folder / "comparison.png", comparison(trained, images))
    card = model_card(about, scores, comparison="comparison.png" if images else "")
    _write(folder / "README.md", card)
    entry = open_model_db_entry(about)
    _write(folder / f"{name}.json", json.dumps(entry, indent=4) + "\n")
    return Bundle(folder, made.files, made.problems, still_to_say(entry))


class _Files:
    """The files of weights as they are made.

    Args:
        folder: Where.
        trained: What is published.
        metadata: What the files say about themselves.
    """

    def __init__(self, folder: Path, trained: Trained, metadata: Mapping[str, str]) -> None:
        self._folder, self._trained, self._metadata = folder, trained, metadata
        self.files: list[ReleasedFile] = []
        self.problems: list[str] = []

    def weights(self, name: str, dtype: torch.dtype) -> None:
        """A safetensors file with the names of the plain network."""
        path = self._folder / f"{name}{_mark(dtype)}.safetensors"
        tensors = {
            key: value.to(dtype) if value.is_floating_point() else value
            for key, value in self._trained.net.state_dict().items()
        }
        wrong = [key for key, value in tensors.items() if not bool(torch.isfinite(value).all())]
        if wrong:
            self._leave_out(path, [f"{len(wrong)} tensors are not finite, the first: {wrong[0]}"])
            return
        write_weights(path, tensors, self._metadata)
        self.files.append(_described(path, dtype))

    def onnx(self, name: str, dtype: torch.dtype) -> None:
        """An ONNX file, which is compared with the network."""
        path = self._folder / f"{name}{_mark(dtype)}.onnx"
        net, facts = self._trained.net, self._trained.facts
        export_onnx(net, facts, path, dtype=dtype, metadata=self._metadata)
        comparisons, problems = compare_onnx(path, net, facts, dtype=dtype)
        if problems:
            self._leave_out(path, problems)
        else:
            self.files.append(replace(_described(path, dtype), comparisons=comparisons))

    def _leave_out(self, path: Path, problems: Sequence[str]) -> None:
        path.unlink(missing_ok=True)
        self.problems += [f"{path}: {problem}; left out" for problem in problems]


def read_scores(path: Path) -> dict[str, dict[str, float]]:
    """The means of each set out of the `metrics.json` of a test.

    Raises:
        ConfigError: For another file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: dict(scores["mean"]) for name, scores in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(f"--metrics {path}: should be a metrics.json as test.py writes it") from None


def comparison(trained: Trained, images: Sequence[Pixels]) -> Pixels:
    """The middle of each LQ image, one below the other: bicubic at the left, the network at the right."""
    enlarger = Enlarger(trained.net, trained.facts, device=torch.device("cpu"))
    pairs = [
        np.concatenate(
            [_eight_bit(enlarge(_middle(image))) for enlarge in (_bicubic(trained), enlarger.pixels)], axis=1
        )
        for image in images
    ]
    width = max(pair.shape[1] for pair in pairs)
    padded = [np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in pairs]
    return cast("Pixels", np.concatenate(padded))


def _bicubic(trained: Trained) -> Callable[[Pixels], Pixels]:
    return lambda image: imresize(image, trained.facts.scale)


def _middle(image: Pixels) -> Pixels:
    top, left = (max(0, (size - _SHOWN) // 2) for size in image.shape[:2])
    return cast("Pixels", np.ascontiguousarray(image[top : top + _SHOWN, left : left + _SHOWN]))


def _eight_bit(image: Pixels) -> Pixels:
    return cast("Pixels", (image / 257).round().astype(np.uint8)) if image.dtype == np.uint16 else image


def _about(trained: Trained, args: argparse.Namespace) -> About:
    """What the command line says, else what the file says."""
    said, scale = trained.metadata, trained.facts.scale
    iterations = said.get("iteration", "")
    authors = args.author or ([said["author"]] if said.get("author") else [])
    return About(
        name=bare_name(args.name or said.get("name") or args.model.stem, scale),
        facts=trained.facts,
        architecture=trained.type,
        options=trained.options,
        parameters=sum(p.numel() for p in trained.net.parameters()),
        authors=authors,
        license=args.license or said.get("license", ""),
        dataset=args.dataset or said.get("dataset", ""),
        description=args.description,
        tags=[tag for tag in args.tags.split(",") if tag.strip()],
        pretrained=args.pretrained,
        iterations=args.iterations or (int(iterations) if iterations.isdecimal() else 0),
        url=args.url,
    )


def _metadata(trained: Trained, about: About) -> dict[str, str]:
    """What the files of weights say: enough for `load_network` to build the network, and who made it from what."""

    def known() -> Iterator[tuple[str, str]]:
        yield "architecture", about.architecture
        yield "options", json.dumps(about.options)
        yield "scale", str(about.facts.scale)
        yield "name", about.name
        yield "author", ", ".join(about.authors)
        yield "license", about.license
        yield "dataset", about.dataset
        yield "iteration", str(about.iterations or "")

    return {**trained.metadata, **{key: value for key, value in known() if value}}


def _mark(dtype: torch.dtype) -> str:
    return "_fp16" if dtype == torch.float16 else ""


def _described(path: Path, dtype: torch.dtype) -> ReleasedFile:
    data = path.read_bytes()
    return ReleasedFile(
        path.name, len(data), hashlib.sha256(data).hexdigest(), str(dtype).removeprefix("torch.")
    )


def _write(path: Path, text: str) -> None:
    with written_beside(path) as partial:
        partial.write_text(text, encoding="utf-8")
