"""How a run ends where nobody expects it: before the first step, after the end, without a console."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import forked
import psutil
import pytest
import small_run

from traiNNer.build import run_end, session
from traiNNer.cli import train as launch


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    small_run.write_data(path)
    return path


def configured(folder, name, **train):
    return small_run.write_options(folder, {**small_run.options(folder, **train), "name": name})


def started(file, *arguments, **settings):
    command = [sys.executable, str(small_run.ROOT / "train.py"), "-opt", str(file), *arguments]
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, **settings}
    return subprocess.Popen(command, start_new_session=True, **settings)


def wait_for(condition, seconds=60):
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.05)


@pytest.mark.parametrize("where", ["load_options", "choose_device", "open_sets", "build_parts", "audit"])
def test_a_signal_before_the_first_step_ends_in_words(folder, monkeypatch, where):
    then = getattr(session, where)

    def interrupted(*arguments, **settings):
        os.kill(os.getpid(), signal.SIGTERM)
        return then(*arguments, **settings)

    monkeypatch.setattr(session, where, interrupted)
    before = signal.getsignal(signal.SIGTERM)
    printed = small_run.train(configured(folder, "early"))
    assert printed.returncode == 0
    assert "SIGTERM: stopped before the first step; there is nothing to save" in printed.stderr
    assert "Traceback" not in printed.stdout + printed.stderr
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_the_program_loads_ends_without_a_traceback(folder, number):
    process = started(configured(folder, "loading"))
    wait_for(lambda: catches(process, signal.SIGTERM))  # sent as early as it can be
    os.killpg(process.pid, number)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0, printed
    assert f"{number.name}: stopped before the first step" in printed
    assert "Traceback" not in printed


def catches(process, number):
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return int(caught, 16) >> (number - 1) & 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_a_signal_after_the_last_save_changes_nothing(folder, monkeypatch, number):
    monkeypatch.setattr(run_end, "try_report", lambda root: os.kill(os.getpid(), number))
    printed = small_run.train(configured(folder, f"late{number}", total_iter=2))
    assert printed.returncode == 0
    assert "Traceback" not in printed.stdout + printed.stderr
    summary = json.loads((folder / f"experiments/late{number}/summary.json").read_text())
    assert summary["status"] == "completed"


def test_a_second_signal_ends_at_once_with_status_130(folder, monkeypatch):
    def twice(trainer, stop):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("not reached")

    monkeypatch.setattr(session.Trainer, "fit", twice)
    assert small_run.train(configured(folder, "twice_asked")).returncode == 130
    summary = json.loads((folder / "experiments/twice_asked/summary.json").read_text())
    assert summary["status"] == "interrupted"


def test_nohup_keeps_a_run_alive_when_the_terminal_closes(folder, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(
            session, "open_sets", lambda *a, then=session.open_sets, **k: hung_up(then, *a, **k)
        )
        assert small_run.train(configured(folder, "nohup", total_iter=2)).returncode == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    summary = json.loads((folder / "experiments/nohup/summary.json").read_text())
    assert summary["status"] == "completed"


def hung_up(then, *arguments, **settings):
    os.kill(os.getpid(), signal.SIGHUP)
    return then(*arguments, **settings)


def test_a_run_whose_terminal_closes_is_saved(folder):
    file = configured(folder, "closed", total_iter=100_000)
    run = folder / "experiments/closed"
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # or tests under nohup would wait for all its steps
        arguments = [str(small_run.ROOT / "train.py"), "-opt", str(file), "val.val_enabled=false"]
        os.execv(sys.executable, [sys.executable, *arguments])
    os.set_blocking(terminal, False)

    def steps_are_done():
        with suppress(BlockingIOError):
            os.read(terminal, 1 << 16)
        return (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size

    wait_for(steps_are_done)
    os.close(terminal)  # the kernel sends SIGHUP, and every write fails from now on
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["status"], summary["reason"].split()[0]) == ("interrupted", "SIGHUP")
    assert (run / f"training_states/{summary['iterations']}.state").exists()


def test_after_sigkill_nothing_is_waited_for_though_a_worker_is_still_there(folder):
    file = configured(folder, "killed", total_iter=100_000)
    more = ("datasets.train.num_worker_per_gpu=1", "val.val_enabled=false")
    process = forked.start(launch.main, ["-opt", str(file), *more], output=folder / "killed.txt")
    states = folder / "experiments/killed/training_states"
    wait_for(lambda: any(states.glob("*.state")))
    workers = psutil.Process(process.pid).children(recursive=True)
    for worker in workers:
        worker.suspend()
    process.kill()
    process.join()
    newest = max(int(path.stem) for path in states.glob("*.state"))
    again = small_run.train(file, more[1], f"train.total_iter={newest + 2}", "--auto_resume")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "is training" not in again.stdout + again.stderr
    assert f"iteration {newest:,}" in again.stdout
    for worker in workers:
        worker.resume()
    _, left = psutil.wait_procs(workers, timeout=30)
    assert len(workers) > 1 and not left  # though their parent, a fork server, lives as long as they do


@pytest.mark.parametrize("encoding", ["cp1252", pytest.param("ascii", marks=pytest.mark.slow)])
def test_a_console_that_cannot_show_a_name_does_not_end_the_run(folder, encoding):
    tree = {**small_run.options(folder, total_iter=1), "name": f"names_{encoding}"}
    photographs = folder / encoding / "\u5199\u771f \u03a9"
    shutil.copytree(folder / "demo", photographs)
    for part, of in (("train", "train"), ("val", "val")):
        tree["datasets"][part]["dataroot_gt"] = str(photographs / of / "HR")
        tree["datasets"][part]["dataroot_lq"] = str(photographs / of / "LRx2")
    tree["datasets"]["train"]["cache"] = "disk"  # whose making is told with the name of the folder
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    file = small_run.write_options(folder, tree)
    process = started(file, env=environment, text=False)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0, printed
    assert b"Error" not in printed
    assert b"\\u5199\\u771f" in printed
    log = (folder / f"experiments/names_{encoding}/train_names_{encoding}.log").read_text(encoding="utf-8")
    assert "\u5199\u771f \u03a9" in log


def test_what_was_said_before_the_log_file_exists_is_in_it_too(folder):
    configuration = {**small_run.options(folder, total_iter=1), "name": "told"}
    configuration["datasets"]["train"]["lq_size"] = 60  # larger than the images
    printed = small_run.train(small_run.write_options(folder, configuration), "num_gpu=0")
    assert printed.returncode == 0, printed.stdout + printed.stderr
    log = (folder / "experiments/told/train_told.log").read_text()
    assert log.count("images are smaller than the crop") == 1
    assert "datasets.train: 6 pairs" in log
    assert log.index("datasets.train: 6 pairs") < log.index("traiNNer ")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_of_the_output_that_ends_first_ends_no_run(folder, unbuffered):
    file = configured(folder, f"piped{unbuffered}", total_iter=2)
    process = started(file, env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    summary = json.loads((folder / f"experiments/piped{unbuffered}/summary.json").read_text())
    assert summary["status"] == "completed"
