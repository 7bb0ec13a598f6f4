"""From trained weights to a folder that can be published.

Weights keep the names of the plain network, which other programs know; folding (`archs.fuse`), after which only
this program could read them, happens inside the ONNX files alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from traiNNer.data.images.image_io import read_image
from traiNNer.inference.load import Trained, load_trained
from traiNNer.registry import ConfigError
from traiNNer.release.chainner import chainner_verdict
from traiNNer.release.entry_form import still_to_say
from traiNNer.release.model_card import About, ReleasedFile, model_card
from traiNNer.release.ncnn import NotForNcnn, compare_ncnn, export_ncnn, require_ncnn
from traiNNer.release.onnx import NotForOnnx, Size, compare_onnx, export_onnx, require_onnx, taken_input
from traiNNer.release.open_model_db import bare_name, check_words, model_id, open_model_db_entry
from traiNNer.release.samples import COMPARISON, samples, write_samples, written_samples
from traiNNer.release.weights import write_weights
from traiNNer.runtime.run_dir import atomic_write
from traiNNer.wording import counted


class Bundle(NamedTuple):
    """What was made."""

    folder: Path
    files: list[ReleasedFile]
    problems: list[str]
    """Files that could not be published as they are, with the reason; they are not in the folder."""
    missing: list[str]
    """What OpenModelDB still wants to know."""
    chainner: str
    """Whether chaiNNer loads the weights: `loads`, or why not."""


def make_bundle(args: argparse.Namespace, say: Callable[[str], None]) -> Bundle:
    """Write the weights, ONNX files, card and entry into a folder; `say` gets what takes a while.

    Raises:
        ConfigError: For what cannot be used of the command line.
        ImageError: For an image that cannot be read.
        OSError: If the folder cannot be written. Whatever is raised, it is left as it was.
    """
    if args.output:
        _refuse_place(args.output)
    if args.onnx or args.onnx_size:
        require_onnx()
    if args.ncnn:
        require_ncnn()
    trained = load_trained(args.model, args.network_options, key=args.key, color=args.color)
    about = _about(trained, args)
    check_words(about)
    scores = read_scores(args.metrics) if args.metrics else {}
    images = [read_image(path) for path in args.image]
    name = model_id(about.name, about.facts.scale)
    folder = args.output or Path("release") / name
    # inside a folder that exists: it may be where a disk is mounted, and files only move within a disk
    stage = (folder if folder.is_dir() else folder.parent) / f".{name}.{os.getpid()}.partial"
    try:
        made = _Files(stage, trained, _metadata(trained, about))
        for dtype in (torch.float32, torch.float16) if args.fp16 else (torch.float32,):
            made.weights(name, dtype)
            if args.onnx or args.onnx_size:
                say(f"{name}{_mark(dtype)}.onnx: being written and compared")
                made.onnx(name, dtype, args.onnx_size)
            if args.ncnn:
                made.ncnn(name, dtype)
        pairs = write_samples(stage, name, samples(trained, images))
        about = replace(about, files=made.files, images=pairs, chainner=made.chainner)
        card = model_card(about, scores, comparison=COMPARISON if images else "")
        _write(stage / "README.md", card)
        entry = open_model_db_entry(about)
        _write(stage / f"{name}.json", json.dumps(entry, indent=4) + "\n")
        _publish(stage, folder)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    problems = [f"{folder / file}: {problem}; left out" for file, problem in made.problems]
    return Bundle(folder, made.files, problems, still_to_say(entry), made.chainner)


def _publish(stage: Path, folder: Path) -> None:
    """Move a finished release to its place, instead of what an earlier one left there."""
    folder.mkdir(parents=True, exist_ok=True)
    earlier = _earlier_release(folder)
    new = sorted(stage.iterdir())
    for path in new:
        path.replace(folder / path.name)
    for path in earlier:
        if path.name not in {made.name for made in new}:
            path.unlink()


def _refuse_place(folder: Path) -> None:
    """Raise ConfigError for a file, and for a folder whose README is no page of a model, as of a repository."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--output {folder}: is a file; it should be a folder")
    if (folder / "README.md").is_file() and not _earlier_release(folder):
        raise ConfigError(f"--output {folder}: holds a README.md that is of no export; choose another folder")


