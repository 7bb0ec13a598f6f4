"""Several machines: two network namespaces joined by a link, one of which loses its power while a run trains."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import small_run
from tiny import assert_same

from traiNNer.training.checkpoint import read_state

MACHINES = {"traiNNer_a": ("tn_a", "10.77.0.1"), "traiNNer_b": ("tn_b", "10.77.0.2")}
FIRST, SECOND = MACHINES
STEPS = 60


def ip(*arguments):
    return subprocess.run(["ip", *arguments], capture_output=True, text=True)


def kill_all(machine):
    """As if the power went: every process of the machine at once."""
    for pid in ip("netns", "pids", machine).stdout.split():
        os.kill(int(pid), signal.SIGKILL)


@contextmanager
def two_machines():
    try:
        for machine in MACHINES:
            if ip("netns", "add", machine).returncode:
                pytest.skip("needs the right to make network namespaces (root, iproute2)")
        (a, _), (b, _) = MACHINES.values()
        made = ip("link", "add", a, "netns", FIRST, "type", "veth", "peer", "name", b, "netns", SECOND)
        if made.returncode:
            pytest.skip(f"needs virtual links: {made.stderr}")
        for machine, (link, address) in MACHINES.items():
            ip("-n", machine, "addr", "add", f"{address}/24", "dev", link)
            for name in (link, "lo"):
                ip("-n", machine, "link", "set", name, "up")
        yield
    finally:
        for machine in MACHINES:
            kill_all(machine)
            ip("netns", "del", machine)


def start(machine, file, log):
    link, address = MACHINES[machine]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": link,
        # or a machine that is new waits for an address that torch (2.9 to 2.14) tells only once
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint={MACHINES[FIRST][1]}:29517", "--rdzv-id=run"]
    meeting += [f"--rdzv-conf=is_host={int(machine == FIRST)}", f"--local-addr={address}", "--max-restarts=3"]
    train = [str(small_run.ROOT / "train.py"), "-opt", str(file), "--auto_resume", "--launcher", "pytorch"]
    command = ["ip", "netns", "exec", machine, *torchrun, *meeting, *train]
    return subprocess.Popen(command, stdout=log.open("a"), stderr=subprocess.STDOUT, env=environment)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ip") is None, reason="needs iproute2")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_run_that_loses_a_machine_ends_in_the_bits_of_one_that_did_not(tmp_path):
    small_run.write_data(tmp_path)
    file = small_run.write_options(tmp_path, small_run.options(tmp_path, total_iter=STEPS))
    states = tmp_path / "experiments/small/training_states"
    logs = {machine: tmp_path / f"{machine}.log" for machine in MACHINES}
    with two_machines():
        one, other = (start(machine, file, logs[machine]) for machine in MACHINES)
        began = time.monotonic()
        while not any(states.glob("*.state")):
            assert time.monotonic() - began < 120, logs[FIRST].read_text()
            time.sleep(0.02)
        kill_all(SECOND)
        other.wait()
        other = start(SECOND, file, logs[SECOND])
        assert one.wait(timeout=180) == 0, logs[FIRST].read_text()
        assert other.wait(timeout=60) == 0, logs[SECOND].read_text()
    assert "Going on from" in logs[FIRST].read_text() + logs[SECOND].read_text()
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    whole = small_run.train_by(torchrun, file, "--launcher", "pytorch", "name=whole")
    assert whole.returncode == 0, whole.stderr
    lost = read_state(states / f"{STEPS}.state")
    uninterrupted = read_state(tmp_path / f"experiments/whole/training_states/{STEPS}.state")
    assert_same(lost["model"], uninterrupted["model"])
