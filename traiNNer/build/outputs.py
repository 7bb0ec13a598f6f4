"""From options to what a run writes, and where."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from traiNNer.options import Options
from traiNNer.runtime.run_dir import RunFolder
from traiNNer.tracking.jsonl import leaves
from traiNNer.tracking.wandb_board import WandbSettings
from traiNNer.training.open_run import OutputSettings

_EXPLAINING = ("scale", "manual_seed", "use_amp", "network_g", "network_d", "degradation", "train")


def output_settings(options: Options) -> OutputSettings:
    """What the options let a run write."""
    logger, val = options.logger, options.val
    return OutputSettings(
        print_freq=logger.print_freq,
        tensorboard=logger.use_tb_logger,
        wandb=WandbSettings(logger.wandb.project, logger.wandb.resume_id) if logger.wandb.project else None,
        save_images=val.save_img,
        image_suffix=image_suffix(options),
        keep_states=logger.keep_training_states,
        keep_models=logger.keep_models,
        weights_suffix=logger.save_checkpoint_format,
        hparams=_told(options),
        configuration=options.model_dump(mode="json"),
    )


def image_suffix(options: Options) -> str:
    """What the names of written images end with."""
    return f"_{options.val.suffix}" if options.val.suffix else ""


def _told(options: Options) -> dict[str, float | str]:
    """What is not left at its default and may explain a score, by dotted name."""
    tree = options.model_dump(mode="json")
    explaining = {part: tree.get(part) for part in _EXPLAINING} | {
        "datasets": {"train": tree["datasets"]["train"]}
    }
    return {
        ".".join(map(str, path)): value if isinstance(value, int | float) else str(value)
        for path, value in leaves(explaining)
        if value is not None and not isinstance(value, Mapping) and options.origin(path) != "default"
    }


def run_folder(options: Options) -> RunFolder:
    """Where the run of these options keeps its files."""
    path = options.path
    experiments = Path(path.experiments_root)
    root = experiments / options.name
    return RunFolder(
        root=root,
        models=Path(path.models or root / "models"),
        training_states=Path(path.training_states or root / "training_states"),
        visualization=Path(path.visualization or root / "visualization"),
        log=Path(path.log or root),
        tensorboard=experiments / "tb_logger" / options.name,
        name=options.name,
    )
