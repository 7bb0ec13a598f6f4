"""The TensorBoard of a run: curves grouped by what they say, image strips, configuration and decisions as text."""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from traiNNer.control import Controls
from traiNNer.data.images.image_io import eight_bits
from traiNNer.data.paired_dataset import Pixels
from traiNNer.runtime.os_errors import naming

_RUN = {
    "Losses": r"train/loss/",
    "Learning rate": r"control/lr_[a-z]$",
    "Gradient norm": r"train/grad_norm/",
    "Steps per second": r"system/it_per_s$",
    "Waiting for data, and workers degrading": r"system/(data_wait|degrading)_share$",
    "Structure (1: like the truth)": r"val/.*/(edge|residual)_ratio$",
    "Colours, worst channel (0: like the truth)": r"val/.*/colour_shift$",
}
"""Charts of every run, and the curves of each by the beginning of the name."""
_OF_AUTOMATIONS = {
    "IntelligentLearningRateScheduler": {"Factor": r"control/lr(_batch)?_factor$"},
    "DynamicBatchSizeOptimizer": {
        "Batch and micro-batch": r"control/(batch|micro_batch)$",
        "Patch": r"control/lq_size$",
        "Memory": r"system/memory$",
        "Samples per second": r"system/samples_per_s$",
    },
    "AdaptiveGradientClipping": {
        "Threshold and norms": r"(control/clip_threshold_|train/grad_norm_(median|p95|max)/)",
        "Share of clipped steps": r"train/clip_ratio/",
        "Skipped steps": r"train/skipped_steps/",
    },
    "IntelligentEarlyStopping": {"How near a stop is (1: it stops)": r"train/stop_nearness$"},
    "DynamicLossScheduling": {
        "Factors": r"control/loss_factor_",
        "Shares of the gradient": r"train/loss_share/",
    },
    "GradientFlowStabilizer": {
        "Stability": r"train/stability_score$",
        "Explosions": r"train/explosions$",
        "Update ratio": r"train/update_ratio$",
        "Loss scale": r"control/(loss|amp)_scale$",
    },
}
"""Categories, named after the automations whose they are, and their charts."""
_GAME = {
    "Discriminator": {
        "Loss and penalty": r"train/discriminator/l_d",
        "Mean logits": r"train/discriminator/out_d_",
    }
}
"""The same, of a run that has one."""

_EVENT_FILES = "events.out.tfevents.*"


