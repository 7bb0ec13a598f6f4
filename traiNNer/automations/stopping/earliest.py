"""The step before which no run stops early, and what is said at its start where that lies beyond its end."""

from __future__ import annotations

import logging
import math

from traiNNer.automations.time_scales import scaled
from traiNNer.events import RunFacts

WARMUP = 1000
"""Default of `warmup_iterations`, which a short run may not outlast: no reason for a warning."""
_log = logging.getLogger(__name__)


def earliest_stop(
    name: str,
    facts: RunFacts,
    *,
    min_epochs: int | None,
    min_iterations: int | None,
    warmup_iterations: int,
    settled_from: int,
) -> int:
    """The latest of all steps before which a run must not stop; each that it cannot outlast is named in the log.

    Args:
        name: Of who says it.
        facts: Of the run.
        min_epochs: As written; None: no such limit.
        min_iterations: As written; None: 5000, or half of a short run.
        warmup_iterations: As written.
        settled_from: Step from which no loss is still to be switched on or ramped up.
    """
    total, per_epoch = facts.total_iter, facts.images / (facts.batch * facts.world_size)
    epochs = math.ceil((min_epochs or 0) * per_epoch)
    fewest = scaled(5000, facts) if min_iterations is None else min_iterations
    reaches = f"reaches the end of the run, iteration {total}"
    epochs_reach = f"{'exceeds' if epochs > total else 'takes'} the {total / per_epoch:.0f} planned epochs"
    bounds = (
        (epochs, f"min_epochs {min_epochs} {epochs_reach}", True),
        (fewest, f"min_iterations {fewest} {reaches}", min_iterations is not None),
        (warmup_iterations, f"warmup_iterations {warmup_iterations} {reaches}", warmup_iterations != WARMUP),
        (settled_from, f"a loss that begins or grows until iteration {settled_from} {reaches}", True),
    )
    never = [(text, written) for step, text, written in bounds if step >= total]
    if never:
        level = logging.WARNING if any(written for _, written in never) else logging.INFO
        first, *others = (text for text, _ in never)
        also = f" (also: {'; '.join(others)})" if others else ""
        _log.log(level, "%s: %s; it can never stop the run%s", name, first, also)
    return max(step for step, _, _ in bounds)
