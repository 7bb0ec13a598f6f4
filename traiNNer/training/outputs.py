"""Where a run writes."""

from __future__ import annotations

from typing import NamedTuple

from traiNNer.tracking.recorder import Recorder
from traiNNer.tracking.validation_images import ValidationImages
from traiNNer.training.checkpoint import Checkpointer


class Outputs(NamedTuple):
    """Where a run writes; None: nothing of that kind, as on every process but the main one."""

    recorder: Recorder | None = None
    checkpointer: Checkpointer | None = None
    images: ValidationImages | None = None


NOWHERE = Outputs()
