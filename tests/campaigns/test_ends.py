"""Runs that end at any moment, by any hand: in words, whole, and to be gone on with in the same bits."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import small_run
from campaigns.attempts import Attempts, Findings, left_whole
from cli.test_endings import catches
from safetensors.torch import load_file

from traiNNer.training.checkpoint import read_state

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGKILL)


def started(file, *words, **settings):
    command = [sys.executable, str(small_run.ROOT / "train.py"), "-opt", str(file), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        **settings,
    )


def wait_for_handlers(process):
    """Before them a signal ends Python itself, which nothing of the program can change."""
    while process.poll() is None and not catches(process, signal.SIGTERM):
        time.sleep(0.002)


def whole_states(run):
    """Every state can be read; their steps."""
    paths = list((run / "training_states").glob("*.state"))
    for path in paths:
        read_state(path)
    return sorted(int(path.stem) for path in paths)


@pytest.mark.slow
def test_a_run_stopped_at_random_moments_ends_in_the_same_bits(tmp_path):
    """Six runs of 300 steps, each stopped up to five times: in start-up, steps, validations, savings, the end."""
    attempts, rng, findings = Attempts(tmp_path), random.Random(29), Findings()
    options = attempts.options(total_iter=300)
    options["val"] = {"val_freq": 7}
    options["logger"] |= {"save_checkpoint_freq": 11, "print_freq": 10}
    root = tmp_path / "experiments"
    _, _, told = attempts.run(options, "whole")
    assert told["status"] == "completed"
    whole = load_file(root / options["name"] / "models/net_g_300.safetensors")
    for index in range(6):
        options["name"] = f"stopped{index}"
        file, run = small_run.write_options(tmp_path, options), root / options["name"]
        with findings.gather():
            sent = []
            for _ in range(5):
                process = started(file, "--auto_resume")
                number, before = rng.choice(SIGNALS), rng.random() < 0.2
                wait_for_handlers(process)
                while not before and process.poll() is None and not (run / "training_states").is_dir():
                    time.sleep(0.02)
                time.sleep(rng.uniform(0, 0.2 if before and rng.random() < 0.5 else 2))
                sent.append((number.name, process.poll()))
                if process.poll() is None:
                    os.kill(process.pid, number)
                began = time.monotonic()
                said, _ = process.communicate(timeout=120)
                about = index, sent, time.monotonic() - began
                assert process.returncode in ((-9, 0) if number == signal.SIGKILL else (0,)), (about, said)
                assert "Traceback" not in said, (about, said)
                whole_states(run)
                if number != signal.SIGKILL:
                    left_whole(run, about)
            process = started(file, "--auto_resume")
            said, _ = process.communicate(timeout=240)
            assert process.returncode == 0, (about, said)
            left_whole(run, about)
            now = load_file(run / "models/net_g_300.safetensors")
            assert all(bool((now[key] == tensor).all()) for key, tensor in whole.items()), about
    findings.none()


def limited(size):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    return limit


@pytest.mark.slow
def test_a_disk_that_fills_up_at_any_size_is_said_and_leaves_what_was_whole(tmp_path):
    attempts, rng, findings = Attempts(tmp_path), random.Random(31), Findings()
    before, ends = resource.getrlimit(resource.RLIMIT_FSIZE), []
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for index in range(60):
        options = attempts.options(total_iter=8)
        options["logger"]["use_tb_logger"] = rng.random() < 0.3
        options["val"]["save_img"] = rng.random() < 0.5
        size = int(10 ** rng.uniform(1.5, 5))
        file, run = small_run.write_options(tmp_path, options), tmp_path / "experiments" / options["name"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            done = small_run.train(file)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        with findings.gather():
            said, about = done.stdout + done.stderr, (index, size, options)
            ends.append(done.returncode)
            assert done.returncode in (0, 1), (about, said)
            assert "Traceback" not in said, (about, said)
            assert not done.returncode or "File too large" in said, (about, said)
            assert not list(tmp_path.glob("experiments/**/*.part*")), about
            assert not done.returncode or str(run) in said or "experiments" in said, (about, said)
            whole_states(run)
            again = small_run.train(file, "--auto_resume")
            assert again.returncode == 0, (about, again)
            assert json.loads((run / "summary.json").read_text())["status"] == "completed"
            left_whole(run, about)
    signal.signal(signal.SIGXFSZ, handler)
    findings.none()
    assert set(ends) == {0, 1}


PLACES = (
    "",
    "experiments",
    "experiments/{name}",
    "experiments/{name}/models",
    "experiments/{name}/training_states",
)


def by_nobody(file, *words):
    """`train.py` in a process of a user who owns nothing: its exit status and what it printed."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        done = small_run.train(file, *words)
        os.write(write, (done.stdout + done.stderr).encode())
        os._exit(done.returncode)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not write")
def test_a_folder_that_may_not_be_written_is_named():
    """Of the run, of what is above it, and of what is inside, before the run and when it goes on."""
    with tempfile.TemporaryDirectory() as name:
        tmp_path, findings = Path(name), Findings()
        tmp_path.chmod(0o777)
        attempts = Attempts(tmp_path)
        attempts.run(attempts.options(), "everything is imported")
        for place in PLACES:
            options = attempts.options()
            folder = tmp_path / place.format(name=options["name"])
            attempts.clear()
            (tmp_path / "experiments").mkdir()
            (tmp_path / "experiments").chmod(0o777)
            file = small_run.write_options(tmp_path, options)
            if place.endswith(("models", "training_states")):
                status, said = by_nobody(file)
                assert status == 0, said
                options["train"]["total_iter"] = 8
                file = small_run.write_options(tmp_path, options)
            folder.mkdir(parents=True, exist_ok=True)
            inside = (folder, *folder.rglob("*")) if place else (folder,)
            for path in inside:
                path.chmod(0o555 if path.is_dir() else 0o444)
            if not place:
                (tmp_path / "experiments").rmdir()
            status, said = by_nobody(file, "--auto_resume")
            with findings.gather():
                assert status in (1, 2), (place, said)
                assert "Traceback" not in said, (place, said)
                assert "ermission denied" in said, (place, said)
                assert str(folder) in said, (place, said)
            for path in inside:
                path.chmod(0o777 if path.is_dir() else 0o666)
        findings.none()
