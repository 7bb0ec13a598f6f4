"""A disk that is full names no file when it is written to, and a library prints tracebacks: both are mended."""

import errno
import logging
import os
import re
import resource
import shutil
import signal
from types import SimpleNamespace

import pytest
import torch

from traiNNer.cli.ending import ends_in_words
from traiNNer.release.weights import write_weights
from traiNNer.runtime.console import end_logging, log_to_file, start_logging
from traiNNer.runtime.os_errors import in_words, naming, with_remedy
from traiNNer.tracking.jsonl import JsonLines
from traiNNer.tracking.tensorboard import Dashboard
from traiNNer.training.checkpoint import write_state


@pytest.fixture
def limited():
    """No file may grow beyond 300 bytes, which says what a full disk says."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_log_that_the_disk_does_not_take_is_said_once_and_ends_nothing(tmp_path, limited, capsys):
    path = tmp_path / "train.log"
    start_logging(None, quiet=False)
    log_to_file(path)
    try:
        for number in range(20):
            logging.getLogger("traiNNer.here").info("a line of some length, number %d", number)
    finally:
        end_logging()
    out, err = capsys.readouterr()
    assert "number 19" in out
    assert err.startswith(f"{path}: File too large (") and err.count("\n") == 1
    assert "choose a folder on another disk; lines are missing in this file" in err
    assert path.read_text().count("number") > 2


def test_records_that_the_disk_does_not_take_are_named(tmp_path, limited):
    lines = JsonLines(tmp_path / "a.jsonl")
    with pytest.raises(OSError, match="File too large") as found:
        for number in range(99):
            lines.append({"iter": number})
    assert in_words(found.value) == f"{tmp_path / 'a.jsonl'}: File too large"


def test_curves_that_the_disk_does_not_take_are_named_and_nothing_is_printed(tmp_path, limited, capfd):
    dashboard = Dashboard(tmp_path, resumed_at=0, metrics=["psnr"], automations=[])
    with pytest.raises(OSError, match="File too large") as found:
        for step in range(99):
            dashboard.scalars(step, {"train/loss/l1": 1.0})
            dashboard.settle()
    assert in_words(found.value) == f"{tmp_path}: File too large"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.state"])
def test_weights_and_states_that_the_disk_does_not_take_are_named_with_their_size(tmp_path, limited, name):
    path, weights = tmp_path / name, {"w": torch.zeros(1000)}
    with pytest.raises(OSError, match="File too large") as found:
        write_state(path, weights) if name == "a.state" else write_weights(path, weights, {})
    assert re.fullmatch(rf"{re.escape(str(path))}: File too large \(.+ free, [345][\d.]+ KiB to be written\); .+",
                        with_remedy(found.value))  # fmt: skip
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EFBIG"])
def test_a_command_that_cannot_write_says_what_where_and_what_to_do(tmp_path, monkeypatch, capsys, kind):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=3 * 2**19))
    number, path = getattr(errno, kind), tmp_path / "missing/x.onnx"

    @ends_in_words
    def write(arguments):
        raise OSError(number, os.strerror(number), str(path))

    assert write() == 1
    said = capsys.readouterr().err
    assert said.startswith(f"{path}: {os.strerror(number)}") and " choose " in said
    full = kind in ("ENOSPC", "EDQUOT", "EFBIG")
    assert ("(1.5 MiB free)" in said) == full
    option = with_remedy(OSError(number, os.strerror(number), str(path)), "path.experiments_root")
    assert option.endswith("(path.experiments_root)") == (full or kind == "EROFS")


def test_an_error_that_names_its_file_keeps_the_name(tmp_path):
    with pytest.raises(OSError, match="here") as found, naming(tmp_path):
        raise OSError(28, "No space left on device", "here")
    assert found.value.filename == "here"
