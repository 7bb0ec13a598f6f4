"""Weights & Biases, by the real package without a network: a run is shown once, however often it is resumed."""

import json
import re
import struct
from collections import Counter
from pathlib import Path

import pytest
import small_run

from traiNNer.build import check


def test_a_missing_package_is_said_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "find_spec", lambda name: None)
    configuration = small_run.options(tmp_path)
    configuration["logger"]["wandb"] = {"project": "upscalers", "resume_id": None}
    ended = small_run.train(small_run.write_options(tmp_path, configuration))
    assert ended.returncode == 2
    assert "logger.wandb.project: needs Weights & Biases: pip install wandb" in ended.stderr


def records(path):
    """Those in a file that wandb leaves for `wandb sync`: LevelDB's log format behind a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, found, part = path.read_bytes(), 7, [], b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        if left < 7 or kind == 0:  # the rest of a block is empty
            at += left
            continue
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            found.append(Record.FromString(part))
            part = b""
    return found


def shown(folder):
    """(id, name, project) of the run, and (step, key) of everything that it shows, over all its sessions."""
    runs, points = set(), Counter()
    for file in sorted((folder / "wandb").glob("offline-run-*/*.wandb")):
        for record in records(file):
            if record.HasField("run"):
                runs.add((record.run.run_id, record.run.display_name, record.run.project))
            if record.HasField("history"):
                items = {
                    item.key or "/".join(item.nested_key): item.value_json for item in record.history.item
                }
                points.update((int(items["_step"]), key) for key in items if not key.startswith("_"))
    return runs, points


@pytest.mark.slow
def test_a_resumed_run_is_one_run_there_and_shows_every_step_once(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    small_run.write_data(tmp_path)
    configuration = small_run.options(
        tmp_path,
        losses=[{"type": "L1Loss"}],
        training_automations={"AdaptiveGradientClipping": {"enabled": True}},
    )
    configuration["logger"]["wandb"] = {"project": "upscalers", "resume_id": None}
    file, folder = small_run.write_options(tmp_path, configuration), tmp_path / "experiments/small"
    launcher = ("-W", "ignore")  # wandb's own warnings are not ours
    first = small_run.train_by(launcher, file)
    assert first.returncode == 0, first.stderr
    (sent,) = re.findall(r"wandb sync (\S+)", first.stdout + first.stderr)
    assert list(Path(tmp_path, sent).glob("*.wandb"))
    before = shown(folder)
    again = small_run.train_by(launcher, file, f"path.resume_state={folder}/training_states/12.state")
    assert again.returncode == 0, again.stderr
    assert shown(folder) == before
    longer = small_run.train_by(launcher, file, "train.total_iter=26", "--auto_resume")
    assert longer.returncode == 0, longer.stderr
    runs, points = shown(folder)
    assert len(runs) == 1
    (identity, name, project) = next(iter(runs))
    assert (name, project) == ("small", "upscalers")
    assert json.loads((folder / "wandb.json").read_text()) == {"id": identity, "last_step": 26}
    assert max(points.values()) == 1
    steps = {key: sorted(step for step, other in points if other == key) for _, key in points}
    assert steps["train/loss/total"] == [5, 10, 15, 20, 25]
    assert steps["val/val/psnr"] == [8, 16, 20, 24, 26]
    assert steps["decisions/AdaptiveGradientClipping/text/path"] == [20]
    (image,) = {key for key in steps if key.endswith("leaves_000/path")}
    assert steps[image] == steps["val/val/psnr"]
