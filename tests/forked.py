"""Processes forked from one that has imported the program: each is spared the seconds that a new Python takes."""

import contextlib
import multiprocessing
import os
import socket
import sys
from pathlib import Path

import torch

_PRELOADED = ["traiNNer.cli.train", "traiNNer.build.session", "traiNNer.build.what_next"]


def start(target, *arguments, output, **environment):
    """A process, the first of a group, that ends with what `target` returns; `output` gets all it prints."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    process = context.Process(target=_run, args=(target, arguments, str(output), environment))
    process.start()
    return process


def start_together(count, target, *arguments, folder, **environment):
    """As many processes as torchrun would start, with the variables that it sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), **environment}
    return [
        start(
            target,
            *arguments,
            output=folder / f"rank{rank}.txt",
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            **common,
        )
        for rank in range(count)
    ]


def wait(processes, *, seconds=240):
    """Let all end; those that are left after that time are killed."""
    for process in processes:
        process.join(seconds)
        process.kill()
        process.join()
    return [process.exitcode for process in processes]


def _run(target, arguments, output, environment):
    os.setsid()
    os.environ.update(environment)
    torch.set_num_threads(1)
    with Path(output).open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            status = target(*arguments)  # what it raises is printed into the file and ends in status 1
    sys.exit(status)
