"""Commands end in words, whatever the disk, the memory or the console does; nothing half made is left."""

import json
import os
import resource
import subprocess
import sys

import make_demo_data
import make_lr
import numpy as np
import pytest
import small_run
import torch
from safetensors.torch import load_file, save_file

from traiNNer.archs import build_network
from traiNNer.cli import check, export, report, test, upscale
from traiNNer.cli.ending import ends_in_words
from traiNNer.data.images.image_io import read_image, write_image
from traiNNer.registry import ConfigError


def weights(path, seed=0, bias=0.0):
    torch.manual_seed(seed)
    net = build_network({"type": "compact", "scale": 2, "num_feat": 4, "num_conv": 1})
    net.body[-1].bias.data.fill_(bias)
    save_file(net.state_dict(), path, {"architecture": "compact", "options": json.dumps(net.options)})
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Weights, two images, a configuration of a test."""
    monkeypatch.chdir(tmp_path)
    weights(tmp_path / "net.safetensors")
    noise = np.random.default_rng(0)
    for name in "ab":
        write_image(tmp_path / f"in/{name}.png", noise.integers(0, 255, (40, 40, 3), np.uint8))
        write_image(tmp_path / f"hr/{name}.png", noise.integers(0, 255, (80, 80, 3), np.uint8))
    configuration = {
        "name": "measured",
        "scale": 2,
        "num_gpu": 0,
        "path": {"pretrain_network_g": "net.safetensors", "results_root": "made/results"},
        "datasets": {"val": {"name": "two", "dataroot_gt": "hr", "dataroot_lq": "in"}},
        "val": {"metrics": {"psnr": {}}},
    }
    (tmp_path / "test.yml").write_text(json.dumps(configuration))
    (tmp_path / "run").mkdir()
    (tmp_path / "run/metrics.jsonl").write_text("")
    return tmp_path


COMMANDS = {
    "upscale": (upscale.main, ["net.safetensors", "in", "made/out"]),
    "export": (export.main, ["net.safetensors", "--output", "made/release"]),
    "test": (test.main, ["-opt", "test.yml"]),
    "make_lr": (make_lr.main, ["hr", "made/lr", "--processes", "1"]),
    "make_demo_data": (make_demo_data.main, ["made/demo", "--images", "1", "--size", "64"]),
    "check_config": (check.main, ["test.yml", "--no-data", "--write", "made/new.yml"]),
}


def said_in_words(capsys):
    """Of check_config on standard output, as all that it says."""
    out, said = capsys.readouterr()
    assert "Traceback" not in said
    return said or out[out.index("wrong:") :]


@pytest.mark.parametrize(("main", "arguments"), COMMANDS.values(), ids=COMMANDS)
def test_a_place_that_cannot_be_is_named(folder, capsys, main, arguments):
    (folder / "made").write_text("a file where a folder should be")
    assert main(arguments) in (1, 2)
    assert "made" in said_in_words(capsys)


@pytest.fixture
def full_disk():
    """No file may grow beyond 200 bytes, which says what a full disk says."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "test"])
def test_a_disk_that_takes_no_more_is_said_and_nothing_half_made_is_left(folder, capsys, request, command):
    main, arguments = COMMANDS[command]
    (folder / "made").mkdir()
    request.getfixturevalue("full_disk")
    assert main(arguments) in (1, 2)
    said = said_in_words(capsys)
    assert "File too large" in said
    assert "made" in said
    left = [path for path in (folder / "made").rglob("*") if path.is_file() and path.stat().st_size]
    assert not left, left


def test_a_folder_that_may_not_be_written_is_named(folder, capsys):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (folder / "made").mkdir(mode=0o500)
    assert upscale.main(COMMANDS["upscale"][1]) == 1
    assert "Permission denied" in said_in_words(capsys)


def test_a_report_that_cannot_be_written_is_said(folder, capsys):
    (folder / "run/resolved.yml").write_text("{}")
    (folder / "run/report.html").mkdir()
    assert report.main(["run"]) == 1
    assert "run/report.html" in said_in_words(capsys)


