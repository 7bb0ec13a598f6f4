"""How processes that read images end: with the run, whatever ends it, and not by a signal of their own."""

from __future__ import annotations

import atexit
import multiprocessing
import signal


@atexit.register
def _end_workers() -> None:
    """End what still works for this process when it exits: the exit of multiprocessing asks by SIGTERM and waits.

    Registered after multiprocessing's own function, so it runs before that.
    """
    workers = [process for process in multiprocessing.active_children() if process.daemon]
    if workers and hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler complains about workers that end
    for worker in workers:
        worker.kill()


def leave_signals_to_the_parent(worker: int) -> None:
    """Signals to a terminal or a group reach every process; the parent decides when its workers end.

    It tells them through their queues, and they notice when it is gone.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