class Dashboard:
    """Writes TensorBoard events of a session; what earlier sessions wrote can be cut to a remembered length.

    TensorBoard is imported here and not before, since importing it takes most of a second.

    Args:
        folder: Of the event files, one a session.
        resumed_at: Step that the run goes on from; a TensorBoard that is watching forgets later ones.
        metrics: Labels of the validation's metrics; each has a chart.
        automations: Names of those that are on; the others have no charts.
        adversarial: Whether a discriminator trains.
    """

    def __init__(
        self,
        folder: Path,
        *,
        resumed_at: int,
        metrics: Iterable[str],
        automations: Collection[str],
        adversarial: bool = False,
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        _leave_errors_to_the_next_call()
        self._folder = folder
        self._earlier = list(folder.glob(_EVENT_FILES))
        self._writer = SummaryWriter(str(folder), purge_step=resumed_at + 1 if resumed_at else 0)
        scores = {
            f"{label} and its best": rf"val(_best|_bicubic)?/.*/{re.escape(label)}$" for label in metrics
        }
        charts = {"Run": _RUN | scores, **(_GAME if adversarial else {})}
        charts |= {name: titles for name, titles in _OF_AUTOMATIONS.items() if name in automations}
        self._writer.add_custom_scalars(
            {
                category: {title: ["Multiline", [pattern]] for title, pattern in titles.items()}
                for category, titles in charts.items()
            }
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One point on each named curve."""
        with naming(self._folder):
            for tag, value in values.items():
                self._writer.add_scalar(tag, value, step)

    def text(self, step: int, tag: str, text: str) -> None:
        """A piece of Markdown."""
        with naming(self._folder):
            self._writer.add_text(tag, text, step)

    def settings(self, values: Mapping[str, float | str], scores: Iterable[str]) -> None:
        """Fill the HParams tab: what the run was told, beside the last values of the curves named `scores`."""
        from torch.utils.tensorboard.summary import hparams

        told = {key: value for key, value in values.items() if value != ""}
        if not told:
            return
        experiment, session, _ = hparams(told, dict.fromkeys(scores, 0.0))  # of the latter the names alone
        with naming(self._folder):
            for summary in (experiment, session):
                self._writer.file_writer.add_summary(summary)  # type: ignore[union-attr] - open until `close`

    def strip(self, step: int, tag: str, images: Mapping[str, Pixels]) -> None:
        """Images of one height side by side, each under its name (8 bit is enough to look at)."""
        named = [np.concatenate([_heading(n, i.shape[1]), eight_bits(i)]) for n, i in images.items()]
        with naming(self._folder):
            self._writer.add_image(tag, np.concatenate(named, axis=1), step, dataformats="HWC")

    def settle(self) -> dict[str, int]:
        """Hand everything to the system; the length in bytes of every event file, by name."""
        with naming(self._folder):
            self._writer.flush()
        return {path.name: path.stat().st_size for path in sorted(self._folder.glob(_EVENT_FILES))}

    def cut(self, lengths: Mapping[str, int]) -> None:
        """Remove what earlier sessions wrote beyond these lengths, since this one will write it again."""
        for path in self._earlier:
            if path.name not in lengths:
                path.unlink()
            elif path.stat().st_size > lengths[path.name]:
                os.truncate(path, lengths[path.name])

    def close(self) -> None:
        """Finish the file."""
        with naming(self._folder):
            self._writer.close()


@functools.cache
def _leave_errors_to_the_next_call() -> None:
    """Where the disk fails, the thread of the writer ends and its next call raises the same: once is enough."""
    say = threading.excepthook

    def hook(found: threading.ExceptHookArgs) -> None:
        of_writer = type(found.thread).__name__ == "_AsyncWriterThread"
        if not (of_writer and isinstance(found.exc_value, OSError)):
            say(found)

    threading.excepthook = hook


def control_scalars(controls: Controls) -> dict[str, float]:
    """The controls as curves; the factors of losses come with the health of the run."""
    return {
        "control/batch": controls.batch,
        "control/micro_batch": controls.micro_batch,
        "control/lq_size": controls.lq_size,
        "control/lr_factor": controls.lr_factor,
        "control/lr_batch_factor": controls.lr_batch_factor,
        "control/loss_scale": controls.loss_scale,
        **{f"control/clip_threshold_{net}": clip.threshold for net, clip in controls.clip.items()},
    }


def _heading(name: str, width: int) -> NDArray[np.uint8]:
    """A name in white on black, (16, width, 3)."""
    band = np.zeros((16, width, 3), np.uint8)
    cv2.putText(band, name, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return band


def health_scalars(line: Mapping[str, Any]) -> dict[str, float]:
    """The curves in one line of health.jsonl."""
    if line["kind"] == "val":
        return _validation_scalars(line["sets"])
    scalars: dict[str, float] = {"control/amp_scale": line["amp_scale"]}
    scalars |= {f"control/loss_factor_{label}": value for label, value in line["loss_factor"].items()}
    scalars |= {
        f"train/grad_norm_{name}/{net}": value
        for net, spread in line["grad_norm"].items()
        for name, value in spread.items()
    }
    for name, tag in (
        ("loss_gradient_share", "loss_share"),
        ("grad_clip_ratio", "clip_ratio"),
        ("skipped_steps", "skipped_steps"),
    ):
        scalars |= {f"train/{tag}/{of}": value for of, value in line.get(name, {}).items()}
    alone = ("update_ratio", "explosions", "stability_score", "stop_nearness")
    return scalars | {f"train/{name}": line[name] for name in alone if name in line}


def _validation_scalars(sets: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    scalars: dict[str, float] = {}
    for name, rows in sets.items():
        for label, row in rows.items():
            if isinstance(row, Mapping):  # a metric
                scalars[f"val_best/{name}/{label}"] = row["best"]
                scalars[f"val_bicubic/{name}/{label}"] = row["bicubic"]
            else:
                scalars[f"val/{name}/{label}"] = row
    return scalars
