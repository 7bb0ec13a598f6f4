"""A validation inside a run, which may fail without costing the run anything."""

from __future__ import annotations

import logging

from traiNNer.data.images.image_io import ImageError
from traiNNer.events import ValidationEvent
from traiNNer.inference.network import EvalNetwork
from traiNNer.runtime.signals import GivenUp, StopSignal
from traiNNer.training.outputs import Outputs
from traiNNer.training.parts import Parts
from traiNNer.training.state import Progress
from traiNNer.training.validation import Validator

_log = logging.getLogger(__name__)


def measured(
    parts: Parts, validator: Validator, outputs: Outputs, progress: Progress, stop: StopSignal
) -> ValidationEvent | None:
    """Measure the networks and show the images.

    Returns:
        None, with a line in the log, where that failed or was given up at a signal, on any process.
    """
    networks, images = parts.model.networks, outputs.images
    try:
        event = validator.run(
            EvalNetwork(networks.eval_net, networks.facts),
            step=progress.step,
            position=progress.position,
            lr_exhausted=parts.schedule(progress.time) < 0.01,
            show=images.taker(progress.step) if images else None,
            progress=stop.check,
            interruptible=stop.interruptible,
        )
        strips = images.collect() if images else []
        if outputs.recorder:
            outputs.recorder.strips(progress.step, strips)
    except GivenUp as signal:
        text = "The validation at iteration %s was given up (%s); where the run goes on it is repeated"
        _log.warning(text, f"{progress.step:,}", signal)
    except Exception as error:  # noqa: BLE001 - of a metric, a file, the memory: the next one may go well
        _log.error(
            "The validation at iteration %s failed, and the run goes on without it: %s",
            f"{progress.step:,}",
            error or type(error).__name__,
            exc_info=None if isinstance(error, ImageError | OSError) else error,
        )
    else:
        return event
    if images:
        images.forget()
    return None
