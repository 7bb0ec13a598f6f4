"""A disk that is full names no file when it is written to, and a library prints tracebacks: both are mended."""

import logging
import resource
import signal

import pytest

from traiNNer.runtime.console import end_logging, log_to_file, start_logging
from traiNNer.runtime.os_errors import in_words, naming
from traiNNer.tracking.jsonl import JsonLines
from traiNNer.tracking.tensorboard import Dashboard


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
    assert err == f"{path}: File too large; lines are missing in this file\n"
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


def test_an_error_that_names_its_file_keeps_the_name(tmp_path):
    with pytest.raises(OSError, match="here") as found, naming(tmp_path):
        raise OSError(28, "No space left on device", "here")
    assert found.value.filename == "here"
