"""What a run tells: lines in the log, JSON records, TensorBoard, a live line on a terminal."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID, TextColumn
from rich.table import Column

from traiNNer.automations import Proposal
from traiNNer.automations.diagnosis import Finding, diagnose
from traiNNer.control import Controls, Plain, from_plain, to_plain
from traiNNer.data.image_io import write_image
from traiNNer.data.paired_dataset import Pixels
from traiNNer.events import Event, ValidationEvent, WindowEvent
from traiNNer.inference.images import Shown
from traiNNer.runtime.run_dir import RunFolder, atomic_write
from traiNNer.tracking.decisions import decision_record, sentence
from traiNNer.tracking.health import Health
from traiNNer.tracking.jsonl import JsonLines, finite
from traiNNer.tracking.tensorboard import Dashboard, control_scalars, health_scalars

_log = logging.getLogger(__name__)

_STRIPS = 4  # images of each validation set that the dashboard shows
_CRITIC = ("l_d", "out_d_real", "out_d_fake")  # of the log line
_STRIP_SIDE = 384  # pixels of each that it shows, from the middle


@dataclass
class _Pending(Plain):
    """Steps since the last training record."""

    steps: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    """Sums over those of them in which the loss was on; `total` is in all."""
    counts: dict[str, int] = field(default_factory=dict)
    """How many those are."""
    norms: dict[str, list[float]] = field(default_factory=dict)
    discriminator: dict[str, list[float]] = field(default_factory=dict)
    skipped: int = 0

    def __post_init__(self) -> None:
        if not self.counts:  # of a state from before losses were counted
            self.counts = dict.fromkeys(self.losses, self.steps)


@dataclass
class _Speed:
    """Of the last window; not part of any record that a resumed run must repeat."""

    iterations: float = 0.0
    samples: float = 0.0
    data_wait: float = 0.0


class Recorder:
    """Writes everything that a run has to say. Only the main process has one.

    Args:
        folder: Of the run.
        total_iter: Planned steps, for the time that is left.
        print_freq: Steps between training records.
        save_images: Write every validated image as a file.
        health: Makes the lines of health.jsonl and the diagnosis.
        image_suffix: Added to their names.
        dashboard: TensorBoard, or None.
        console: The terminal to draw a live line on, or None for plain log lines.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        total_iter: int,
        print_freq: int,
        save_images: bool,
        health: Health,
        image_suffix: str = "",
        dashboard: Dashboard | None,
        console: Console | None,
    ) -> None:
        self._folder = folder
        self._total_iter, self._print_freq = total_iter, print_freq
        self._dashboard, self._save_images, self._health = dashboard, save_images, health
        self._image_suffix = image_suffix
        self._journals = {
            name: JsonLines(folder.file(f"{name}.jsonl"))
            for name in ("metrics", "decisions", "events", "health")
        }
        self._pending = _Pending()
        self._speed = _Speed()
        self._scores = ""
        self._live = _Live(console, total_iter) if console else None

    def event(self, event: Event, controls: Controls, step: int) -> None:
        """Record an event as the automations see it; the steps of a window also go to log and curves."""
        self._journals["events"].append({"iter": step, "kind": type(event).__name__, **to_plain(event)})
        for line in self._health.records(event, controls):
            self._journals["health"].append(line)
            if self._dashboard:
                self._dashboard.scalars(line["iter"], health_scalars(line))
        if isinstance(event, WindowEvent):
            self._steps(event, controls)

    def _steps(self, event: WindowEvent, controls: Controls) -> None:
        """Take in a window of steps; every `print_freq` steps become one record."""
        first = event.step - len(event.total)
        if event.seconds > 0:
            rate = len(event.total) / event.seconds
            self._speed = _Speed(rate, event.samples_per_second, event.data_wait)
        for row in range(len(event.total)):
            self._add(event, row)
            if (first + row + 1) % self._print_freq == 0:
                self._training_record(first + row + 1, event, controls)
        if self._live:
            self._live.update(event.step, self._line(event.step, event.lr, event.total[-1]))

    def validation(self, event: ValidationEvent, best: str) -> None:
        """Record the scores of a validation; `best` says in words what the best so far is."""
        for name, scores in event.sets.items():
            means, baseline = scores.means, scores.baseline_means
            self._journals["metrics"].append(
                {"iter": event.step, "kind": "val", "set": name, "metrics": means, "bicubic": baseline}
            )
            text = ", ".join(f"{m} {means[m]:.4f} (bicubic {baseline[m]:.4f})" for m in means)
            _log.info("Validation %s, iter %s: %s", name, f"{event.step:,}", text)
            if self._dashboard:
                self._dashboard.scalars(event.step, {f"val/{name}/{m}": v for m, v in means.items()})
        first = next(iter(event.sets.values()))
        label = next(iter(first.metrics))
        self._scores = f"{label} {first.means[label]:.3f} (best {best})"

    def image(self, step: int) -> Callable[[Shown], None] | None:
        """What to do with each validated image, if anything: strips for the dashboard, files where wanted."""
        if not self._save_images and self._dashboard is None:
            return None

        def show(shown: Shown) -> None:
            if self._dashboard and shown.number < _STRIPS:
                self._dashboard.strip(step, f"{shown.set_name}/{shown.name}", _strip(shown))
            if self._save_images:
                folder = self._folder.visualization / shown.set_name / shown.name
                path = folder / f"{Path(shown.name).name}_{step}{self._image_suffix}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_image(path, shown.output)

        return show

    def decision(self, step: int, proposal: Proposal, controls: Controls) -> None:
        """Record what an automation decided, or would have decided; `controls` as they are before it."""
        decision, record = proposal.decision, decision_record(step, proposal, controls)
        said = sentence(decision, controls)
        suffix = "" if proposal.applied else " (monitor only, not applied)"
        level = logging.getLevelNamesMapping()[decision.level]
        _log.log(level, "Automation %s: %s%s", proposal.automation, said, suffix)
        self._journals["decisions"].append(record)
        if self._dashboard:
            tag = f"decisions/{proposal.automation}"
            self._dashboard.text(step, tag, said + suffix)
            if not isinstance(record["new"], str):
                self._dashboard.scalars(step, {f"{tag}/{record['parameter']}": record["new"]})

    def state_dict(self) -> dict[str, Any]:
        """The steps since the last training record, and how long the records are, all safe on the disk."""
        return {
            "pending": to_plain(self._pending),
            "health": self._health.state_dict(),
            "lengths": {name: journal.settle() for name, journal in self._journals.items()},
            "dashboard": self._dashboard.settle() if self._dashboard else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there: what was recorded later will be recorded again."""
        self._pending = from_plain(_Pending, state["pending"])
        self._health.load_state_dict(state["health"])
        for name, journal in self._journals.items():
            journal.cut(state["lengths"].get(name, 0))
        if self._dashboard and state.get("dashboard") is not None:  # None: it was switched off
            self._dashboard.cut(state["dashboard"])
        self._write_facts()

    def start_afresh(self) -> None:
        """Remove the records of an earlier attempt that left no state to go on from."""
        for journal in self._journals.values():
            journal.cut(0)
        self._write_facts()

    def diagnosis(self) -> list[Finding]:
        """What the numbers of the run say about its health."""
        return diagnose(self._health.numbers())

    def gradient_flow(self) -> dict[str, Any]:
        """The stabilizer's report on each network, for the summary."""
        return {net: finite(to_plain(report)) for net, report in self._health.flow().items()}

    def close(self) -> None:
        """Finish the dashboard and the live line."""
        if self._dashboard:
            self._dashboard.close()
        if self._live:
            self._live.close()

    def _write_facts(self) -> None:
        """What the automations are told of the run, for `build.replay`."""
        with atomic_write(self._folder.file("facts.json")) as partial:
            partial.write_text(json.dumps(to_plain(self._health.facts), indent=1) + "\n", encoding="utf-8")

    def _add(self, event: WindowEvent, row: int) -> None:
        pending = self._pending
        pending.steps += 1
        for label, values in [*event.losses.items(), ("total", event.total)]:
            if math.isnan(values[row]) and not math.isnan(event.total[row]):
                continue  # it was off
            pending.losses[label] = pending.losses.get(label, 0.0) + values[row]
            pending.counts[label] = pending.counts.get(label, 0) + 1
        for of, values in ((pending.norms, event.grad_norm), (pending.discriminator, event.discriminator)):
            for name, steps in values.items():
                of.setdefault(name, []).append(steps[row])
        pending.skipped += not all(applied[row] for applied in event.applied.values())

    def _training_record(self, step: int, event: WindowEvent, controls: Controls) -> None:
        pending, self._pending = self._pending, _Pending()
        losses = {label: total / pending.counts[label] for label, total in pending.losses.items()}
        norms = {net: fmean(values) for net, values in pending.norms.items()}
        critic = _means(pending.discriminator)
        speed = {
            "it_per_s": self._speed.iterations,
            "samples_per_s": self._speed.samples,
            "data_wait_share": self._speed.data_wait,
            "memory": event.memory_peak,
        }
        record = {"iter": step, "kind": "train", "loss": losses, "lr": event.lr, "grad_norm": norms}
        if critic:
            record["discriminator"] = critic
        self._journals["metrics"].append({**record, "skipped": pending.skipped, "speed": speed})
        wrong = [label for label, value in losses.items() if not math.isfinite(value)]
        if "total" in wrong:
            text = "Iteration %s: loss not finite (%s); %d of the last %d steps were skipped"
            _log.warning(text, f"{step:,}", ", ".join(wrong), pending.skipped, pending.steps)
        message = self._line(step, event.lr, losses["total"])
        message += "".join(f"  {name} {critic.get(name, math.nan):+.3f}" for name in _CRITIC if critic)
        _log.info("%s", message, extra={"routine": True})
        if self._dashboard:
            scalars = {f"train/loss/{label}": value for label, value in losses.items()}
            scalars |= {f"train/grad_norm/{net}": value for net, value in norms.items()}
            scalars |= {f"train/discriminator/{name}": value for name, value in critic.items()}
            scalars |= {f"control/lr_{net}": rate for net, rate in event.lr.items()}
            scalars |= {f"system/{name}": value for name, value in speed.items()}
            self._dashboard.scalars(step, scalars | control_scalars(controls))

    def _line(self, step: int, lr: Mapping[str, float], loss: float) -> str:
        rate = self._speed.iterations
        left = _clock((self._total_iter - step) / rate) if rate else "?"
        line = (
            f"iter {step:,}/{self._total_iter:,}  {rate:.1f} it/s  {self._speed.samples:,.0f} samples/s  "
            f"data wait {self._speed.data_wait:.0%}  ETA {left}  loss {loss:.4e}  lr {lr['g']:.2e}"
        )
        return f"{line}  {self._scores}" if self._scores else line


def _means(lists: Mapping[str, list[float]]) -> dict[str, float]:
    """Of what was measured; NaN stands for a step in which it was not."""
    measured = {name: [x for x in values if not math.isnan(x)] for name, values in lists.items()}
    return {name: fmean(values) for name, values in measured.items() if values}


class _Live:
    """One line at the bottom of the terminal."""

    def __init__(self, console: Console, total: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=False, overflow="fold")),
            console=console,
        )
        self._task: TaskID = self._progress.add_task("starting", total=total)
        self._progress.start()
        self._drawn = 0.0

    def update(self, step: int, text: str) -> None:
        if time.monotonic() - self._drawn > 0.1:
            self._drawn = time.monotonic()
            self._progress.update(self._task, completed=step, description=text)

    def close(self) -> None:
        self._progress.stop()


def _strip(shown: Shown) -> list[Pixels]:
    """LQ (pixels enlarged as they are), bicubic, output, GT: the same part of each."""
    height, width = shown.gt.shape[:2]
    scale = height // shown.lq.shape[0]
    top, left = max(0, (height - _STRIP_SIDE) // 2), max(0, (width - _STRIP_SIDE) // 2)
    enlarged = shown.lq.repeat(scale, axis=0).repeat(scale, axis=1)
    part = (slice(top, top + _STRIP_SIDE), slice(left, left + _STRIP_SIDE))
    return [image[part] for image in (enlarged, shown.bicubic, shown.output, shown.gt)]


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
