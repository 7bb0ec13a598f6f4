import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from traiNNer.cli.prepare_dataset import main
from traiNNer.data.images.image_io import read_image, write_image
from traiNNer.data.preparing.measures import Measures, blockiness, jpeg_quality, measure, sharpness
from traiNNer.data.preparing.selection import Limits, near_duplicates, select
from traiNNer.data.synthetic import dead_leaves

SMALL = ["--min_side", "64", "--processes", "1", "--val_share", "0.3"]


@pytest.fixture(scope="module")
def scenes():
    return [dead_leaves(128, 3, number) for number in range(6)]


@pytest.fixture
def source(tmp_path, scenes):
    root = tmp_path / "photos"
    for number, scene in enumerate(scenes):
        write_image(root / f"{'a/' * (number % 2)}{number}.png", scene)
    write_image(root / "small.png", scenes[0][:40, :40])
    write_image(root / "flat.png", np.full((128, 128, 3), 90, np.uint8))
    write_image(root / "soft.png", cv2.GaussianBlur(scenes[1][::-1].copy(), (0, 0), 4))
    cv2.imwrite(str(root / "blocks.jpg"), scenes[2][:, ::-1].copy(), [cv2.IMWRITE_JPEG_QUALITY, 30])
    write_image(root / "again.png", cv2.resize(scenes[3], (120, 120), interpolation=cv2.INTER_AREA))
    (root / "broken.png").write_bytes(b"\x89PNG")
    return root


def manifest(out):
    return {entry["source"]: entry for entry in json.loads((out / "manifest.json").read_text())["files"]}


def test_what_hurts_is_dropped_by_name(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(source), str(out), *SMALL]) == 0
    files = manifest(out)
    kinds = {name: entry["kind"] for name, entry in files.items() if entry["fate"] == "dropped"}
    assert kinds == {
        "small.png": "too small", "flat.png": "flat", "soft.png": "out of focus", "blocks.jpg": "compressed",
        "again.png": "duplicate", "broken.png": "unreadable",
    }  # fmt: skip
    assert "JPEG quality 30, limit 75" in files["blocks.jpg"]["reason"]
    assert "3.png" in files["again.png"]["reason"]
    fates = [entry["fate"] for entry in files.values()]
    assert fates.count("val") + fates.count("train") == 6 and 1 <= fates.count("val") <= 4
    page = (out / "report.html").read_text()
    assert all(word in page for word in ("out of focus", "sharpness", "data:image/jpeg"))
    for entry in files.values():
        for written in entry["written"]:
            assert np.array_equal(read_image(out / written), read_image(source / entry["source"]))


def test_a_second_call_changes_nothing_and_a_new_file_moves_no_other(source, tmp_path, scenes):
    out = tmp_path / "out"
    assert main([str(source), str(out), *SMALL]) == 0
    first = (out / "manifest.json").read_bytes()
    measured = (out / "measures.jsonl").read_text()
    (out / "measures.jsonl").write_text(measured[:-40])  # killed while it wrote
    next((out / "train").rglob("*.png")).unlink()
    assert main([str(source), str(out), *SMALL]) == 0
    assert (out / "manifest.json").read_bytes() == first
    fates = {name: entry["fate"] for name, entry in manifest(out).items()}
    write_image(source / "new.png", dead_leaves(128, 3, 77))
    assert main([str(source), str(out), *SMALL]) == 0
    assert {name: entry["fate"] for name, entry in manifest(out).items() if name != "new.png"} == fates


def test_other_limits_remove_what_they_drop(source, tmp_path):
    out = tmp_path / "out"
    assert main([str(source), str(out), *SMALL, "--max_hash_distance", "-1"]) == 0
    assert manifest(out)["again.png"]["fate"] != "dropped"
    assert main([str(source), str(out), *SMALL]) == 0
    kept = {path.name for folder in ("train", "val") for path in (out / folder).rglob("*.png")}
    assert kept == {f"{number}.png" for number in range(6)}


def test_tiles_cover_the_image_and_stay_in_the_split_of_their_source(source, tmp_path):
    out = tmp_path / "out"
    assert main([str(source), str(out), *SMALL, "--tile", "64"]) == 0
    for entry in manifest(out).values():
        if entry["fate"] != "dropped":
            assert len(entry["written"]) == 4
            assert all(part.startswith(entry["fate"]) for part in entry["written"])
    assert read_image(next((out / "train").rglob("*.png"))).shape == (64, 64, 3)


