"""How processes that read images end: with the run, whatever ends it, and not by a signal of their own."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import threading
from multiprocessing.process import BaseProcess


def end_with_parent() -> None:
    """Let this process end at once where the one that asked for it is gone, killed say.

    torch's workers look for another parent of theirs. Where a fork server has made them (Python 3.14) that is the
    server, which lives as long as one of them does: both would stay for ever.
    """
    if parent := multiprocessing.parent_process():
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


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


def follow_parent(worker: int) -> None:
    """What a worker does first: let the parent decide when it ends, by a queue or by being gone.

    Signals to a terminal or a group reach every process, and workers ignore them.
    """
    end_with_parent()
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