NO_MEMORY = {
    "python": MemoryError(),
    "torch": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    "cuda": torch.OutOfMemoryError("CUDA out of memory."),
}


@pytest.mark.parametrize("error", NO_MEMORY.values(), ids=NO_MEMORY)
@pytest.mark.parametrize("where", ["upscale", "export"])
def test_memory_that_does_not_suffice_is_said(folder, capsys, monkeypatch, error, where):
    def fail(*_, **__):
        raise error

    main, arguments = COMMANDS[where]
    place = (
        "traiNNer.release.bundle.write_weights"
        if where == "export"
        else "traiNNer.cli.upscale.read_picture_file"
    )
    monkeypatch.setattr(place, fail)
    assert main(arguments) == 1
    assert "out of memory" in said_in_words(capsys)
    assert not (folder / "made").exists() or not list((folder / "made").iterdir())


ENDS = {
    "config": (ConfigError(["one", "two"]), 2, "one\ntwo\n"),
    "stopped": (KeyboardInterrupt(), 130, "stopped\n"),
    "missing": (
        FileNotFoundError(2, "No such file or directory", "x.yml"),
        1,
        "x.yml: No such file or directory\n",
    ),
    "bytes": (
        PermissionError(13, "Permission denied", b"x"),
        1,
        "x: Permission denied; change who may use it, or choose another\n",
    ),
    "nameless": (
        OSError(28, "No space left on device"),
        1,
        "No space left on device; make room there, or choose a folder on another disk\n",
    ),
}


@pytest.mark.parametrize(("error", "status", "words"), ENDS.values(), ids=ENDS)
def test_every_end_has_its_status_and_words(capsys, error, status, words):
    def fail(_):
        raise error

    assert ends_in_words(fail)() == status
    assert capsys.readouterr().err == words


def test_a_mistake_of_the_program_keeps_its_traceback():
    def fail(_):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        ends_in_words(fail)()


@pytest.mark.parametrize("encoding", [pytest.param("cp1252", marks=pytest.mark.slow), "ascii"])
def test_names_that_the_console_cannot_show_do_not_end_work(folder, encoding):
    name = "Фото \u5199\u771f.png"
    (folder / "in/a.png").rename(folder / "in" / name)
    (folder / "in/b.png").rename(folder / "in" / os.fsdecode(b"\xff\xfe.png"))
    (folder / "in/\u574f.png").write_bytes(b"broken")
    command = [sys.executable, str(small_run.ROOT / "scripts/upscale.py"), *COMMANDS["upscale"][1]]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "OMP_NUM_THREADS": "1"}
    printed = subprocess.run(command, capture_output=True, cwd=folder, env=environment, timeout=120)
    assert printed.returncode == 1, printed.stderr
    assert b"2 of 3 upscaled" in printed.stdout
    assert b"\\u574f.png: is damaged" in printed.stderr
    assert (folder / "made/out" / name).is_file()


def test_a_second_release_leaves_nothing_of_the_first_and_keeps_what_is_not_its_own(folder, capsys):
    first = ["net.safetensors", "--output", "out", "--name", "First", "--image", "in/a.png", "--fp16"]
    assert export.main(first) == 0
    (folder / "out/notes.txt").write_text("mine")
    weights(folder / "out/mine.safetensors", seed=3)
    weights(folder / "other.safetensors", seed=1)
    assert export.main(["other.safetensors", "--output", "out", "--name", "Second"]) == 0
    expected = ["2x-Second.json", "2x-Second.safetensors", "README.md", "mine.safetensors", "notes.txt"]
    assert sorted(path.name for path in (folder / "out").iterdir()) == expected


