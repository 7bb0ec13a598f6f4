"""Saving everything a run needs to go on, and the weights that others load.

A training state is torch's zip format holding tensors and plain values only; reading it executes nothing. The
CRC of every record is checked before anything is restored.
"""

from __future__ import annotations

import io
import logging
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from traiNNer.archs.weights_file import holds_weights
from traiNNer.models.networks import Networks
from traiNNer.registry import ConfigError
from traiNNer.release.weights import metadata_of, read_with_metadata, write_weights
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.runtime.run_dir import RunFolder, write_whole
from traiNNer.training.state import Progress

FORMAT = 1
_BEST = "net_g_best"
NO_METADATA: Mapping[str, Mapping[str, str]] = MappingProxyType({"g": {}, "d": {}})
_log = logging.getLogger(__name__)


class DamagedState(ValueError):
    """A training state is not whole, or not one of ours."""


class Checkpointer:
    """Writes training states and weights of one run, and removes the oldest.

    Args:
        folder: Of the run.
        metadata: What files of weights say about themselves, per network ("g", "d").
        keep_states: Newest training states that stay.
        keep_models: Newest weights that stay, or "all"; the best always do.
        suffix: `safetensors` or `pth`, for weights.
        origin: What the run was made of, see `build.origin`; kept in every state.
    """

    def __init__(
        self,
        folder: RunFolder,
        metadata: Mapping[str, Mapping[str, str]] = NO_METADATA,
        *,
        keep_states: int = 3,
        keep_models: int | Literal["all"] = "all",
        suffix: Literal["safetensors", "pth"] = "safetensors",
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        self._folder, self._metadata, self._origin = folder, metadata, origin
        self._keep_states, self._keep_models, self._suffix = keep_states, keep_models, suffix

    def save(self, networks: Networks, progress: Progress, parts: Mapping[str, Any]) -> None:
        """Write the weights and the training state of a step; the oldest beyond the numbers to keep go."""
        step = progress.step
        self._save_weights(f"net_g_{step}", networks.generator.net, progress)
        if networks.ema:
            self._save_weights(f"net_g_ema_{step}", networks.eval_net, progress)
        if networks.adversary:
            about = {**self._metadata["d"], "iteration": str(step)}
            write_weights(self._path(f"net_d_{step}"), networks.adversary.learner.net.state_dict(), about)
        state = self._folder.training_states / f"{step}.state"
        about = {"origin": self._origin, "learning_rates": networks.learning_rates}
        write_state(state, {**parts, **about, "best": self.best(progress)})
        for old in self.states()[self._keep_states :]:
            old.unlink()
        self._drop_old_weights()

    def save_best(self, networks: Networks, progress: Progress) -> None:
        """Write the weights that validated best as `net_g_best`, in the place of one in the other format."""
        self._save_weights(_BEST, networks.eval_net, progress)
        other = "pth" if self._suffix == "safetensors" else "safetensors"
        self._path(_BEST).with_suffix(f".{other}").unlink(missing_ok=True)

    def _save_weights(self, name: str, net: nn.Module, progress: Progress) -> None:
        about = {**self._metadata["g"], "iteration": str(progress.step)}
        if progress.validated == progress.step and progress.best is not None:
            about["best_score"] = repr(progress.best)
        write_weights(self._path(name), net.state_dict(), about)

    def best(self, progress: Progress) -> dict[str, Any] | None:
        """Weights and metadata of `net_g_best`, if it is of this course of the run; None otherwise.

        Another iteration is that of another course: a run that went back to an earlier state has left it.
        """
        found = None if progress.best is None else read_with_metadata(self._path(_BEST))
        return found if found and found["metadata"].get("iteration") == str(progress.best_step) else None

    def restore_best(self, kept: Mapping[str, Any] | None, progress: Progress) -> None:
        """Let `net_g_best` be that of the course which a training state goes on with.

        Args:
            kept: What `best` gave when the state was written; None of states that did not keep it yet.
            progress: Of the state.
        """
        path = self._path(_BEST)
        if kept:
            write_weights(path, kept["weights"], kept["metadata"])
        if self.best(progress):
            return
        path.unlink(missing_ok=True)
        if progress.best is None:
            return
        step = progress.best_step
        for name in (f"net_g_ema_{step}", f"net_g_{step}"):
            if found := read_with_metadata(self._path(name)):
                write_weights(path, found["weights"], found["metadata"])
                return
        _log.warning(
            "the best weights so far, of iteration %d, are lost: %s was of another course", step, path
        )

    def _path(self, name: str) -> Path:
        return self._folder.models / f"{name}.{self._suffix}"

    def _drop_old_weights(self) -> None:
        keep = self._keep_models
        if not isinstance(keep, int):
            return
        for prefix in ("net_g", "net_g_ema", "net_d"):
            numbered = [
                (int(number), path)
                for path in self._folder.models.glob(f"{prefix}_*.{self._suffix}")
                if (number := path.stem.removeprefix(f"{prefix}_")).isdigit()
            ]
            for _, path in sorted(numbered, reverse=True)[keep:]:
                path.unlink()

    def set_aside_after(self, step: int) -> None:
        """Move numbered states and weights of later steps to a folder of their own.

        They belong to a course of the run that is given up; left in place they would pass for its newest.
        """
        later = [path for path in self.states() if int(path.stem) > step]
        for path in self._folder.models.glob("net_*_*.*"):
            number = path.stem.rpartition("_")[2]
            number = metadata_of(path).get("iteration", "") if path.stem == _BEST else number
            if number.isdigit() and int(number) > step:
                later.append(path)
        stamp = time.strftime("abandoned_%Y%m%d_%H%M%S")
        for path in later:
            (path.parent / stamp).mkdir(exist_ok=True)
            path.rename(path.parent / stamp / path.name)
        if later:
            _log.warning(
                "files of steps after %d were moved to folders named %s: %d", step, stamp, len(later)
            )

    def states(self) -> list[Path]:
        """The training states of the run, newest first."""
        found = (p for p in self._folder.training_states.glob("*.state") if p.stem.isdigit())
        return sorted(found, key=lambda path: int(path.stem), reverse=True)

    def newest_whole_state(self) -> tuple[Path, dict[str, Any]] | None:
        """The newest state that passes its checks; those passed over are named in the log."""
        for path in self.states():
            try:
                return path, read_state(path)
            except DamagedState as error:
                _log.warning("passing over a damaged training state: %s", error)
        return None


class Start(NamedTuple):
    """A training state to go on from."""

    path: Path
    parts: dict[str, Any]

    @property
    def step(self) -> int:
        """Updates done in it."""
        return int(self.parts["progress"]["step"])


def starting_state(
    folder: RunFolder, processes: DistributedContext, *, auto_resume: bool, resume_state: str | None
) -> Start | None:
    """The state to go on from: the run's newest whole one with `auto_resume`, else `path.resume_state`, else None.

    Raises:
        ConfigError: If the named state is missing or damaged, or the processes would start at different steps.
    """
    start: Start | None = None
    if auto_resume and (found := Checkpointer(folder).newest_whole_state()):
        start = Start(*found)
    elif resume_state:
        path = Path(resume_state)
        try:
            start = Start(path, read_state(path))
        except DamagedState as error:
            if holds_weights(path):
                raise ConfigError(
                    f"path.resume_state: {path}: holds weights, which path.pretrain_network_g takes; "
                    "training states are in training_states/, with the suffix .state"
                ) from None
            raise ConfigError(f"path.resume_state: {error}") from error
    elif auto_resume:
        _log.info("No training state in %s yet; starting at the beginning", folder.training_states)
    step = start.step if start else -1
    if processes.maximum([step]) != [-value for value in processes.maximum([-step])]:
        raise ConfigError("the processes see different training states; they need one experiments folder")
    return start


def write_state(path: Path, parts: Mapping[str, Any]) -> None:
    """Write named parts (tensors and plain values) to one file, all or nothing."""
    buffer = io.BytesIO()  # torch's own writer says nothing useful of a full disk
    torch.save({"format": FORMAT, "parts": dict(parts)}, buffer)
    write_whole(path, buffer.getbuffer())


def read_state(path: Path) -> dict[str, Any]:
    """The named parts of a training state, tensors on the CPU.

    Raises:
        DamagedState: If the file is cut short, altered, of another kind, or holds more than plain values.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise DamagedState(f"{path}: checksum of {damaged!r} is wrong")
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except DamagedState:
        raise
    except Exception as error:
        raise DamagedState(f"{path}: {type(error).__name__}: {error}".split("\n")[0]) from error
    if not isinstance(saved, dict) or "parts" not in saved:
        raise DamagedState(f"{path}: not a training state of this program")
    if saved["format"] != FORMAT:
        raise ConfigError(f"{path}: training state of format {saved['format']}, this program reads {FORMAT}")
    return saved["parts"]
