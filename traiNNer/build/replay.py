"""The recorded events of a run shown to fresh automations: what they decided, or would have decided."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, get_args

from traiNNer.automations import Supervisor
from traiNNer.build.automations import (
    build_supervisor,
    configured_controls,
    pattern_store,
    set_starting_controls,
)
from traiNNer.build.check import loss_schedule
from traiNNer.control import Controls, from_plain
from traiNNer.events import Event, OutOfMemoryEvent, RunFacts
from traiNNer.options import Options
from traiNNer.tracking.decisions import decision_record
from traiNNer.tracking.jsonl import finite

_EVENTS = {kind.__name__: kind for kind in get_args(Event)}


def beginning(options: Options, facts: RunFacts) -> tuple[Supervisor, Controls]:
    """Automations and controls as a run of these options begins with them."""
    train = options.train
    if not pattern_store(options):  # other options than the run's, which would have known nothing of it
        facts = replace(facts, learned=None)
    schedules = [loss_schedule(spec, train.net_d_start_iter) for spec in train.losses] if train else []
    settled_from = max(schedule.settled_from for schedule in schedules)
    supervisor = build_supervisor(options, facts, settled_from=settled_from)
    controls = configured_controls(options)
    set_starting_controls(controls, supervisor)
    return supervisor, controls


def replay(
    events: Iterable[Mapping[str, Any]], supervisor: Supervisor, controls: Controls
) -> Iterator[dict[str, Any]]:
    """The lines of decisions.jsonl that follow from those of events.jsonl.

    `controls` follow the decisions, while the events stay as they were measured: after the first decision that
    the recorded run did not take, the rest says what these automations make of that other run.
    """
    for record in events:
        fields = {key: value for key, value in record.items() if key not in ("iter", "kind")}
        event = from_plain(_EVENTS[record["kind"]], fields)
        for proposal in supervisor.react(event, controls):
            yield finite(decision_record(record["iter"], proposal, controls))
            if proposal.applied:
                proposal.decision.apply(controls)
        if isinstance(event, OutOfMemoryEvent) and controls.micro_batch >= event.micro_batch:
            controls.micro_batch = event.retry  # nobody answered; the trainer does the same
