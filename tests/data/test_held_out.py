"""`datasets.val: auto`: some of the training images are set aside, by source, the same in every run."""

from pathlib import Path

import numpy as np
import pytest
import small_run
from ruamel.yaml import YAML
from safetensors.torch import load_file

from traiNNer.build.data import open_sets
from traiNNer.cli.check import main as check
from traiNNer.data.held_out import in_part, source_of
from traiNNer.data.images.image_io import read_image
from traiNNer.data.images.resize import imresize
from traiNNer.data.pairs.file_index import Files, Names
from traiNNer.options import load_options
from traiNNer.registry import ConfigError
from traiNNer.runtime.distributed import DistributedContext


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("held_out")
    small_run.write_data(path)
    return path


def configuration(folder, **train):
    options = small_run.options(folder, total_iter=4)
    options["datasets"]["train"] |= train
    options["datasets"]["val"] = "auto"
    return options | {"val": {"val_freq": 2}}


def held_out(names):
    files = Files.joined([Path("root")], [Names.of(names)])
    kept = in_part(files, "held_out")
    assert (kept ^ in_part(files, "training")).all()
    return {name for name, out in zip(names, kept, strict=True) if out}


def test_pieces_and_copies_of_an_image_are_of_one_source():
    pieces = ("a/b_s001.png", "a/b_tile_3.png", "a/b-crop12.jpg", "a/b_patch_0_512.png", "a/b_x0_y512.png")
    assert {source_of(name) for name in pieces} == {"a/b"}
    assert source_of("a/0801T2_s003.png") == "a/0801"
    photographs = (
        "IMG_0001.jpg",
        "IMG_20240512_101010.jpg",
        "2024-05-12.png",
        "crops/photo.png",
        "cat_s.png",
    )
    assert [source_of(name) for name in photographs] == [str(Path(n).with_suffix("")) for n in photographs]


def test_whole_sources_are_set_aside_and_further_photographs_move_few():
    names = [f"{k:04}_s{piece:03}.png" for k in range(100) for piece in range(3)]
    chosen = held_out(names)
    sources = {source_of(name) for name in chosen}
    assert len(sources) == 5
    assert chosen == {name for name in names if source_of(name) in sources}
    assert chosen == held_out(names[::-1])
    more = held_out([*names, *(f"new{k}.png" for k in range(20))])
    assert len(chosen & more) >= len(chosen) - 3 * 2
    assert [len(held_out([f"{k}.png" for k in range(n)])) for n in (4, 40, 60, 1000)] == [2, 2, 3, 10]


@pytest.mark.parametrize(
    "kind", ["PairedImageDataset", "SingleGtDataset", "RealESRGANDataset", "RealESRGANPairedDataset"]
)
def test_every_type_of_training_set_is_divided(folder, kind, caplog):
    configured = configuration(folder, type=kind)
    if "Paired" not in kind:
        del configured["datasets"]["train"]["dataroot_lq"]
    options = load_options(small_run.write_options(folder, configured))
    with caplog.at_level("INFO"):
        train, sets = open_sets(options, DistributedContext(), may_write=False)
    val = sets["val"]
    everything = {path.stem for path in (folder / "demo/train/HR").iterdir()}
    assert (len(train), len(val)) == (4, 2)
    assert set(train.names) | set(val.names) == everything
    assert f"set aside, not trained on: {', '.join(val.names)}" in caplog.text
    pair = val.pair(0)
    assert np.array_equal(pair.gt, read_image(folder / f"demo/train/HR/{pair.name}.png"))
    if kind == "PairedImageDataset":
        assert np.array_equal(pair.lq, read_image(folder / f"demo/train/LRx2/{pair.name}.png"))
    if kind == "SingleGtDataset":
        inside = pair.lq.astype(int) - imresize(pair.gt, 1 / 2)
        assert np.abs(inside[4:-4, 4:-4]).mean() < 0.5


def test_the_file_of_decoded_images_of_the_training_set_holds_them_too(folder, tmp_path, caplog):
    configured = configuration(folder, cache="disk", cache_dir=str(tmp_path / "decoded"))
    options = load_options(small_run.write_options(tmp_path, configured))
    caplog.set_level("INFO")
    for made in (4, 0):  # by the training set and then for both, of GT and LQ; and nothing at the next start
        caplog.clear()
        train, sets = open_sets(options, DistributedContext())
        assert caplog.text.count("is ready after") == made
        assert train.kept == sets["val"].kept
        assert train.kept.startswith("kept on the disk")


def test_a_resumed_run_holds_out_the_same_and_ends_in_the_same_weights(folder):
    file = small_run.write_options(folder, configuration(folder))
    whole, rest = (folder / f"experiments/{name}" for name in ("whole", "rest"))
    for words in (["name=whole"], ["name=rest", f"path.resume_state={whole}/training_states/2.state"]):
        ended = small_run.train(file, "logger.save_checkpoint_freq=2", *words)
        assert ended.returncode == 0, ended.stderr
    assert "has changed" not in ended.stderr
    one, other = (load_file(run / "models/net_g_4.safetensors") for run in (whole, rest))
    assert all((one[key] == other[key]).all() for key in one)
    resolved = load_options(whole / "resolved.yml")
    assert (resolved.datasets["train"].part, resolved.datasets["val"].part) == ("training", "held_out")
    names = open_sets(resolved, DistributedContext(), may_write=False)[1]["val"].names
    report = (whole / "report.html").read_text()
    assert all(f"val/{name}: psnr" in report for name in names)
    assert report.count('class="pair"') == 2


def test_check_names_them_and_leaves_the_file_as_it_is(folder, capsys):
    file = folder / "block.yml"
    YAML().dump(configuration(folder), file)
    assert check([str(file)]) == 0
    said = capsys.readouterr().out
    assert "datasets.val: set aside, not trained on: " in said
    assert "\n  val: auto\n" in said


def test_the_command_line_adds_options_to_a_set_that_is_auto(folder, tmp_path, capsys):
    file = small_run.write_options(tmp_path, configuration(folder))
    asked = "datasets.val.skip_bad_images=true"
    val = load_options(file, [asked]).datasets["val"]
    assert (val.part, val.skip_bad_images, val.cache) == ("held_out", True, "auto")
    assert check([str(file), asked, "--no-data", "--write", str(tmp_path / "new.yml")]) == 0
    assert load_options(tmp_path / "new.yml").datasets["val"] == val
    lacking = ["datasets.train=~", "train=~"]
    with pytest.raises(
        ConfigError, match="auto sets images of datasets.train aside, and there is no such set"
    ):
        load_options(file, lacking)


def test_too_few_photographs_are_refused_in_words(folder, tmp_path):
    for side in ("HR", "LRx2"):
        (tmp_path / side).mkdir()
        for name in sorted((folder / f"demo/train/{side}").iterdir())[:3]:
            (tmp_path / side / name.name).write_bytes(name.read_bytes())
    roots = {"dataroot_gt": str(tmp_path / "HR"), "dataroot_lq": str(tmp_path / "LRx2")}
    ended = small_run.train(small_run.write_options(tmp_path, configuration(folder, **roots)))
    assert ended.returncode == 2
    assert "datasets.val: val: auto sets images aside, and of 3 too few would be left" in ended.stderr
    ended = small_run.train(small_run.write_options(tmp_path, configuration(folder, dataroot_gt="nowhere")))
    assert ended.stderr.count("nowhere: is not a folder") == 1
