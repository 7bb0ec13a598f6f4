"""Weights & Biases: curves, decisions and images as in TensorBoard, in one run however often it is resumed.

What was sent cannot be taken back. A resumed run repeats the steps since its state to the bit, so those that
were sent before are passed over: the file `wandb.json` in the run's folder says up to which step.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from traiNNer.data.images.image_io import Pixels, eight_bits
from traiNNer.registry import ConfigError
from traiNNer.runtime.run_dir import atomic_write
from traiNNer.wording import shell_line

_log = logging.getLogger(__name__)

INSTALL = "needs Weights & Biases: pip install wandb"


@dataclass(frozen=True)
class WandbSettings:
    """Where a run is shown."""

    project: str
    resume_id: str | None = None
    """The id of the run there to go on with; None: the one of this folder, or a new one."""


class WandbBoard:
    """Sends what a run shows to Weights & Biases, or keeps it for `wandb sync` where WANDB_MODE is offline.

    Args:
        folder: Of the run; its folder `wandb` holds what is sent.
        name: Of the run.
        settings: Where it is shown.
        configuration: Everything that the run was told.
        window: Steps by which what is shown may come late: numbers of a window come at its end, scores at once.
        resumed: Whether it goes on; otherwise it is a new run there, unless `resume_id` names one.

    Raises:
        ConfigError: If the package is missing, or nobody has logged in.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        settings: WandbSettings,
        configuration: Mapping[str, Any],
        *,
        window: int,
        resumed: bool,
    ) -> None:
        try:
            import wandb
        except ImportError:
            raise ConfigError(f"logger.wandb.project: {INSTALL}") from None
        self._wandb, self._file = wandb, folder / "wandb.json"
        known = json.loads(self._file.read_text(encoding="utf-8")) if self._file.is_file() else {}
        identity = settings.resume_id or (known.get("id") if resumed else None) or uuid4().hex[:8]
        self._sent = int(known["last_step"]) if known.get("id") == identity else -1
        self._window, self._waiting = window, dict[int, dict[str, Any]]()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._run = wandb.init(
                project=settings.project,
                name=name,
                id=identity,
                resume="allow",
                dir=str(folder),
                config=dict(configuration),
                settings=wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True),
            )
        except wandb.Error as error:
            remedy = (
                "`wandb login` lets this machine in; the environment variable WANDB_MODE=offline does without"
            )
            raise ConfigError(f"logger.wandb.project: {str(error).strip()}; {remedy}") from error
        self._remember(self._sent)
        send = shell_line("wandb", "sync", Path(self._run.dir).parent)
        where = self._run.url or f"kept on this machine; to send it after the run: {send}"
        _log.info("Weights & Biases: run %s of the project %s, %s", identity, settings.project, where)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Board`."""
        self._log(step, values)

    def text(self, step: int, tag: str, text: str) -> None:
        """See `Board`."""
        self._log(step, {f"{tag}/text": self._wandb.Html(f"<p>{escape(text)}</p>", inject=False)})

    def strip(self, step: int, tag: str, images: Mapping[str, Pixels]) -> None:
        """See `Board`."""
        row = np.concatenate([eight_bits(image) for image in images.values()], axis=1)
        self._log(step, {tag: self._wandb.Image(row, caption=" | ".join(images))})

    def settle(self) -> dict[str, int]:
        """See `Board`; there is nothing to shorten."""
        return {}

    def cut(self, lengths: Mapping[str, int]) -> None:
        """See `Board`; what was sent stays."""

    def close(self) -> None:
        """See `Board`."""
        self._send(max(self._waiting, default=-1))
        self._run.finish()

    def _log(self, step: int, values: Mapping[str, Any]) -> None:
        """All of one step becomes one row there, and rows must rise: they wait until nothing can come before."""
        if step > self._sent:
            self._waiting.setdefault(step, {}).update(values)
            self._send(max(self._waiting) - self._window)

    def _send(self, last: int) -> None:
        """Send the rows up to a step."""
        rows = sorted(step for step in self._waiting if step <= last)
        for step in rows:
            self._run.log(self._waiting.pop(step), step=step)
        if rows:
            self._sent = rows[-1]
            self._remember(self._sent)

    def _remember(self, step: int) -> None:
        with atomic_write(self._file) as partial:
            partial.write_text(json.dumps({"id": self._run.id, "last_step": step}) + "\n", encoding="utf-8")
