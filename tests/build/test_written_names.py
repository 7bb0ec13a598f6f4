"""Names that Windows cannot write or takes for one, as macOS does, and paths that are too long: simulated."""

import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import small_run

from traiNNer.build.data import open_sets, open_test_sets
from traiNNer.data.images.image_io import write_image
from traiNNer.options import load_options
from traiNNer.registry import ConfigError
from traiNNer.runtime.distributed import DistributedContext

SAVED = "val.save_img=true"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    small_run.write_data(folder)
    return folder


@pytest.fixture(autouse=True)
def _heard(monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("traiNNer"), "propagate", True)
    caplog.set_level(logging.INFO)


@pytest.fixture
def opened(data, tmp_path, caplog):
    """Opens the sets of a run (or of a test) with these options; gives the words of the refusal, or of the log."""

    def words(*overrides, test=False):
        caplog.clear()
        file = small_run.write_options(tmp_path, small_run.options(data))
        options = load_options(file, [f"path.experiments_root={tmp_path}/runs", *overrides])
        try:
            (open_test_sets if test else open_sets)(options, DistributedContext())
        except ConfigError as error:
            return list(error.problems)
        return [record.getMessage() for record in caplog.records]

    return words


@pytest.fixture
def windows(monkeypatch):
    """This system calls itself Windows; `long_paths` is what its registry says, None where it says nothing."""

    def simulate(long_paths=None):
        class Key:
            def __enter__(self):
                if long_paths is None:
                    raise FileNotFoundError
                return self

            def __exit__(self, *error):
                return None

        registry = SimpleNamespace(
            HKEY_LOCAL_MACHINE=0,
            OpenKey=lambda place, name: Key(),
            QueryValueEx=lambda key, name: (long_paths, 4),
        )
        monkeypatch.setitem(sys.modules, "winreg", registry)
        monkeypatch.setattr(sys, "platform", "win32")

    return simulate


def validated(folder, *names):
    """Options for a validation set of images of these names."""
    hr, lq = folder / "val/HR", folder / "val/LR"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for name in names:
        write_image(hr / name, noise)
        write_image(lq / name, noise[::2, ::2])
    return [f"datasets.val.dataroot_gt={hr}", f"datasets.val.dataroot_lq={lq}", SAVED]


def test_a_run_whose_name_is_another_ones_in_other_case_is_told_or_where_they_are_one_refused(
    opened, tmp_path, monkeypatch
):
    (tmp_path / "runs/small").mkdir(parents=True)
    assert not [line for line in opened("name=small") if "name" in line]
    text = f"{tmp_path}/runs also holds 'small', which Windows and macOS take for the same as 'Small'"
    assert f"name: {text}" in opened("name=Small")
    exists = Path.exists
    monkeypatch.setattr(
        Path, "exists", lambda p: exists(p.with_name(p.name.lower()))
    )  # as Windows and macOS do
    (line,) = opened("name=Small")
    assert "holds 'small', which is the same to its file system" in line and line.endswith("(got 'Small')")
    (line,) = opened("name=Small", f"path.results_root={tmp_path}/runs", test=True)
    assert line.startswith("name: ")


@pytest.mark.parametrize("test", [False, True], ids=["run", "test"])
def test_images_that_windows_cannot_write_are_refused_there_and_told_elsewhere(
    opened, tmp_path, windows, test
):
    bad = ["a:b", "aux", "end .", "sub/con.x", "what?"]
    overrides = validated(tmp_path, "good.png", *(f"{name}.png" for name in bad))
    overrides.append(f"path.results_root={tmp_path}/results")
    (line,) = [line for line in opened(*overrides, test=test) if "save_img" in line]
    assert "5 images of val get names that other systems do not take, first a:b, should be" in line
    windows()
    *lines, remedy = opened(*overrides, test=test)
    assert [line.partition(": should be a name w")[0] for line in lines] == [f"val/{name}" for name in bad]
    assert "val.save_img: false" in remedy
    assert not [line for line in opened(*overrides, "val.save_img=false", test=test) if "should be" in line]


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_images_that_differ_in_case_alone_are_one_file_on_windows_and_macos(
    opened, tmp_path, windows, monkeypatch, platform
):
    overrides = validated(tmp_path, "Baby.png", "baby.png")
    if platform == "win32":
        windows()
    monkeypatch.setattr(sys, "platform", platform)
    said = [line for line in opened(*overrides) if "differs from Baby by upper and lower case alone" in line]
    assert [line.startswith("val.save_img: 1 image of val") for line in said] == [platform == "linux"]


def test_sets_whose_names_differ_in_case_alone_are_refused(opened, data):
    more = [f"datasets.val_2.dataroot_{k}={data}/demo/val/{f}" for k, f in (("gt", "HR"), ("lq", "LRx2"))]
    (line,) = opened(*more, "datasets.val_2.name=VAL")
    assert line.startswith("datasets.val_2.name: another set is named 'val' already")


@pytest.mark.parametrize("long_paths", [None, 0, 1])
def test_a_path_over_259_characters_is_refused_on_windows_unless_it_takes_long_ones(
    opened, tmp_path, windows, long_paths
):
    deep = tmp_path / "/".join(["d" * 100] * 2)
    overrides = [f"path.experiments_root={deep}", f"path.results_root={deep}"]
    assert not any("characters" in line for line in opened(*overrides))
    windows(long_paths)
    assert any("this Windows takes 259" in line for line in opened(*overrides)) == (not long_paths)
    assert any("shorten path.results_root" in line for line in opened(*overrides, test=True)) == (
        not long_paths
    )


def test_an_image_whose_long_name_leaves_no_room_for_the_step_is_refused_before_the_first_one(
    opened, tmp_path
):
    overrides = validated(tmp_path, f"{'x' * 245}.png")
    line, _ = opened(*overrides, "val.suffix=abcdef")
    assert line == f"val/{'x' * 245}: is too long"