def _earlier_release(folder: Path) -> list[Path]:
    """The files that an earlier export lists and nobody has changed since; what else is there is the user's."""
    found: list[Path] = []
    for entry in folder.glob("*.json"):
        try:
            resources = json.loads(entry.read_text(encoding="utf-8"))["resources"]
            listed = {str(resource["sha256"]) for resource in resources}
        except (ValueError, KeyError, TypeError):
            continue
        weights = [path for kind in ("*.safetensors", "*.onnx") for path in folder.glob(kind)]
        found += [entry, *(path for path in weights if _sha256(path) in listed)]
        found += written_samples(folder, entry.stem)
    return found


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
        self.problems: list[tuple[str, str]] = []
        self.chainner = "was not asked, because there is no file of weights"

    def weights(self, name: str, dtype: torch.dtype) -> None:
        """A safetensors file with the names of the plain network."""
        path = self._folder / f"{name}{_mark(dtype)}.safetensors"
        tensors = {
            key: value.to(dtype) if value.is_floating_point() else value
            for key, value in self._trained.net.state_dict().items()
        }
        wrong = [key for key, value in tensors.items() if not bool(torch.isfinite(value).all())]
        if wrong:
            tensors_are = counted(len(wrong), "tensor is", "tensors are")
            self._leave_out(path, [f"{tensors_are} not finite, the first: {wrong[0]}"])
            return
        write_weights(path, tensors, self._metadata)
        self.files.append(_described(path, dtype))
        if dtype == torch.float32:
            self.chainner = chainner_verdict(path, self._trained.type, self._trained.net, self._trained.facts)

    def onnx(self, name: str, dtype: torch.dtype, size: Size | None) -> None:
        """An ONNX file, for images of one size alone where that is given, which is compared with the network."""
        of_size = f"_{size[0]}x{size[1]}" if size else ""
        path = self._folder / f"{name}{of_size}{_mark(dtype)}.onnx"
        net, facts = self._trained.net, self._trained.facts
        try:
            export_onnx(net, facts, path, dtype=dtype, metadata=self._metadata, size=size)
        except NotForOnnx as error:
            self._leave_out(path, [str(error)])
            return
        comparisons, problems = compare_onnx(path, net, facts, dtype=dtype, size=size)
        if problems:
            self._leave_out(path, problems)
        else:
            takes = taken_input(facts, size)
            self.files.append(replace(_described(path, dtype), comparisons=comparisons, takes=takes))

    def ncnn(self, name: str, dtype: torch.dtype) -> None:
        """Two files for ncnn, which are compared with the network."""
        path = self._folder / f"{name}{_mark(dtype)}.param"
        net, facts = self._trained.net, self._trained.facts
        try:
            export_ncnn(net, facts, path, dtype=dtype)
        except NotForNcnn as error:
            self._leave_out(path, [str(error)])
            return
        comparisons, problems = compare_ncnn(path, net, facts, dtype=dtype)
        if problems:
            path.with_suffix(".bin").unlink()
            self._leave_out(path, problems)
        else:
            self.files.append(replace(_described(path, dtype), comparisons=comparisons))
            self.files.append(_described(path.with_suffix(".bin"), dtype))

    def _leave_out(self, path: Path, problems: Sequence[str]) -> None:
        path.unlink(missing_ok=True)
        self.problems += [(path.name, problem) for problem in problems]


def read_scores(path: Path) -> dict[str, dict[str, float]]:
    """The means of each set out of the `metrics.json` of a test.

    Raises:
        ConfigError: For another file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        means = {name: scores["mean"].items() for name, scores in content.items()}
        # text stands for a mean that is not finite
        return {name: {m: v for m, v in of if not isinstance(v, str)} for name, of in means.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ConfigError(f"--metrics {path}: should be a metrics.json as test.py writes it") from None


def _about(trained: Trained, args: argparse.Namespace) -> About:
    """What the command line says, else what the file says."""
    said, scale = trained.metadata, trained.facts.scale
    iterations = said.get("iteration", "")
    authors = args.author or ([said["author"]] if said.get("author") else [])
    return About(
        name=bare_name(args.name or said.get("name") or args.model.stem, scale),
        facts=trained.facts,
        color=trained.color,
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
        training=args.training,
        url=args.url,
    )


def _metadata(trained: Trained, about: About) -> dict[str, str]:
    """What the files of weights say: enough for `load_network` to build the network, and who made it from what."""

    def known() -> Iterator[tuple[str, str]]:
        yield "architecture", about.architecture
        yield "options", json.dumps(about.options)
        yield "scale", str(about.facts.scale)
        yield "color", "" if about.color == "rgb" else about.color
        yield "name", about.name
        yield "author", ", ".join(about.authors)
        yield "license", about.license
        yield "dataset", about.dataset
        yield "iteration", str(about.iterations or "")

    return {**trained.metadata, **{key: value for key, value in known() if value}}


def _mark(dtype: torch.dtype) -> str:
    return "_fp16" if dtype == torch.float16 else ""


def _described(path: Path, dtype: torch.dtype) -> ReleasedFile:
    return ReleasedFile(path.name, path.stat().st_size, _sha256(path), str(dtype).removeprefix("torch."))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")
