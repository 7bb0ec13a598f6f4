"""The report of a finished run: its pictures need the data and the network that its options name."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from traiNNer.archs.loading import load_network
from traiNNer.build.data import assemble_measured
from traiNNer.data.images.image_io import ImageError
from traiNNer.options import Options, load_options
from traiNNer.registry import ConfigError
from traiNNer.release.weights import metadata_of
from traiNNer.runtime.os_errors import with_remedy
from traiNNer.tracking.report.html import write_report
from traiNNer.tracking.report.pictures import Picture, pictures_of
from traiNNer.tracking.report.told import told

_log = logging.getLogger(__name__)


def run_pictures(folder: Path) -> list[Picture]:
    """The images of the first validation set where the best weights of a run gain most and least.

    By the scores of the validation that those weights are of. Empty where the run has no validation or no weights,
    or its images have gone.

    Raises:
        ConfigError, ImageError: For weights or images that cannot be read.
    """
    resolved = folder / "resolved.yml"
    if not resolved.is_file():
        return []
    options = load_options(resolved)
    weights = best_weights(folder, options)
    found = told(folder / "events.jsonl", iteration_of(weights)).scores
    if weights is None or not found:
        return []
    set_name, scores = next(iter(found.items()))
    data = next((d for d in options.datasets.values() if d.name == set_name), None)
    if data is None or not all(Path(root).is_dir() for root in (*data.dataroot_gt, *data.dataroot_lq)):
        return []
    images = assemble_measured(options, data.model_copy(update={"skip_bad_images": True}))
    net = load_network(weights)
    facts = folder / "facts.json"
    better = json.loads(facts.read_text(encoding="utf-8"))["higher_is_better"] if facts.is_file() else {}
    return pictures_of(
        images, net, set_name=set_name, scores=scores, higher_is_better=better, color=options.color
    )


def best_weights(folder: Path, options: Options) -> Path | None:
    """The weights of a run that validated best; None where it has none."""
    models = Path(options.path.models) if options.path.models else folder / "models"
    return next(iter(sorted(models.glob("net_g_best.*"))), None)


def iteration_of(weights: Path | None) -> int | None:
    """The iteration that a file of weights is of; None where it does not say."""
    said = metadata_of(weights).get("iteration", "") if weights else ""
    return int(said) if said.isdigit() else None


def try_report(folder: Path) -> None:
    """Write the report of a run that has ended; whatever is in its way is a warning, the run itself is safe."""
    try:
        pictures = run_pictures(folder)
    except Exception as error:  # noqa: BLE001 - the run has ended well, whatever its pictures meet
        words = isinstance(error, ConfigError | ImageError | OSError)
        _log.warning("The report will have no pictures: %s", error, exc_info=None if words else error)
        pictures = []
    try:
        _log.info("Report: %s", write_report(folder, pictures))
    except Exception as error:  # noqa: BLE001
        words = with_remedy(error) if isinstance(error, OSError) else ""
        _log.warning("The report cannot be written: %s", words or error, exc_info=None if words else error)
