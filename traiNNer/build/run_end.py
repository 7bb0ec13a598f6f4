"""The end of a run: how the loop ended, what is still saved, and what is said of it; nothing here fails a run."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from rich.console import Console

from traiNNer.build.report import try_report
from traiNNer.build.what_next import weights_to_use
from traiNNer.control import to_plain
from traiNNer.data.images.image_io import ImageError
from traiNNer.registry import ConfigError
from traiNNer.runtime.device import environment
from traiNNer.runtime.os_errors import in_words, with_remedy
from traiNNer.runtime.run_dir import RunFolder, atomic_write
from traiNNer.runtime.signals import StopSignal
from traiNNer.tracking.automation_table import Row, automation_rows, automation_table
from traiNNer.tracking.jsonl import read_records, strict_json
from traiNNer.tracking.recorder import Recorder
from traiNNer.tracking.tables import diagnosis_table, score_table
from traiNNer.training.trainer import Trainer

_log = logging.getLogger(__name__)


class End(NamedTuple):
    """How a run ended."""

    status: str
    reason: str
    exit_status: int
    problem: ConfigError | None = None
    """What the user has to change, where that ended it."""


def run_to_its_end(trainer: Trainer, stop: StopSignal) -> End:
    """Train; whatever ends the run is an `End`, and what was learned is saved where it is sound."""
    try:
        status, reason = trainer.fit(stop)
        return End(status, reason, exit_status=1 if status == "failed" else 0)
    except KeyboardInterrupt:
        return End("interrupted", "a second signal; the last saved state stays", 130)
    except (ConfigError, ImageError) as error:
        problem = error if isinstance(error, ConfigError) else ConfigError(str(error))
        end = End("failed", str(error), 2, problem)
    except OSError as error:
        said = with_remedy(error, "path.experiments_root")
        _log.error("The run failed at iteration %s: %s", f"{trainer.progress.step:,}", said)
        end = End("failed", in_words(error), 1)
    except Exception as error:  # noqa: BLE001 - whatever ends a run belongs into its summary
        _log.exception("The run failed at iteration %s", f"{trainer.progress.step:,}")
        end = End("failed", f"{type(error).__name__}: {error}", 1)
    _try("save its last step", trainer.save_after_failure)
    return end


def say_how_it_ended(
    trainer: Trainer, folder: RunFolder, device: torch.device, console: Console | None, end: End
) -> None:
    """Write summary.json and the report, print the tables. Whatever is in the way is a warning."""
    recorder = trainer.outputs.recorder
    if recorder is None:
        return
    _try("finish its records", recorder.close)
    rows: list[Row] = []
    _try("read its decisions", lambda: rows.extend(_automations(trainer, folder)))
    _try("write its summary", lambda: _write_summary(trainer, recorder, folder, device, end, rows))
    _log.info("Run %s: %s (%s)", end.status, end.reason, folder.root)
    if end.status in ("completed", "stopped_early"):
        _try("print its tables", lambda: _print_tables(trainer, recorder, rows, console or Console()))
        try_report(folder.root)


def _try(aim: str, work: Callable[[], Any]) -> None:
    try:
        work()
    except OSError as error:
        _log.warning("The run could not %s: %s", aim, in_words(error))
    except Exception:  # noqa: BLE001 - the run has ended with a status of its own
        _log.warning("The run could not %s", aim, exc_info=True)


def _automations(trainer: Trainer, folder: RunFolder) -> list[Row]:
    return automation_rows(trainer.parts.supervisor, read_records(folder.file("decisions.jsonl")))


def _print_tables(trainer: Trainer, recorder: Recorder, rows: list[Row], console: Console) -> None:
    if trainer.last_validation:
        console.print(score_table(trainer.last_validation))
    console.print(diagnosis_table(recorder.diagnosis()))
    if rows:
        console.print(automation_table(rows))


def _write_summary(
    trainer: Trainer, recorder: Recorder, folder: RunFolder, device: torch.device, end: End, rows: list[Row]
) -> None:
    progress, net, weights = trainer.progress, trainer.model.generator.net, weights_to_use(folder)
    about = trainer.parts.metadata["g"]
    summary = {
        "status": end.status,
        "reason": end.reason,
        "iterations": progress.step,
        "samples": progress.position,
        "best": {
            "metric": trainer.parts.headline_name,
            "value": progress.best,
            "iteration": progress.best_step,
        },
        "network": {
            "type": about["architecture"],
            "parameters": sum(p.numel() for p in net.parameters()),
            "options": json.loads(about["options"]),
        },
        "weights": str(weights) if weights else None,
        "seconds": round(progress.seconds, 1),
        "automations": trainer.parts.supervisor.status(),
        "automation_table": [row._asdict() for row in rows],
        "gradient_flow": recorder.gradient_flow(),
        "diagnosis": [to_plain(found) for found in recorder.diagnosis()],
        "environment": environment(device),
    }
    with atomic_write(folder.file("summary.json")) as partial:
        partial.write_text(strict_json(summary, indent=2), encoding="utf-8")
