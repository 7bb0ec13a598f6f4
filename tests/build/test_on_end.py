"""`logger.on_end`: the user's command knows how a run ended, and cannot change that."""

import time

import pytest
import small_run

from traiNNer.build import on_end


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    small_run.write_data(path)
    return path


def trained(folder, name, command, **train):
    tree = {**small_run.options(folder, **train), "name": name}
    tree["logger"]["on_end"] = command
    return small_run.train(small_run.write_options(folder, tree))


def test_the_command_knows_how_the_run_ended(folder):
    said = folder / "said"
    command = f'echo "$TRAINNER_STATUS $TRAINNER_METRIC $TRAINNER_BEST $TRAINNER_FOLDER" > {said}'
    assert trained(folder, "well", command, total_iter=8).returncode == 0
    status, metric, best, where = said.read_text().split()
    assert (status, metric, where) == ("completed", "val/psnr", str(folder / "experiments/well"))
    assert 0 < float(best) < 60
    optimizer = {"type": "AdamW", "lr": 1e30}
    assert trained(folder, "ill", command, total_iter=40, optim_g=optimizer).returncode == 1
    assert said.read_text().startswith("failed ")


@pytest.mark.parametrize(
    ("command", "words"),
    [("echo no network >&2; exit 3", "exit status 3: no network"), ("sleep 5", "timed out")],
)
def test_a_command_that_fails_is_a_warning(folder, monkeypatch, command, words):
    monkeypatch.setattr(on_end, "_PATIENCE", 0.2)
    done = trained(folder, "warned", command, total_iter=2)
    assert done.returncode == 0
    assert words in done.stdout
    assert "WARNING: logger.on_end" in done.stdout


def test_what_a_command_leaves_in_the_background_is_not_waited_for_and_goes_on(folder, monkeypatch):
    monkeypatch.setattr(on_end, "_PATIENCE", 0.5)
    done = trained(folder, "next", f"(sleep 1; echo begun > {folder}/next) &", total_iter=2)
    assert "WARNING: logger.on_end" not in done.stdout
    began = time.monotonic()
    while not (folder / "next").exists() and time.monotonic() - began < 20:
        time.sleep(0.05)
    assert (folder / "next").exists()
