"""The TensorBoard of a run: curves grouped by what they say, image strips, configuration and decisions as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from traiNNer.data.sources import Pixels

_GROUPS = {
    "Losses": r"train/loss/.*",
    "Gradient norms": r"train/grad_norm/.*",
    "Validation": r"val/.*",
    "Learning rate": r"control/lr_.*",
    "Batch": r"control/(batch|micro_batch)",
    "Clipping": r"control/clip_threshold_.*",
    "Loss factors": r"control/(loss_factor_.*|loss_scale)",
    "Speed": r"system/(it_per_s|samples_per_s)",
    "Waiting and memory": r"system/(data_wait_share|memory)",
}


class Dashboard:
    """Writes TensorBoard events; records of steps after `resumed_at` in the folder are hidden.

    TensorBoard is imported here and not before, since importing it takes most of a second.
    """

    def __init__(self, folder: Path, *, resumed_at: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=resumed_at + 1 if resumed_at else 0)
        if not resumed_at:
            charts = {title: ["Multiline", [pattern]] for title, pattern in _GROUPS.items()}
            self._writer.add_custom_scalars({"traiNNer": charts})

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One point on each named curve."""
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, step)

    def text(self, step: int, tag: str, text: str) -> None:
        """A piece of Markdown."""
        self._writer.add_text(tag, text, step)

    def strip(self, step: int, tag: str, images: Sequence[Pixels]) -> None:
        """Images of one height side by side (8 bit is enough to look at)."""
        eight = [image if image.dtype == np.uint8 else (image // 257).astype(np.uint8) for image in images]
        self._writer.add_image(tag, np.concatenate(eight, axis=1), step, dataformats="HWC")

    def flush(self) -> None:
        """Hand everything to the system."""
        self._writer.flush()

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
