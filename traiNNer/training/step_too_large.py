"""A step that did not fit into memory: what is said of it, and the micro-batch if no automation chooses one."""

from __future__ import annotations

import logging

from traiNNer.control import Controls
from traiNNer.events import OutOfMemoryEvent
from traiNNer.runtime.memory import MemoryTooSmallError
from traiNNer.wording import counted

_log = logging.getLogger(__name__)


def out_of_memory(controls: Controls, step: int) -> OutOfMemoryEvent:
    """The event of a step that did not fit.

    Raises:
        MemoryTooSmallError: If it was of one sample at a time.
    """
    failed = min(controls.micro_batch, controls.batch)
    if failed == 1:
        raise MemoryTooSmallError(
            "out of memory with one sample at a time; lower datasets.train.lq_size, the network's size "
            "(network_g) or use_amp: true with amp_bf16: true"
        )
    return OutOfMemoryEvent(step, failed, -(-failed // 2))


def repeat_smaller(controls: Controls, event: OutOfMemoryEvent) -> None:
    """Halve the micro-batch, which no automation has lowered."""
    controls.micro_batch = event.retry
    _log.warning(
        "out of memory at step %d with %s at a time: repeating the step with %d (the result is the same)",
        event.step,
        counted(event.micro_batch, "sample"),
        event.retry,
    )
