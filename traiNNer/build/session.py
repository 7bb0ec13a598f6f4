"""One call of `train.py`: from the options to a trained network and the words at its end."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from filelock import BaseFileLock
from rich.console import Console

from traiNNer import __version__
from traiNNer.automations.rate.rate_search import LearningRateSearch
from traiNNer.build.auto_batch import BATCH, choose_batch
from traiNNer.build.check import check_parts, idle_parts
from traiNNer.build.data import open_sets
from traiNNer.build.defaults import derive
from traiNNer.build.degrading import Degrading, look_at_degrading, with_workers
from traiNNer.build.model import training
from traiNNer.build.on_end import tell
from traiNNer.build.origin import origin, refuse_other_networks, say_how_rates_change, say_what_changed
from traiNNer.build.outputs import output_settings, run_folder
from traiNNer.build.recognised_network import with_recognised_network
from traiNNer.build.run import build_parts
from traiNNer.build.run_end import run_to_its_end, say_how_it_ended
from traiNNer.data.pairs.audit import audit
from traiNNer.data.single_dataset import MeasuredDataset
from traiNNer.data.training_set import TrainingSet
from traiNNer.options import Options, dump_resolved, load_options
from traiNNer.release.chainner import outlook
from traiNNer.runtime.console import end_logging, log_to_file, start_logging
from traiNNer.runtime.device import choose_device, configure_torch, environment
from traiNNer.runtime.distributed import DistributedContext
from traiNNer.runtime.run_dir import atomic_write
from traiNNer.runtime.signals import StopSignal
from traiNNer.training.checkpoint import Checkpointer, Start, starting_state
from traiNNer.training.open_run import open_run
from traiNNer.training.parts import Parts
from traiNNer.training.trainer import Trainer
from traiNNer.wording import command, counted

_log = logging.getLogger(__name__)


_AUDITED_IN_CHECK = 64  # pairs
_DEGRADED_IN_CHECK, _DEGRADED_AT_START = 32, 8  # samples
_AUDITED_AT_START = 16  # enough to notice shifted, swapped or darkened sets without delaying the run


class Session:
    """A run being prepared, and then run.

    Args:
        options: Nothing is `auto` any more but the batch, which takes the data to find.
        processes: This process and its collectives.
        device: Of this process.
        sets: Training set and validation sets by name.
        console: The terminal, or None for a pipe.
        degrading: Of the training set, where it makes its LQ images.
    """

    def __init__(
        self,
        options: Options,
        processes: DistributedContext,
        device: torch.device,
        sets: tuple[TrainingSet, dict[str, MeasuredDataset]],
        console: Console | None,
        degrading: Degrading | None = None,
    ) -> None:
        self.options, self.processes, self.device = options, processes, device
        self.train_set, self.val_sets = sets
        self.console, self._degrading = console, degrading
        self.folder = run_folder(options)
        self._lock: BaseFileLock | None = None

    @classmethod
    def prepare(cls, path: Path, overrides: Sequence[str], *, check: bool) -> Session:
        """Read the options, join the other processes, open the data. Writes nothing but missing demo data.

        Raises:
            ConfigError: With every mistake in the file, or in the data.
        """
        options = load_options(path, overrides, check=check_parts)
        console = Console() if Console().is_terminal and not check else None
        processes = DistributedContext.start(
            options.launcher, cpu=options.num_gpu == 0 or not torch.cuda.is_available()
        )
        start_logging(console if processes.is_main else None, quiet=not processes.is_main)
        for note in options.notes:
            _log.log(note.level, "%s", note.text)
        for part in idle_parts(options.model_dump()):
            _log.warning("%s: %s", ".".join(map(str, part.path)), part.message)
        options = with_recognised_network(options)
        if isinstance(options.num_gpu, int) and options.num_gpu > processes.world_size:
            _log.warning(
                "num_gpu: %d, but %d process runs; start it by torchrun --nproc_per_node=%d and "
                "--launcher pytorch to use them",
                options.num_gpu,
                processes.world_size,
                options.num_gpu,
            )
        device = choose_device(options.num_gpu, processes.local_rank, local_size=processes.local_size)
        choose_workers = options.datasets["train"].num_worker_per_gpu == "auto"
        options = options.with_derived(derive(options, device, processes.world_size))
        configure_torch(
            device,
            deterministic=options.deterministic,
            fast_matmul=options.fast_matmul,
            detect_anomaly=options.detect_anomaly,
        )
        processes.connect(device)
        sets = open_sets(options, processes, may_write=not check)
        degrading = look_at_degrading(
            options,
            sets[0],
            device,
            processes,
            count=_DEGRADED_IN_CHECK if check else _DEGRADED_AT_START,
            choose_workers=choose_workers,
        )
        return cls(with_workers(options, degrading), processes, device, sets, console, degrading)

    def train(self, stop: StopSignal) -> int:
        """Run to the end, or until `stop` has received a signal; returns the exit status.

        Raises:
            Interrupted: By a signal before the first step.
        """
        if self.processes.is_main and self.folder.has_run():
            self._lock = self.folder.lock()  # before its states are read: another process may still be saving
        self.processes.wait()
        state = starting_state(
            self.folder,
            self.processes,
            auto_resume=self.options.auto_resume,
            resume_state=self.options.path.resume_state,
        )
        how = self._settle_batch(state)
        made_of = origin(self.options, self.device) if self.processes.is_main else None
        parts = self._build(state)  # before any file is touched: mistakes that only building finds come first
        if state and made_of:
            refuse_other_networks(state, made_of, parts.model.generator.net)
        if self.processes.is_main:
            self._lock = self._lock or self.folder.lock()
            self._open_folder(state)
            if how:
                _log.info("batch_size_per_gpu: auto: %s", how)
            self._audit(_AUDITED_AT_START, every_line=False)
            self._say_what_degrading_does()
        trainer = self._open_run(parts, state, made_of)
        if state and made_of:
            changed = say_what_changed(state.parts.get("origin"), made_of)
            if changed.settings and trainer.progress.time < trainer.parts.plan.total_iter:
                train = training(self.options)
                kind = (train.scheduler or {}).get("type", "its schedule")
                schedule = f"{kind} over {counted(train.total_iter, 'iteration', form=',')}"
                say_how_rates_change(state.parts.get("learning_rates"), trainer.next_rates(), schedule)
        stop.defer()
        end = run_to_its_end(trainer, stop)
        say_how_it_ended(trainer, self.folder, self.device, self.console, end)
        tell(self.options.logger.on_end, trainer, self.folder, end)
        if end.problem:
            raise end.problem
        return end.exit_status

    def check(self) -> int:
        """Build everything, run one step and one validation image, print what was found, write nothing."""
        findings = self._audit(_AUDITED_IN_CHECK, every_line=True)
        if not findings:
            _log.info("The data: nothing suspicious in the pairs looked at")
        self._say_what_degrading_does()
        if how := self._settle_batch(None):
            _log.info("batch_size_per_gpu: auto: %s", how)
        parts = self._build(None)
        _say_where_weights_load(parts)
        search = parts.supervisor.automations.get(LearningRateSearch.name)
        if isinstance(search, LearningRateSearch):
            _log.info("optim_g.lr: auto: %s", search.outlook)
        if wrong := Trainer(parts).rehearse():
            _log.error("Not finite after one step: %s", "; ".join(wrong))
            return 1
        total = sum(p.numel() for p in parts.model.generator.net.parameters())
        _log.info(
            "One step and one validation image went through; the network has %s parameters", f"{total:,}"
        )
        return 0

    def _say_what_degrading_does(self) -> None:
        for line in self._degrading.lines() if self._degrading else ():
            _log.info("datasets.train: %s", line)

    def _audit(self, count: int, *, every_line: bool) -> int:
        """Look at some training pairs and say what is suspicious; returns the number of findings."""
        report = audit(self.train_set, count, seed=int(self.options.manual_seed))
        for line in report.lines() if every_line else []:
            _log.info("%s", line)
        for finding in report.findings:
            _log.warning("datasets.train: %s", finding)
        return len(report.findings)

    def close(self) -> None:
        """Leave the other processes and close the log."""
        if self._lock:
            self._lock.release()
        self.processes.end()
        end_logging()

    # --- assembling ----------------------------------------------------------------------------------------

    def _settle_batch(self, state: Start | None) -> str:
        """Put a number in the place of an automatic batch; says how it was found, or nothing."""
        if self.options.datasets["train"].batch_size_per_gpu != "auto":
            return ""
        if state:
            batch = int(state.parts["configured"]["micro_batch"])
            how = f"{batch}, as when the run began"
        else:
            batch, how = choose_batch(
                self.options, self.device, self.processes, self.train_set, self.val_sets
            )
        self.options = self.options.with_derived({BATCH: batch})
        return how

    def _build(self, state: Start | None) -> Parts:
        sets, saved = (self.train_set, self.val_sets), state.parts if state else None
        parts = build_parts(self.options, self.processes, self.device, *sets, saved)
        return replace(parts, data_cost=self._degrading.cost if self._degrading else None)

    def _open_run(self, parts: Parts, state: Start | None, made_of: Mapping[str, Any] | None) -> Trainer:
        _say_where_weights_load(parts)
        environment_rows = [f"| {key} | {value} |" for key, value in environment(self.device).items()]
        trainer = open_run(
            parts,
            self.folder,
            output_settings(self.options),
            start=state,
            console=self.console,
            origin=made_of,
            notes={
                "configuration": f"```yaml\n{dump_resolved(self.options)}\n```",
                "environment": "\n".join(["| | |", "|---|---|", *environment_rows]),
            },
        )
        if state:
            _log.info("Going on from %s, iteration %s", state.path, f"{state.step:,}")
            if trainer.progress.time >= (total := training(self.options).total_iter):
                _log.info("Nothing to do: all %s iterations are done; raise train.total_iter", f"{total:,}")
        return trainer

    def _open_folder(self, state: Start | None) -> None:
        if state is None and not self.options.auto_resume and self.folder.has_run():
            _log.info("An earlier run of this name was moved to %s", self.folder.archive())
        if not self.options.auto_resume:
            Checkpointer(self.folder).set_aside_after(state.step if state else -1)
        self.folder.remove_partial_files()
        log_to_file(self.folder.log_file)
        with atomic_write(self.folder.file("resolved.yml")) as partial:
            partial.write_text(dump_resolved(self.options), encoding="utf-8")
        _log.info("traiNNer %s: %s on %s", __version__, self.options.name, self.device)


def _say_where_weights_load(parts: Parts) -> None:
    """A line where the weights of a run will be of use in this program and as ONNX alone."""
    options: Mapping[str, Any] = parts.model.generator.net.options  # type: ignore[assignment]  # every network has it
    if reason := outlook(parts.metadata["g"]["architecture"], options):
        _log.info("chaiNNer %s: use the .onnx that `%s` writes", reason, command("export", "--onnx"))
