"""What a run tells: lines in the log, JSON records, TensorBoard, a live line on a terminal."""

from __future__ import annotations

import logging
import math
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from rich.console import Console

from traiNNer.automations import Proposal
from traiNNer.automations.diagnosis import Finding, diagnose
from traiNNer.automations.rate.rate_search import SetSearchedRate
from traiNNer.control import Controls, to_plain
from traiNNer.events import Event, ValidationEvent, WindowEvent
from traiNNer.runtime.run_dir import RunFolder, atomic_write
from traiNNer.tracking.board import Board
from traiNNer.tracking.decisions import decision_record, sentence
from traiNNer.tracking.health import Health, Line
from traiNNer.tracking.jsonl import JsonLines, finite, strict_json
from traiNNer.tracking.left_out import left_out_lines
from traiNNer.tracking.live_line import LiveLine
from traiNNer.tracking.tensorboard import control_scalars, health_scalars
from traiNNer.tracking.training_line import TrainingLine
from traiNNer.tracking.trials import search_text
from traiNNer.tracking.validation_images import Strip

_log = logging.getLogger(__name__)


class Recorder:
    """Writes everything that a run has to say. Only the main process has one.

    Args:
        folder: Of the run.
        total_iter: Planned steps, for the time that is left.
        health: Gathers what the records are made of, and the diagnosis.
        boards: Show the run while it goes on.
        console: The terminal to draw a live line on, or None for plain log lines.
        sensors: Readings of the card by name, for every training record; empty where there are none.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        total_iter: int,
        health: Health,
        boards: Sequence[Board] = (),
        console: Console | None = None,
        sensors: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self._folder, self._line = folder, TrainingLine(total_iter, health.facts.batch, health.data_cost)
        self._boards, self._health = boards, health
        self._journals = {
            name: JsonLines(folder.file(f"{name}.jsonl"))
            for name in ("metrics", "decisions", "events", "health")
        }
        self._sensors = sensors
        self._said = set[str]()
        self._live = LiveLine(console, total_iter) if console else None

    def event(self, event: Event, controls: Controls, step: int) -> None:
        """Record an event as the automations see it; `controls` as they were when it happened."""
        self._journals["events"].append({"iter": step, "kind": type(event).__name__, **to_plain(event)})
        match event:
            case WindowEvent():
                for line in self._health.window(event, controls):
                    self._health_record(line.record)
                    self._training_record(line, event, controls)
                if self._live:
                    text = self._line.text(event.step, event.progress, event.lr, _last_losses(event))
                    self._live.update(event.step, text)
            case ValidationEvent():
                self._health_record(self._health.validation(event))

    def _health_record(self, record: Mapping[str, Any]) -> None:
        self._journals["health"].append(record)
        self._show(record["iter"], health_scalars(record))

    def validation(self, event: ValidationEvent, best: str) -> None:
        """Record the scores of a validation; `best` says in words what the best so far is."""
        for line in left_out_lines(event):
            if line not in self._said:
                self._said.add(line)
                _log.warning("%s", line)
        for name, scores in event.sets.items():
            if not scores.metrics:  # images alone, and no metric that needs nothing to compare with
                continue
            means, baseline = scores.means, scores.baseline_means
            self._journals["metrics"].append(
                {"iter": event.step, "kind": "val", "set": name, "metrics": means, "bicubic": baseline}
            )
            text = ", ".join(f"{m} {means[m]:.4f} (bicubic {baseline[m]:.4f})" for m in means)
            _log.info("Validation %s, iter %s: %s", name, f"{event.step:,}", text)
            self._show(event.step, {f"val/{name}/{m}": v for m, v in means.items()})
        first = next(iter(event.sets.values()))
        label = next(iter(first.metrics))
        self._line.scores = f"{label} {first.means[label]:.3f} (best {best})"

    def strips(self, step: int, strips: Sequence[Strip]) -> None:
        """Show images of a validation."""
        for board in self._boards:
            for strip in strips:
                board.strip(step, strip.tag, strip.images)

    def decision(self, step: int, proposal: Proposal, controls: Controls) -> None:
        """Record what an automation decided, or would have decided; `controls` as they are before it."""
        decision, record = proposal.decision, decision_record(step, proposal, controls)
        said = sentence(decision, controls)
        suffix = "" if proposal.applied else " (monitor only, not applied)"
        level = logging.getLevelNamesMapping()[decision.level]
        _log.log(level, "Automation %s: %s%s", proposal.automation, said, suffix)
        self._journals["decisions"].append(record)
        trials = search_text(decision) if isinstance(decision, SetSearchedRate) else ""
        if trials:
            _log.info("Automation %s: what the trials showed\n%s", proposal.automation, trials)
        tag = f"decisions/{proposal.automation}"
        for board in self._boards:
            board.text(step, tag, said + suffix)
            if trials:
                board.text(step, f"{tag}/trials", f"```\n{trials}\n```")
        if not isinstance(record["new"], str):
            self._show(step, {f"{tag}/{record['parameter']}": record["new"]})

    def state_dict(self) -> dict[str, Any]:
        """The steps since the last training record, and how long the records are, all safe on the disk."""
        return {
            "health": self._health.state_dict(),
            "lengths": {name: journal.settle() for name, journal in self._journals.items()},
            "dashboard": dict(ChainMap(*(board.settle() for board in self._boards)))
            if self._boards
            else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there: what was recorded later will be recorded again."""
        self._health.load_state_dict(state["health"], state.get("pending"))
        for name, journal in self._journals.items():
            journal.cut(state["lengths"].get(name, 0))
        for board in self._boards if state.get("dashboard") is not None else ():  # None: there was none
            board.cut(state["dashboard"])
        self._prepare_decisions()

    def start_new(self) -> None:
        """Remove the records of an earlier attempt that left no state to go on from."""
        for journal in self._journals.values():
            journal.cut(0)
        for board in self._boards:
            board.cut({})
        self._prepare_decisions()

    def diagnosis(self) -> list[Finding]:
        """What the numbers of the run say about its health."""
        return diagnose(self._health.numbers())

    def gradient_flow(self) -> dict[str, Any]:
        """The stabilizer's report on each network, for the summary."""
        return {net: finite(to_plain(report)) for net, report in self._health.flow().items()}

    def close(self) -> None:
        """Finish the boards and the live line."""
        for board in self._boards:
            board.close()
        if self._live:
            self._live.close()

    def _prepare_decisions(self) -> None:
        """A file for decisions yet to come, and what the automations are told, for `build.replay`."""
        self._journals["decisions"].begin()
        with atomic_write(self._folder.file("facts.json")) as partial:
            partial.write_text(strict_json(to_plain(self._health.facts), indent=1), encoding="utf-8")

    def _training_record(self, line: Line, event: WindowEvent, controls: Controls) -> None:
        step, rates, interval = line.record["iter"], line.record["lr"], line.interval
        losses, critic = interval.mean_losses(), interval.mean_discriminator()
        norms = {net: fmean(values) for net, values in interval.norms.items()}
        self._line.end_interval(interval)
        speed = {**interval.speed._asdict(), "memory": event.memory_peak}
        if cost := self._health.data_cost:
            speed["degrading_share"] = cost.busy(interval.speed.samples_per_s)
        record = {"iter": step, "kind": "train", "loss": losses, "lr": rates, "grad_norm": norms}
        if critic:
            record["discriminator"] = critic
        if card := self._sensors():
            record["card"] = card
        self._journals["metrics"].append({**record, "skipped": interval.unapplied, "speed": speed})
        wrong = [label for label, value in losses.items() if not math.isfinite(value)]
        if "total" in wrong:
            text = "Iteration %s: loss not finite (%s); %d of the last %d steps were skipped"
            _log.warning(text, f"{step:,}", ", ".join(wrong), interval.unapplied, interval.steps)
        progress = event.progress * step / event.step  # a line may be of a step within the window
        text = self._line.text(step, progress, rates, losses, critic)
        _log.info("%s", text, extra={"routine": True})
        scalars = {f"train/loss/{label}": value for label, value in losses.items()}
        scalars |= {f"train/grad_norm/{net}": value for net, value in norms.items()}
        scalars |= {f"train/discriminator/{name}": value for name, value in critic.items()}
        scalars |= {f"control/lr_{net}": rate for net, rate in rates.items()}
        scalars |= {f"system/{name}": value for name, value in (speed | dict(card)).items()}
        self._show(step, scalars | control_scalars(controls))

    def _show(self, step: int, scalars: Mapping[str, float]) -> None:
        for board in self._boards:
            board.scalars(step, scalars)


def _last_losses(event: WindowEvent) -> dict[str, float]:
    """The losses that are on, and their sum, at the last step of a window."""
    last = {label: values[-1] for label, values in event.losses.items()} | {"total": event.total[-1]}
    return {label: value for label, value in last.items() if not math.isnan(value) or label == "total"}