def test_a_broken_network_ends_a_release_with_pictures_in_words(folder, capsys):
    tensors = {name: torch.full_like(tensor, 1e30) for name, tensor in load_file("net.safetensors").items()}
    save_file(tensors, "broken.safetensors", {"options": "{}"})
    assert export.main(["broken.safetensors", "--output", "out", "--image", "in/a.png"]) == 1
    assert "the output of the network is not finite: its weights are broken" in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_a_release_can_go_where_one_stands(folder, capsys, monkeypatch):
    (folder / "here").mkdir()
    monkeypatch.chdir(folder / "here")
    assert export.main(["../net.safetensors", "--output", ".", "--name", "Here"]) == 0
    made = ["2x-Here.json", "2x-Here.safetensors", "README.md"]
    assert sorted(path.name for path in (folder / "here").iterdir()) == made


def test_the_readme_of_a_repository_is_not_taken_for_that_of_a_release(folder, capsys):
    (folder / "README.md").write_text("mine")
    assert export.main(["net.safetensors", "--output", "."]) == 2
    assert "holds a README.md that is of no export" in capsys.readouterr().err
    assert (folder / "README.md").read_text() == "mine"
    assert export.main(["net.safetensors", "--output", "README.md"]) == 2
    assert "README.md: is a file" in capsys.readouterr().err
    assert export.main(["in"]) == 2
    assert "in: is a folder, not a file" in capsys.readouterr().err


def test_a_release_that_fails_leaves_the_earlier_one_as_it_was(folder, capsys, monkeypatch):
    assert export.main(["net.safetensors", "--output", "out", "--name", "First"]) == 0
    before = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("traiNNer.release.bundle.model_card", fail)
    assert export.main(["net.safetensors", "--output", "out", "--name", "Second"]) == 1
    assert {path.name: path.read_bytes() for path in (folder / "out").iterdir()} == before


def test_another_model_gets_a_folder_of_results_of_its_own(folder, capsys):
    assert test.main(["-opt", "test.yml"]) == 0
    results = folder / "made/results"
    first = (results / "measured/metrics.json").read_bytes()
    assert test.main(["-opt", "test.yml"]) == 0
    assert [path.name for path in results.iterdir()] == ["measured"], "the same model again"
    weights(folder / "other.safetensors", bias=0.1)
    assert test.main(["-opt", "test.yml", "path.pretrain_network_g=other.safetensors"]) == 0
    (kept,) = results.glob("measured_archived_*")
    assert (kept / "metrics.json").read_bytes() == first
    assert json.loads((kept / "model.json").read_text())["file"] == "net.safetensors"
    assert (results / "measured/metrics.json").read_bytes() != first


def test_an_output_that_is_no_number_fails_a_test_by_name(folder, capsys):
    weights(folder / "huge.safetensors", bias=3e38)
    status = test.main(["-opt", "test.yml", "path.pretrain_network_g=huge.safetensors", "use_amp=true"])
    said = capsys.readouterr()
    made = json.loads((folder / "made/results/measured/metrics.json").read_text())
    if made["two"]["images"]["a"]["psnr"] is None:
        assert status == 1
        assert "failed: two/a: psnr is not a number" in said.err
    else:
        assert status == 0


@pytest.mark.parametrize("command", ["upscale", "export"])
def test_a_key_chooses_among_several_sets_of_weights(folder, capsys, command):
    net = build_network({"type": "compact", "scale": 2, "num_feat": 4, "num_conv": 1})
    state = {f"module.{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save({"one": state, "other": net.state_dict()}, folder / "net.pth")
    main, arguments = COMMANDS[command][0], ["net.pth", *COMMANDS[command][1][1:]]
    assert main(arguments) == 2
    assert "several sets of weights (one, other): say which (param_key_g, --key)" in said_in_words(capsys)
    assert main([*arguments, "--key", "other"]) == 0


def test_make_lr_names_what_it_passes_over(folder, capsys):
    (folder / "hr/notes.txt").write_text("x")
    assert make_lr.main(["hr", "made/lr", "--processes", "1"]) == 0
    assert "1 other file passed over: .txt" in capsys.readouterr().out
    assert read_image("made/lr/LRx2/a.png").shape == (40, 40, 3)
