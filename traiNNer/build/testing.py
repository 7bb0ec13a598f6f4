"""A test run (`test.py`): upscale the images of every test set, score them, write images and scores.

The options are those of a training; `train` and `datasets.train` may be there and are not read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from traiNNer.archs import NetworkFacts
from traiNNer.archs.download import local_file
from traiNNer.archs.loading import load_with_metadata
from traiNNer.build.check import check_test_parts
from traiNNer.build.data import open_test_sets
from traiNNer.build.model import build_precision
from traiNNer.build.networks import build_generator
from traiNNer.build.recognised_network import with_recognised_network
from traiNNer.build.run import build_validator
from traiNNer.build.written_names import ImageFile, result_file
from traiNNer.data.images.image_io import write_image
from traiNNer.events import ValidationEvent
from traiNNer.inference.images import Shown
from traiNNer.inference.network import EvalNetwork
from traiNNer.models.precision import Precision
from traiNNer.options import Options, load_options
from traiNNer.registry import ConfigError
from traiNNer.runtime.console import start_logging
from traiNNer.runtime.device import choose_device, configure_torch
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.runtime.run_dir import atomic_write
from traiNNer.tracking.jsonl import strict_json
from traiNNer.tracking.left_out import left_out_lines
from traiNNer.tracking.tables import score_table

_log = logging.getLogger(__name__)


def read_and_run_test(path: str | Path, overrides: Sequence[str]) -> ValidationEvent:
    """Read the options of a test, then `run_test`.

    Raises:
        ConfigError: With every mistake in the file, and for weights or data that cannot be used.
    """
    options = load_options(path, overrides, check=check_test_parts)
    return run_test(options.with_derived({"val.val_enabled": True}))


def run_test(options: Options) -> ValidationEvent:
    """Score every test set and write `<results_root>/<name>`.

    Raises:
        ConfigError: For weights or data that cannot be used.
    """
    start_logging(None, quiet=False)
    for note in options.notes:
        _log.log(note.level, "%s", note.text)
    options = with_recognised_network(options)
    if _wants_images(options):
        options = options.with_derived({"val.save_img": True})
    processes, device = DistributedContext(), choose_device(options.num_gpu, 0)
    configure_torch(
        device,
        deterministic=options.deterministic,
        fast_matmul=options.fast_matmul,
        detect_anomaly=options.detect_anomaly,
    )
    precision = build_precision(options, device)
    network = build_eval_network(options, precision)
    validator = build_validator(options, open_test_sets(options, processes), precision, processes)
    if validator is None:
        raise ConfigError("nothing to do: there is no metric to measure, and val.save_img is false")
    folder, file = Path(options.path.results_root) / options.name, result_file(options)
    _make_room(folder, options.path.pretrain_network_g)
    console = Console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("measuring")
        event = validator.run(
            network,
            step=0,
            position=0,
            lr_exhausted=False,
            show=(lambda shown: _write(shown, file)) if options.val.save_img else None,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    with atomic_write(folder / "metrics.json") as partial:
        partial.write_text(strict_json(scores_by_image(event), indent=2), encoding="utf-8")
    for line in left_out_lines(event):
        _log.warning("%s", line)
    _log.info("Scores and images are in %s", folder)
    if validator.metrics:
        console.print(score_table(event))
    return event


def build_eval_network(options: Options, precision: Precision) -> EvalNetwork:
    """The network of `network_g`, or the one that the file of weights belongs to.

    Raises:
        ConfigError: Without weights, and for weights that do not fit the network or the scale.
    """
    path = options.path.pretrain_network_g
    if path is None:
        raise ConfigError(
            "path.pretrain_network_g: is required: the weights to measure (.safetensors or .pth)"
        )
    try:
        key = options.path.param_key_g
        named = options.network_g is not None
        net = build_generator(options, precision) if named else load_with_metadata(path, key=key).net
    except ConfigError as error:
        raise ConfigError([f"path.pretrain_network_g: {line}" for line in error.problems]) from None
    facts: NetworkFacts = net.facts  # type: ignore[assignment]  # every registered network has it
    if facts.scale != options.scale:
        raise ConfigError(f"scale: should be {facts.scale}, the scale of {path} (got {options.scale})")
    if precision.channels_last:
        net = net.to(memory_format=torch.channels_last)
    return EvalNetwork(net.to(precision.device).eval(), facts)


def _make_room(folder: Path, weights: str | None) -> None:
    """Rename the results of another model out of the way, as BasicSR does; the same model's are written anew."""
    about = {
        "file": str(weights),
        "sha256": hashlib.sha256(local_file(weights or "").read_bytes()).hexdigest(),
    }
    note = folder / "model.json"
    if (folder / "metrics.json").is_file():
        before = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
        if before.get("sha256") != about["sha256"]:
            kept = folder.with_name(f"{folder.name}_archived_{time.strftime('%Y%m%d_%H%M%S')}")
            folder.rename(kept)
            _log.info("%s held the results of another model, which are now in %s", folder, kept)
    with atomic_write(note) as partial:
        partial.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def without_score(event: ValidationEvent) -> list[str]:
    """Images without a score in sets where outputs are not finite, one line each."""
    return [
        f"{name}/{image}: {label} is not a number: the output is not finite"
        for name, scores in event.sets.items()
        for label, values in scores.metrics.items()
        for image, value in zip(scores.images, values, strict=True)
        if not (scores.outputs_finite or math.isfinite(value))
    ]


def scores_by_image(event: ValidationEvent) -> dict[str, Any]:
    """`{set: {"mean": {metric: score}, "images": {image: {metric: score}}}}`."""
    return {
        name: {
            "mean": scores.means,
            "images": {
                image: {label: values[index] for label, values in scores.metrics.items()}
                for index, image in enumerate(scores.images)
            },
        }
        for name, scores in event.sets.items()
    }


def _wants_images(options: Options) -> bool:
    """Images are what most tests are made for: written unless the options say `save_img: false`."""
    return options.val.save_img or options.origin(("val", "save_img")) == "default"


def _write(shown: Shown, file: ImageFile) -> None:
    path = file(shown.set_name, shown.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, shown.output)
