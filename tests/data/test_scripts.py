"""The verbs that make data, run as a user runs them."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from traiNNer.cli.make_lr import main as make_lr
from traiNNer.data.images.image_io import read_image, write_image
from traiNNer.data.images.resize import imresize
from traiNNer.data.paired_dataset import PairedImageDataset

ROOT = Path(__file__).resolve().parents[2]


def _run(script, *arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def _make_lr(*arguments):
    """Here, in one process."""
    return make_lr([*map(str, arguments), "--processes", "1"])


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for name, size in {"a.png": (24, 36), "sub/b.c.jpg": (25, 38)}.items():
        write_image(tmp_path / "HR" / name, rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    return tmp_path / "HR"


def test_make_lr_makes_what_a_data_set_reads_and_leaves_what_is_there(photos, tmp_path, capsys):
    first = _run("make_lr.py", photos, tmp_path, "--scale", 2, 3, "--processes", 2)
    assert (first.returncode, first.stderr.count("failed")) == (0, 0), first.stderr
    assert "4 LR images made, 0 were there already" in first.stdout
    assert "1 image is no multiple" in first.stdout
    for scale in (2, 3):
        data = PairedImageDataset([photos], [tmp_path / f"LRx{scale}"], scale)
        assert data.names == ["a", "sub/b.c"]
        for index in range(2):
            lq, gt, _ = data.pair(index)
            np.testing.assert_array_equal(imresize(gt, 1 / scale), lq)

    write_image(tmp_path / "LRx2/a.png", np.zeros((12, 18, 3), np.uint8))
    (tmp_path / "LRx2/sub/b.c.png").unlink()
    assert _make_lr(photos, tmp_path, "--scale", 2) == 0
    assert "1 LR images made, 1 were there already" in capsys.readouterr().out
    assert read_image(tmp_path / "LRx2/a.png").max() == 0
    assert _make_lr(photos, tmp_path, "--overwrite") == 0
    assert read_image(tmp_path / "LRx2/a.png").max() > 0
    assert logging.getLogger("traiNNer").handlers == []  # nothing is left to write to output that is gone


def test_make_lr_lists_failures_at_the_end_and_makes_the_rest(photos, tmp_path, capsys):
    (photos / "broken.png").write_bytes((photos / "a.png").read_bytes()[:500])
    write_image(photos / "dot.png", np.zeros((1, 5, 3), np.uint8))
    assert _make_lr(photos, tmp_path) == 1
    said = capsys.readouterr()
    assert "failed: " in said.err and "broken.png: is cut short" in said.err
    assert "dot.png: is smaller than 2 pixels" in said.err
    assert "2 of 4 images failed" in said.err
    assert "2 LR images made" in said.out


def test_make_lr_refuses_to_mix_results_with_sources(photos, tmp_path, capsys, monkeypatch):
    assert _make_lr(photos, photos) == 2
    assert "should not be inside" in capsys.readouterr().err
    write_image(photos / "a.jpg", np.zeros((8, 8, 3), np.uint8))
    assert _make_lr(photos, tmp_path) == 2
    assert "only by their suffix, or by case: a.png" in capsys.readouterr().err
    (photos / "a.jpg").rename(photos / "A.JPG")
    monkeypatch.setattr(sys, "platform", "darwin")  # where both would be a.png
    assert _make_lr(photos, tmp_path) == 2
    assert "or by case: a.png" in capsys.readouterr().err
    assert _make_lr(tmp_path / "nowhere", tmp_path) == 2
    assert not (tmp_path / "LRx2").exists()


def test_make_demo_data_draws_once_and_does_not_replace(tmp_path):
    arguments = (tmp_path / "demo", "--scale", 2, 4, "--images", 2, "--size", 64)
    first = _run("make_demo_data.py", *arguments)
    assert first.returncode == 0, first.stderr
    assert len(PairedImageDataset([tmp_path / "demo/train/HR"], [tmp_path / "demo/train/LRx4"], 4)) == 2
    second = _run("make_demo_data.py", *arguments)
    assert second.returncode == 1 and "remove it to draw" in second.stderr


def test_the_benchmark_of_the_data_measures_every_cache_and_the_opening_of_many_files(tmp_path):
    numbers = tmp_path / "numbers.json"
    settings = ["--sizes", "256", "--formats", "jpg", "--rounds", "2", "--growth", "30", "--folder"]
    done = _run("benchmarks/benchmark_data.py", *settings, tmp_path, "--json", numbers)
    assert done.returncode == 0, done.stderr
    found = json.loads(numbers.read_text())
    cost = {sample["cache"]: sample["cpu_ms"] for sample in found["samples"]}
    assert set(cost) == {"off", "ram", "disk"}
    assert 5 * max(cost["ram"], cost["disk"]) < cost["off"]
    (start,) = found["starts"]
    assert start["pairs"] == 30
    assert start["open_cpu_s"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["numbers.json"]
