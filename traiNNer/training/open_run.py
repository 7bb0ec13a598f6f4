"""The one way from parts to a trainer that writes files: recorder, checkpoints, images, and where it starts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.console import Console

from traiNNer.registry import ConfigError
from traiNNer.runtime.card import CardSensors
from traiNNer.runtime.run_dir import RunFolder
from traiNNer.tracking.board import Board
from traiNNer.tracking.health import Health
from traiNNer.tracking.recorder import Recorder
from traiNNer.tracking.tensorboard import Dashboard
from traiNNer.tracking.validation_images import ValidationImages
from traiNNer.tracking.wandb_board import WandbBoard, WandbSettings
from traiNNer.training.checkpoint import Checkpointer, Start
from traiNNer.training.outputs import Outputs
from traiNNer.training.parts import Parts
from traiNNer.training.trainer import Trainer

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OutputSettings:
    """What a run writes, and how much of it stays."""

    print_freq: int = 100
    """Steps between lines."""
    tensorboard: bool = False
    wandb: WandbSettings | None = None
    """Weights & Biases; None: not shown there."""
    save_images: bool = False
    """Every validated image as a file."""
    image_suffix: str = ""
    keep_states: int = 3
    """Newest training states that stay."""
    keep_models: int | Literal["all"] = "all"
    """Newest weights that stay; the best always do."""
    weights_suffix: Literal["safetensors", "pth"] = "safetensors"
    hparams: Mapping[str, float | str] = field(default_factory=dict)
    """What the run was told, by dotted name, for TensorBoard's HParams tab."""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    """Everything that it was told."""


def open_run(
    parts: Parts,
    folder: RunFolder,
    settings: OutputSettings,
    *,
    start: Start | None = None,
    console: Console | None = None,
    notes: Mapping[str, str] | None = None,
    origin: Mapping[str, Any] | None = None,
) -> Trainer:
    """A trainer ready to `fit`, at the beginning or at a saved state.

    The main process records and saves; every process writes the images that it validates.

    Args:
        parts: Everything that computes.
        folder: Of the run.
        settings: What is written.
        start: The training state to go on from; None: records of an earlier attempt are removed.
        console: The terminal to draw a live line on.
        notes: Markdown for the dashboard, by title.
        origin: What the run is made of, for its states.

    Raises:
        ConfigError: If the state does not fit the parts.
    """
    main = parts.processes.is_main
    recorder = _recorder(parts, folder, settings, start, console, notes or {}) if main else None
    trainer = Trainer(
        parts,
        Outputs(
            recorder,
            Checkpointer(
                folder,
                parts.metadata,
                keep_states=settings.keep_states,
                keep_models=settings.keep_models,
                suffix=settings.weights_suffix,
                origin=origin,
            )
            if main
            else None,
            ValidationImages(
                folder.visualization if settings.save_images else None,
                suffix=settings.image_suffix,
                strips=settings.tensorboard or settings.wandb is not None,
                processes=parts.processes,
            ),
        ),
    )
    if start:
        _go_on(trainer, start)
    elif recorder:
        recorder.start_new()
    return trainer


def _go_on(trainer: Trainer, start: Start) -> None:
    try:
        trainer.load_state_dict(start.parts)
    except (RuntimeError, KeyError, ValueError) as error:
        first = str(error).strip().splitlines()[:4]
        raise ConfigError(f"{start.path} does not fit this configuration: {' '.join(first)}") from error


def _dashboard(
    parts: Parts, folder: RunFolder, settings: OutputSettings, resumed_at: int, notes: Mapping[str, str]
) -> Dashboard:
    validator = parts.validator
    dashboard = Dashboard(
        folder.tensorboard,
        resumed_at=resumed_at,
        metrics=validator.metrics if validator else (),
        automations=parts.supervisor.automations,
        adversarial=parts.model.adversary is not None,
    )
    scores = [f"val/{of.name}/{m}" for of in validator.sets for m in validator.metrics] if validator else []
    dashboard.settings(settings.hparams, scores)
    for title, text in notes.items():
        dashboard.text(resumed_at, title, text)
    return dashboard


def _recorder(
    parts: Parts,
    folder: RunFolder,
    settings: OutputSettings,
    start: Start | None,
    console: Console | None,
    notes: Mapping[str, str],
) -> Recorder:
    boards: list[Board] = []
    if settings.tensorboard:
        boards.append(_dashboard(parts, folder, settings, start.step if start else 0, notes))
    if settings.wandb:
        told, window = settings.configuration, parts.plan.window
        going_on = start is not None
        boards.append(
            WandbBoard(folder.root, folder.name, settings.wandb, told, window=window, resumed=going_on)
        )
    card = CardSensors(parts.model.precision.device)
    for line in card.warnings():
        _log.warning("%s", line)
    return Recorder(
        folder,
        total_iter=parts.plan.total_iter,
        health=Health(
            parts.facts,
            parts.model.losses,
            parts.supervisor,
            print_freq=settings.print_freq,
            data_cost=parts.data_cost,
        ),
        boards=boards,
        console=console,
        sensors=card.read,
    )
