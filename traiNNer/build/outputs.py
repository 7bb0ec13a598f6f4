"""From options to what a run writes, and where."""

from __future__ import annotations

from pathlib import Path

from traiNNer.options import Options
from traiNNer.runtime.run_dir import RunFolder
from traiNNer.training.open_run import OutputSettings


def output_settings(options: Options) -> OutputSettings:
    """What the options let a run write."""
    logger, val = options.logger, options.val
    return OutputSettings(
        print_freq=logger.print_freq,
        tensorboard=logger.use_tb_logger,
        save_images=val.save_img,
        image_suffix=f"_{val.suffix}" if val.suffix else "",
        keep_states=logger.keep_training_states,
        keep_models=logger.keep_models,
        weights_suffix=logger.save_checkpoint_format,
    )


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
