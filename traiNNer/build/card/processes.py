"""Runs the parts, each in a process of its own and for no longer than it may, and hands on what they find.

A part that fails, hangs or runs out of memory ends its process; the others are measured all the same.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from traiNNer.build.card.machine import measure_machine
from traiNNer.build.card.settings import Part, Settings
from traiNNer.build.card.steps import measure_batches, measure_compiling, measure_precisions
from traiNNer.build.card.whole_runs import measure_loop, measure_validation, measure_workers
from traiNNer.runtime.device import why_no_card
from traiNNer.tracking.jsonl import strict_json

PARTS = (
    Part("machine", "The machine", 20, measure_machine),
    Part("precision", "Precision and memory layout", 110, measure_precisions),
    Part("batches", "Batches", 45, measure_batches),
    Part("workers", "Data workers", 25, measure_workers),
    Part("loop", "The training loop", 30, measure_loop),
    Part("validation", "Validation", 20, measure_validation),
    Part("compile", "Compiling", 120, measure_compiling),
)
"""In the order in which they are measured; the last, in which compilers work, has what the others leave."""
_GRACE = 0.15  # share of a part's time, beyond it, after which its process is ended
_LOOK_EVERY = 0.25  # seconds between two looks at what a part has found


@dataclass
class Outcome:
    """What became of a part."""

    status: str = "not measured"
    """done, cut short, failed, running or not measured."""
    seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""


def run_parts(
    settings: Settings, parts: list[Part], *, limit: float, changed: Callable[[Mapping[str, Outcome]], None]
) -> dict[str, Outcome]:
    """Measure `parts` one after the other within `limit` seconds.

    Args:
        settings: What is measured.
        parts: Of `PARTS`.
        limit: Seconds for all of them; those for which none are left stay "not measured".
        changed: Told what is known whenever there is more of it.
    """
    began = time.monotonic()
    outcomes = {part.name: Outcome() for part in parts}
    with tempfile.TemporaryDirectory(prefix="check_card_") as folder:
        for part in parts:
            left = limit - (time.monotonic() - began)
            if left > 1:
                _run(part, settings, min(part.seconds, left), Path(folder), outcomes, changed)
    changed(outcomes)
    return outcomes


def why_no_card_elsewhere() -> str:
    """Why there is no card to measure, or nothing; another process asks, for none forks after CUDA."""
    with _without_warnings_of_forks(), _context().Pool(1) as pool:
        return pool.apply(_why_no_card)


def _why_no_card() -> str:
    return "" if torch.cuda.is_available() else why_no_card()


def _context() -> Any:
    """Forked where that is possible: a child has torch imported already, and nothing here has touched the card."""
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    return multiprocessing.get_context(method)  # the common base of contexts declares no Process


@contextmanager
def _without_warnings_of_forks() -> Iterator[None]:
    """Python 3.12 warns of threads of torch, which hold nothing here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _run(
    part: Part,
    settings: Settings,
    seconds: float,
    folder: Path,
    outcomes: Mapping[str, Outcome],
    changed: Callable[[Mapping[str, Outcome]], None],
) -> None:
    """One part in a process of its own; its rows come through a file, which outlives it."""
    outcome, rows = outcomes[part.name], folder / f"{part.name}.jsonl"
    rows.touch()
    context = _context()
    began = time.monotonic()
    process = context.Process(target=_child, args=(part, settings, seconds, rows))
    with _without_warnings_of_forks():
        process.start()
    outcome.status = "running"
    end = began + seconds * (1 + _GRACE)
    try:
        while process.is_alive() and time.monotonic() < end:
            process.join(_LOOK_EVERY)
            if _take(outcome, rows):
                changed(outcomes)
    finally:  # also of a Ctrl-C, which does not reach the group of the part
        cut = process.is_alive()
        if cut:
            _end(process.pid)
        process.join()
    outcome.seconds = round(time.monotonic() - began, 1)
    _take(outcome, rows)
    unmeasured = any(row.get("failed") == "no time was left" for row in outcome.rows)
    outcome.status = "cut short" if cut or unmeasured else "failed" if process.exitcode else "done"
    if process.exitcode and not cut and not outcome.error:
        outcome.error = f"its process ended with exit status {process.exitcode}"
    changed(outcomes)


def _take(outcome: Outcome, rows: Path) -> bool:
    """Read what there is; whether there is more than before."""
    before = len(outcome.rows)
    lines = [
        json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines(True) if line[-1] == "\n"
    ]
    outcome.rows = [line for line in lines if "error" not in line]
    outcome.error = next((line["error"] for line in lines if "error" in line), "")
    return len(outcome.rows) > before


def _end(pid: int | None) -> None:
    """End a part with the processes that it started."""
    if pid is None:
        return
    if not hasattr(os, "killpg"):
        os.kill(pid, signal.SIGTERM)
        return
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # it has not become a group yet
        os.kill(pid, signal.SIGKILL)


def _child(part: Part, settings: Settings, seconds: float, rows: Path) -> None:
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # to be ended together with data workers and compilers
    warnings.filterwarnings("ignore")  # of torch about precisions that are compared here
    until = time.monotonic() + seconds
    with rows.open("a", encoding="utf-8") as file:

        def report(row: Mapping[str, Any]) -> None:
            file.write(strict_json(row))
            file.flush()

        try:
            part.measure(settings, report, until)
        except Exception as error:
            traceback.print_exc()
            report({"error": f"{type(error).__name__}: {error}"})
            raise SystemExit(1) from error
