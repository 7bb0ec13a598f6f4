"""The commands that a run ends with do what they say, in folders with spaces too."""

import json
import shlex

import small_run

from traiNNer.build.what_next import what_next
from traiNNer.runtime.run_dir import RunFolder


def folder_of(root):
    root.mkdir(parents=True)
    return RunFolder(
        root, root / "models", root / "training_states", root / "v", root, root.parent / "tb", "n"
    )


def ended(folder, status):
    (folder.root / "summary.json").write_text(json.dumps({"status": status}))


def test_a_run_that_was_interrupted_says_how_to_go_on_in_quotes(tmp_path):
    folder = folder_of(tmp_path / "my runs/n")
    ended(folder, "interrupted")
    assert what_next(folder, tmp_path / "a b.yml", [], 1) == []  # nothing to go on from
    folder.training_states.mkdir()
    (folder.training_states / "5.state").touch()
    (line,) = what_next(folder, tmp_path / "a b.yml", ["name=n o", "auto_resume=true"], 1)
    words = shlex.split(line.removeprefix("To go on: "))
    assert words == ["python", "train.py", "-opt", f"{tmp_path}/a b.yml", "--auto_resume", "name=n o"]
    (line,) = what_next(folder, tmp_path / "a.yml", ["launcher=pytorch"], 2)
    assert line.startswith("To go on: torchrun --nproc_per_node=2 train.py -opt ")
    assert line.endswith("--auto_resume --launcher pytorch")


def test_where_there_is_no_checkout_the_installed_command_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = folder_of(tmp_path / "n")
    ended(folder, "interrupted")
    folder.training_states.mkdir()
    (folder.training_states / "5.state").touch()
    assert what_next(folder, "a.yml", [], 1) == ["To go on: trainner train -opt a.yml --auto_resume"]
    (line,) = what_next(folder, "a.yml", ["launcher=pytorch"], 2)
    assert "torchrun --nproc_per_node=2 --no-python trainner train -opt a.yml" in line
    ended(folder, "completed")
    folder.models.mkdir()
    (folder.models / "net_g_best.safetensors").touch()
    assert "trainner upscale " in what_next(folder, "a.yml", [], 1)[0]


def test_a_finished_run_says_what_people_do_next_with_its_best_weights(tmp_path):
    folder = folder_of(tmp_path / "my runs/n")
    ended(folder, "completed")
    folder.models.mkdir()
    folder.tensorboard.mkdir()
    for name in ("net_g_best.safetensors", "net_g_100.safetensors"):
        (folder.models / name).touch()
    lines = [shlex.split(line.partition(": ")[2]) for line in what_next(folder, tmp_path / "a.yml", [], 1)]
    best = f"{folder.models}/net_g_best.safetensors"
    assert lines[0] == ["python", "scripts/upscale.py", best, "INPUT", "OUTPUT"]
    assert lines[1] == ["python", "scripts/export.py", best, "--onnx"]
    assert lines[2] == ["tensorboard", "--logdir", f"{tmp_path}/my runs"]


def test_a_folder_without_a_summary_says_nothing(tmp_path):
    assert what_next(folder_of(tmp_path / "n"), tmp_path / "a.yml", [], 1) == []


def test_the_commands_are_the_last_lines_of_a_run(tmp_path):
    small_run.write_data(tmp_path)
    file = small_run.write_options(tmp_path, small_run.options(tmp_path, total_iter=2))
    printed = small_run.train(file).stdout.splitlines()
    assert "To upscale images: python scripts/upscale.py" in printed[-2]
    assert "To publish it: python scripts/export.py" in printed[-1]
    again = small_run.train(file, "--auto_resume").stdout
    assert "Nothing to do: all 2 iterations are done; raise train.total_iter" in again
    assert "Nothing to do" not in small_run.train(file, "--auto_resume", "train.total_iter=3").stdout
