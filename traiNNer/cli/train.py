"""What `python train.py` does: read the options, build the run, train, and say how it ended."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

# nothing that takes time: from `train` on a signal ends in words, and that should be soon
from traiNNer.runtime.signals import NOTHING_TO_SAVE, Interrupted, StopSignal, ignore_signals

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """`train` for a program that ends with it: a late signal does not change how it ended."""
    status = train(arguments)
    ignore_signals()
    return status


def command_line() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(description="Train a super-resolution network.")
    parser.add_argument("-opt", metavar="FILE", help="the YAML file that describes the run")
    parser.add_argument(
        "--auto_resume", action="store_true", help="go on from the newest whole training state"
    )
    parser.add_argument("--check", action="store_true", help="build everything, run one step, write nothing")
    parser.add_argument("--launcher", choices=("none", "pytorch"), help="pytorch: started by torchrun")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key.sub=value", help="options that win over the file"
    )
    return parser


def train(arguments: Sequence[str] | None = None) -> int:
    """Run a training from command-line arguments; returns the exit status.

    0: done, stopped early, interrupted and saved, or interrupted before the first step. 1: the run failed. 2: a
    mistake in the configuration or the data, said in words. 130: a second signal ended it at once.
    """
    try:
        with StopSignal() as stop:
            return _train(arguments, stop)
    except Interrupted as signal:
        print(NOTHING_TO_SAVE.format(signal), file=sys.stderr)
        return 0
    except KeyboardInterrupt:
        return 130


def _train(arguments: Sequence[str] | None, stop: StopSignal) -> int:
    from traiNNer.cli.opt import with_file
    from traiNNer.registry import ConfigError
    from traiNNer.runtime.console import accept_any_output, report_config_errors
    from traiNNer.runtime.os_errors import with_remedy

    accept_any_output()
    args = with_file(command_line(), arguments)
    overrides = list(args.overrides)
    if args.auto_resume:
        overrides.append("auto_resume=true")
    if args.launcher:
        overrides.append(f"launcher={args.launcher}")
    try:
        return _run(Path(args.opt), overrides, stop, check=args.check)
    except ConfigError as error:
        return report_config_errors(error)
    except OSError as error:
        print(with_remedy(error, "path.experiments_root"), file=sys.stderr)
        return 1


def _run(path: Path, overrides: Sequence[str], stop: StopSignal, *, check: bool) -> int:
    from traiNNer.registry import ConfigError
    from traiNNer.wording import no_file

    if not path.is_file():
        raise ConfigError(f"{path}: {no_file(path)}")
    # these import torch: a mistyped file name is said before that
    from traiNNer.build.session import Session
    from traiNNer.build.what_next import what_next
    from traiNNer.data.images.image_io import ImageError

    stop.loaded()
    session = Session.prepare(path, overrides, check=check)
    try:
        if check:
            return session.check()
        status = session.train(stop)
        if session.processes.is_main:
            for line in what_next(session.folder, path, overrides, session.processes.world_size):
                _log.info("%s", line)
        return status
    except ImageError as error:
        raise ConfigError(str(error)) from error
    finally:
        session.close()
