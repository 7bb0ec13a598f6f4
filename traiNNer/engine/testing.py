"""What `python test.py` does: enlarge the images of every test set, score them, write images and scores.

The options are those of a training; `train` and `datasets.train` may be there and are not read.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from traiNNer.archs import NetworkFacts, load_network
from traiNNer.control import ValidationEvent
from traiNNer.data.image_io import write_image
from traiNNer.engine.build import build_validator
from traiNNer.engine.build_model import arithmetic, build_generator
from traiNNer.engine.check import check_test_parts
from traiNNer.engine.device import choose_device, configure_torch
from traiNNer.engine.distributed import Processes
from traiNNer.engine.journal import finite
from traiNNer.engine.launch import say_mistakes
from traiNNer.engine.log import end_logging, start_logging
from traiNNer.engine.prepare_data import open_test_sets
from traiNNer.engine.run_folder import written_beside
from traiNNer.engine.score_table import score_table
from traiNNer.engine.validation_images import Shown
from traiNNer.models.arithmetic import Arithmetic
from traiNNer.models.inference import enhance
from traiNNer.options import Options, load_options
from traiNNer.registry import ConfigError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Release:
    """A network as others run it: no losses, no optimizer, full precision."""

    released: nn.Module
    """In evaluation mode."""
    facts: NetworkFacts

    @torch.inference_mode()
    def enhance(self, lq: Tensor, *, tile: int, overlap: int) -> Tensor:
        """(n, 3, h, w) to (n, 3, h * scale, w * scale), 0 to 1; see `models.inference.enhance`."""
        return enhance(self.released, self.facts, lq, tile=tile, overlap=overlap)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a network from command-line arguments; returns the exit status.

    0: done. 2: a mistake in the configuration or the data, said in words.
    """
    parser = argparse.ArgumentParser(prog="test.py", description="Measure a super-resolution network.")
    parser.add_argument("-opt", required=True, metavar="FILE", help="the YAML file that describes the test")
    parser.add_argument(
        "overrides", nargs="*", metavar="key.sub=value", help="options that win over the file"
    )
    args = parser.parse_args(arguments)
    try:
        options = load_options(args.opt, args.overrides, check=check_test_parts)
        run_test(options.with_derived({"val.val_enabled": True}))
    except ConfigError as error:
        return say_mistakes(error)
    finally:
        end_logging()
    return 0


def run_test(options: Options) -> ValidationEvent:
    """Score every test set and write `<results_root>/<name>`.

    Raises:
        ConfigError: For weights or data that cannot be used.
    """
    start_logging(None, quiet=False)
    for note in options.notes:
        _log.log(note.level, "%s", note.text)
    processes, device = Processes(), choose_device(options, 0)
    configure_torch(options, device)
    numbers = arithmetic(options, device)
    network = build_release(options, numbers)
    validator = build_validator(options, open_test_sets(options, processes), numbers, processes)
    assert validator is not None
    folder = Path(options.path.results_root) / options.name
    console = Console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("measuring")
        event = validator.run(
            network,
            step=0,
            position=0,
            lr_exhausted=False,
            show=_writer(options, folder / "visualization") if _wants_images(options) else None,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    with written_beside(folder / "metrics.json") as partial:
        partial.write_text(json.dumps(finite(scores_by_image(event)), indent=2) + "\n", encoding="utf-8")
    _log.info("Scores and images are in %s", folder)
    console.print(score_table(event))
    return event


def build_release(options: Options, numbers: Arithmetic) -> Release:
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
        net = build_generator(options, numbers) if options.network_g else load_network(path)
    except ConfigError as error:
        raise ConfigError([f"path.pretrain_network_g: {line}" for line in error.problems]) from None
    facts: NetworkFacts = net.facts  # type: ignore[assignment]  # every registered network has it
    if facts.scale != options.scale:
        raise ConfigError(f"scale: should be {facts.scale}, the scale of {path} (got {options.scale})")
    if numbers.channels_last:
        net = net.to(memory_format=torch.channels_last)
    return Release(net.to(numbers.device).eval(), facts)


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


def _writer(options: Options, folder: Path) -> Callable[[Shown], None]:
    suffix = f"_{options.val.suffix}" if options.val.suffix else ""

    def write(shown: Shown) -> None:
        path = folder / shown.set_name / f"{shown.name}{suffix}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, shown.output)

    return write