def test_what_it_has_not_made_is_neither_removed_nor_mixed_with(source, tmp_path, capsys):
    out = tmp_path / "out"
    write_image(out / "train/HR/mine.png", np.zeros((9, 9, 3), np.uint8))
    assert main([str(source), str(out), *SMALL]) == 2
    assert "holds a data set already" in capsys.readouterr().err
    (out / "train/HR/mine.png").rename(tmp_path / "mine.png")
    assert main([str(source), str(out), *SMALL]) == 0
    (tmp_path / "mine.png").rename(out / "train/HR/mine.png")
    half = out / "train/.0.png.partial"  # of a call that was killed
    half.touch()
    (source / "a/5.png").unlink()
    assert main([str(source), str(out), *SMALL, "--tile", "64"]) == 0
    assert (out / "train/HR/mine.png").is_file() and not half.exists()
    names = {path.name for path in out.rglob("*.png")} - {"mine.png"}
    assert names == {f"{number}_s{tile:03}.png" for number in range(5) for tile in range(4)}


def test_photographs_and_tiles_that_have_changed_are_made_anew(source, tmp_path, scenes):
    out = tmp_path / "out"
    assert main([str(source), str(out), *SMALL]) == 0
    write_image(source / "0.png", dead_leaves(128, 3, 55))
    assert main([str(source), str(out), *SMALL]) == 0
    (copy,) = out.rglob("0.png")
    assert np.array_equal(read_image(copy), read_image(source / "0.png"))
    assert main([str(source), str(out), *SMALL, "--tile", "64"]) == 0
    assert main([str(source), str(out), *SMALL, "--tile", "32"]) == 0
    assert {read_image(path).shape for path in out.rglob("*.png")} == {(32, 32, 3)}


def test_wrong_arguments_are_named(source, tmp_path, capsys):
    assert main([str(source), str(source / "out")]) == 2
    assert "should not be inside" in capsys.readouterr().err
    assert main([str(source), str(tmp_path / "out"), "--tile", "512"]) == 2
    assert main([str(source), str(tmp_path / "out"), *SMALL, "--min_contrast", "1000"]) == 2
    assert "no image is left" in capsys.readouterr().err
    for option, value in (("--processes", "0"), ("--tile", "-1"), ("--val_most", "-1")):
        with pytest.raises(SystemExit):
            main([str(source), str(tmp_path / "new"), option, value])
        assert f"{option}: should be a whole number from" in capsys.readouterr().err


def test_measures_mean_what_they_say(scenes, tmp_path):
    luma = scenes[0].mean(2).astype(np.float32)
    assert sharpness(cv2.GaussianBlur(luma, (0, 0), 2)) < 0.3 * sharpness(luma)
    values = []
    for quality in (95, 60, 20):
        path = tmp_path / f"{quality}.jpg"
        cv2.imwrite(str(path), scenes[0], [cv2.IMWRITE_JPEG_QUALITY, quality])
        values.append(blockiness(read_image(path).mean(2).astype(np.float32)))
        assert abs(jpeg_quality(path.read_bytes()) - quality) <= 1
    assert values == sorted(values) and values[2] > 1.3
    assert measure(tmp_path / "nothing.png").problem


def test_the_quality_of_a_jpeg_file_is_that_which_it_was_saved_with(scenes):
    def encoded(**options):
        file = io.BytesIO()
        Image.fromarray(scenes[0][:32, :32]).save(file, "JPEG", **options)
        return jpeg_quality(file.getvalue())

    assert [encoded(quality=quality) for quality in range(1, 101)] == list(range(1, 101))
    assert encoded(quality=60, optimize=True, progressive=True, subsampling=0) == 60
    flat = [[22] * 64, [22] * 64]  # a table of another program
    assert 80 <= encoded(qtables=flat) <= 84
    assert jpeg_quality(b"\x89PNG") == 100


def test_of_near_duplicates_the_largest_stays():
    found = {
        name: Measures(width=side, height=side, phash=f"{code:016x}")
        for name, side, code in (("a", 100, 0b0111), ("b", 200, 0b0011), ("c", 150, 0xFFFF << 20))
    }
    assert near_duplicates(found, 2) == {"a": "b"}
    assert near_duplicates(found, 0) == {}


def test_the_split_is_by_content():
    limits = Limits(max_hash_distance=-1)
    good = {"width": 999, "height": 999, "contrast": 50, "sharpness": 50}
    found = {f"{n}.png": Measures(**good, sha256=str(n)) for n in range(40)}
    renamed = {f"z{name}": measures for name, measures in found.items()}
    fates = [{m.sha256 for n, m in f.items() if select(f, limits, 0.25, 100)[n].fate == "val"}
             for f in (found, renamed)]  # fmt: skip
    assert fates[0] == fates[1] and 5 <= len(fates[0]) < 16
