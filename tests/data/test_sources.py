"""Pairs are matched by name, checked by size before training, and cut alike from LQ and GT."""

import logging
import multiprocessing
import os
import pickle
import re
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from traiNNer.data.cache import policy as caching
from traiNNer.data.cache.policy import CacheSettings
from traiNNer.data.images.image_io import ImageError, write_image
from traiNNer.data.images.resize import imresize
from traiNNer.data.paired_dataset import PairedImageDataset
from traiNNer.data.pairs import pair_sizes as headers
from traiNNer.data.pairs.file_index import Names
from traiNNer.data.pairs.pairing import Problems, paired_files
from traiNNer.data.sampler import Sampler, SampleSpec
from traiNNer.data.single_dataset import SingleImageDataset
from traiNNer.data.training_set import report_small
from traiNNer.registry import ConfigError

STRAIGHT = SampleSpec(index=0, row=0.0, column=0.0, flip_rows=False, flip_columns=False, transpose=False)


def _photo(seed, height, width, dtype=np.uint8):
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, (height, width, 3), dtype=dtype, endpoint=True)


def _big(lq, scale):
    """Every LQ pixel as a block of scale x scale: GT of which the LQ is recovered by striding."""
    return lq.repeat(scale, axis=0).repeat(scale, axis=1)


@pytest.fixture
def folders(tmp_path):
    """Write LQ and GT under names and give the two folders."""

    def make(sizes, scale=2, where="set", suffixes=(".png", ".png"), template="{}"):
        gt, lq = tmp_path / where / "HR", tmp_path / where / "LR"
        for number, (name, size) in enumerate(sizes.items()):
            image = _photo(number, *size)
            folder, _, base = name.rpartition("/")
            write_image(lq / folder / f"{template.format(base)}{suffixes[1]}", image)
            write_image(gt / folder / f"{base}{suffixes[0]}", _big(image, scale))
        return gt, lq

    return make


def test_pairs_are_matched_by_relative_path_and_stem_whatever_the_format(folders):
    sizes = {"b": (10, 12), "a": (8, 9), "sub/a": (11, 7), "sub/deep/c.d": (6, 6)}
    gt, lq = folders(sizes, suffixes=(".PNG", ".tif"))
    (gt / "notes.txt").write_text("no image")
    (lq / ".hidden.png").write_text("no image")
    data = PairedImageDataset([gt], [lq], 2)
    assert data.names == ["a", "b", "sub/a", "sub/deep/c.d"]
    for index, name in enumerate(data.names):
        pair = data.pair(index)
        assert pair.name == name
        assert pair.lq.shape[:2] == sizes[name]
        np.testing.assert_array_equal(pair.gt, _big(pair.lq, 2))


def test_a_template_gives_the_lq_names_and_several_roots_follow_each_other(folders):
    first = folders({"a": (8, 8), "x/b": (8, 8)}, scale=4, where="one", template="{}x4")
    second = folders({"a": (9, 8)}, scale=4, where="two", template="{}x4")
    roots = zip(first, second, strict=True)
    data = PairedImageDataset(*roots, 4, filename_tmpl="{}x4")
    assert data.names == ["1/a", "1/x/b", "2/a"]
    assert data.pair(2).lq.shape == (9, 8, 3)
    with pytest.raises(ConfigError, match=r"is filename_tmpl '\{\}' right\?"):
        PairedImageDataset([first[0]], [first[1]], 4)


@pytest.mark.parametrize("template", ["x4", "{0}{1}", "{name}", "{"])
def test_a_template_without_a_place_for_the_name_is_refused(folders, template):
    gt, lq = folders({"a": (8, 8)})
    with pytest.raises(ConfigError, match="filename_tmpl"):
        PairedImageDataset([gt], [lq], 2, filename_tmpl=template)


def test_everything_that_does_not_fit_is_listed_at_once(folders):
    gt, lq = folders({f"{n:02}": (8, 8) for n in range(40)})
    for n in range(25):
        (lq / f"{n:02}.png").unlink()
    (gt / "30.png").unlink()
    write_image(gt / "31.png", _photo(0, 20, 16))
    write_image(gt / "32.png", _photo(0, 15, 16))
    (lq / "33.png").write_bytes(b"")
    write_image(gt / "34.jpg", _photo(0, 16, 16))
    with pytest.raises(ConfigError) as caught:
        PairedImageDataset([gt], [lq], 2)
    text = str(caught.value)
    assert f"GT images in {gt} without an LQ image in {lq} (25):\n  00.png\n  01.png" in text
    assert "  19.png\n  and 5 more" in text
    assert "  20.png" not in text
    assert f"LQ images in {lq} without a GT image in {gt} (1):\n  30.png" in text
    assert "pairs that do not fit (3):" in text
    assert "31.png is 16x20" in text
    assert "scale 2 needs a GT of 16x16 (width x height)" in text
    assert "32.png is 16x15" in text
    assert "33.png: is empty" in text
    assert "differ from another only by their suffix (1):\n  34.png" in text
    assert "skip_bad_images: true" in text


def test_a_folder_that_is_both_is_listed_once(folders, caplog):
    gt, _ = folders({"a": (8, 8), "b": (8, 8)})
    write_image(gt / "a.jpg", _photo(0, 16, 16))
    (gt / "notes.txt").touch()
    with caplog.at_level("INFO"), pytest.raises(ConfigError) as caught:
        PairedImageDataset([gt], [gt], 1)
    assert str(caught.value).count("differ from another only by their suffix (1):\n  a.png") == 1
    assert caplog.text.count("1 other file passed over: .txt") == 1
    assert PairedImageDataset([gt], [gt], 1, skip_bad_images=True).names == ["a", "b"]


def test_skip_bad_images_goes_on_with_the_rest_and_says_so(folders, caplog):
    gt, lq = folders({"a": (8, 8), "b": (8, 8), "c": (8, 9), "d": (8, 8)})
    (lq / "a.png").unlink()
    write_image(gt / "b.png", _photo(0, 20, 16))
    (lq / "d.png").write_bytes(b"no image")
    data = PairedImageDataset([gt], [lq], 2, skip_bad_images=True)
    assert data.names == ["c"]
    assert data.headers.tolist() == [[8, 9]]
    assert data.pair(0).lq.shape == (8, 9, 3)
    for name in ("a.png", "b.png", "d.png"):
        assert name in caplog.text
    (gt / "c.png").unlink()
    with pytest.raises(ConfigError, match="no image is left"):
        PairedImageDataset([gt], [lq], 2, skip_bad_images=True)


def test_missing_folders_are_named_and_a_missing_lq_gets_the_command_that_makes_it(tmp_path, folders):
    gt, lq = folders({"a": (8, 8)})
    with pytest.raises(ConfigError, match=r"nowhere: is not a folder$"):
        PairedImageDataset([gt], [tmp_path / "nowhere"], 2)
    with pytest.raises(
        ConfigError, match=rf"^nowhere: is not a folder \(seen from {re.escape(str(Path.cwd()))}\)$"
    ):
        PairedImageDataset([gt], ["nowhere"], 2)
    with pytest.raises(ConfigError, match=r"a\.png: is a file, not a folder$"):
        PairedImageDataset([gt], [lq / "a.png"], 2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty: holds no image"):
        PairedImageDataset([tmp_path / "empty"], [lq], 2)
    with pytest.raises(
        ConfigError, match=rf"make {gt.parent}/LRx2 .*scripts/make_lr.py {gt} {gt.parent} --scale 2"
    ):
        PairedImageDataset([gt], [], 2)
    with pytest.raises(ConfigError, match="go in pairs"):
        PairedImageDataset([gt, gt], [lq], 2)
    with pytest.raises(ConfigError, match="dataroot_gt is missing"):
        PairedImageDataset([], [lq], 2)


def test_photographs_load_with_gt_cut_to_the_lq_size_times_scale(photographs, tmp_path, caplog):
    for index, cut in enumerate((0, 1, 2)):
        gt = photographs[index][: 240 - cut, : 239 + cut]
        write_image(tmp_path / f"HR/{index}.png", gt)
        kept = gt[: gt.shape[0] // 3 * 3, : gt.shape[1] // 3 * 3]
        write_image(tmp_path / f"LRx3/{index}.png", imresize(kept, 1 / 3))
    with caplog.at_level("INFO"):
        data = PairedImageDataset([tmp_path / "HR"], [tmp_path / "LRx3"], 3)
    assert "3 of 3 GT images are larger" in caplog.text
    assert {record.levelname for record in caplog.records} == {"INFO"}  # make_lr.py itself makes such pairs
    for index in range(3):
        lq, gt, _ = data.pair(index)
        assert gt.shape[:2] == (lq.shape[0] * 3, lq.shape[1] * 3)
        np.testing.assert_array_equal(imresize(gt, 1 / 3), lq)


def test_a_crop_is_the_same_place_in_lq_and_gt_for_every_draw(folders):
    gt, lq = folders({"a": (13, 17), "b": (9, 9)}, scale=3)
    data = PairedImageDataset([gt], [lq], 3)
    whole = [data.pair(index).lq for index in range(2)]
    corners = set()
    for position in range(1200):
        draw = Sampler(2, seed=5)[position]
        patch = data.read(draw, 8)
        assert patch.lq.shape == (8, 8, 3)
        assert patch.lq.flags.c_contiguous and patch.gt.flags.c_contiguous
        np.testing.assert_array_equal(patch.gt, _big(patch.lq, 3))
        unturned = patch.lq.swapaxes(0, 1) if draw.transpose else patch.lq
        unturned = unturned[:: -1 if draw.flip_rows else 1, :: -1 if draw.flip_columns else 1]
        found = np.lib.stride_tricks.sliding_window_view(whole[draw.index], (8, 8, 3))[:, :, 0] == unturned
        corners |= {(draw.index, *map(int, at)) for at in np.argwhere(found.all(axis=(2, 3, 4)))}
    assert corners == {(0, y, x) for y in range(6) for x in range(10)} | {
        (1, y, x) for y in (0, 1) for x in (0, 1)
    }


def test_flips_can_be_switched_off(folders):
    gt, lq = folders({"a": (8, 8)})
    turned = SampleSpec(index=0, row=0.0, column=0.0, flip_rows=True, flip_columns=True, transpose=True)
    image = PairedImageDataset([gt], [lq], 2).pair(0).lq
    expected = {
        (False, False): image,
        (True, False): image[:, ::-1],
        (False, True): image[::-1].swapaxes(0, 1),
        (True, True): image[::-1, ::-1].swapaxes(0, 1),
    }
    for (hflip, rot), wanted in expected.items():
        data = PairedImageDataset([gt], [lq], 2, use_hflip=hflip, use_rot=rot)
        np.testing.assert_array_equal(data.read(turned, 8).lq, wanted)


@pytest.mark.parametrize("size", [(5, 9), (1, 1), (3, 20)])
def test_small_images_are_padded_alike_in_lq_and_gt_and_reported(folders, caplog, size):
    gt, lq = folders({"a": size, "b": (16, 16)}, scale=3)
    data = PairedImageDataset([gt], [lq], 3)
    patch = data.read(STRAIGHT, 16)
    assert patch.lq.shape == (16, 16, 3)
    np.testing.assert_array_equal(patch.gt, _big(patch.lq, 3))
    inside = data.pair(0).lq[:16, :16]
    np.testing.assert_array_equal(patch.lq[: inside.shape[0], : inside.shape[1]], inside)
    if size[0] > 4:
        np.testing.assert_array_equal(patch.lq[5:10], patch.lq[:5][::-1])
    assert report_small(data, 16) == 1
    assert "1 of 2 images are smaller than the crop (16 LQ pixels)" in caplog.text
    assert report_small(data, 1) == 0


def test_eight_and_sixteen_bits_meet_at_full_range(folders):
    gt, lq = folders({"a": (8, 8)})
    white = np.full((8, 8, 3), 255, np.uint8)
    write_image(lq / "a.png", white)
    write_image(gt / "a.png", _photo(1, 16, 16, np.uint16))
    data = PairedImageDataset([gt], [lq], 2)
    for patch in (data.read(STRAIGHT, 4), data.pair(0)):
        assert patch.lq.dtype == patch.gt.dtype == np.uint16
        assert patch.lq.min() == 65535


def test_a_file_that_breaks_during_the_run_is_named(folders):
    gt, lq = folders({"a": (8, 8)})
    data = PairedImageDataset([gt], [lq], 2)
    write_image(gt / "a.png", _photo(0, 30, 16))
    with pytest.raises(ImageError, match=r"HR/a\.png: its size \(30, 16\) does not fit"):
        data.read(STRAIGHT, 4)
    (lq / "a.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"LR/a\.png: is empty"):
        data.pair(0)


def _read(data, position):
    return data.read(Sampler(len(data), seed=1)[position], 6)


def test_a_worker_process_reads_the_same_samples(folders):
    gt, lq = folders({"a": (8, 8), "b": (9, 11)})
    data = PairedImageDataset([gt], [lq], 2)
    with ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn")
    ) as pool:  # a Pool waits for ever if it dies
        there = list(pool.map(_read, [data] * 4, range(4)))
    for position, patch in enumerate(there):
        np.testing.assert_array_equal(patch.gt, _read(data, position).gt)
    assert len(pickle.dumps(data)) < 5000


def test_names_take_little_memory_and_come_back_equal():
    names = [f"folder {n % 7}/b\u00ebeld {n}.png" for n in range(20_000)] + ["bad \udcff.png"]
    tracemalloc.start()
    kept = Names.of(names)
    assert tracemalloc.get_traced_memory()[0] < 40 * len(names)
    tracemalloc.stop()
    assert [kept[index] for index in range(len(kept))] == names
    assert kept[-1] == names[-1]
    with pytest.raises(IndexError):
        kept[len(names)]


@pytest.fixture
def asked(monkeypatch):
    """The files whose state is asked for."""
    stat, files = os.stat, []
    monkeypatch.setattr(os, "stat", lambda path, **more: files.append(path) or stat(path, **more))
    return files


@pytest.fixture
def large(monkeypatch):
    """Sets of more than 20 pairs are large, of which 5 are looked at."""
    monkeypatch.setattr(headers, "LARGE", 20)
    monkeypatch.setattr(caching, "LARGE", 20)
    monkeypatch.setattr(headers, "_SAMPLE", 5)
    looked_at = []
    read = headers.image_header
    monkeypatch.setattr(headers, "image_header", lambda path: looked_at.append(path) or read(path))
    return looked_at


def test_of_a_large_set_a_sample_of_headers_is_read_and_the_rest_is_checked_when_it_is_drawn(
    folders, large, caplog
):
    caplog.set_level("INFO")
    gt, lq = folders({f"{n:02}": (8, 8 + n) for n in range(30)})
    write_image(gt / "01.png", _photo(0, 20, 16))
    data = PairedImageDataset([gt], [lq], 2)
    assert len(large) == 10
    assert data.headers[[0, 1, -1]].tolist() == [[8, 8], [0, 0], [8, 37]]
    assert "the headers of 5 of 30 pairs were checked" in caplog.text
    assert data.decoded_bytes == pytest.approx(30 * 8 * 22.5 * 3 * 5, rel=0.05)
    assert report_small(data, 12) == 5
    with pytest.raises(ImageError, match=r"01\.png: its size \(20, 16\) does not fit \(8, 9\)"):
        data.pair(1)
    write_image(gt / "29.png", _photo(0, 20, 16))
    with pytest.raises(ConfigError, match=r"pairs that do not fit \(1\):\n.*29\.png"):
        PairedImageDataset([gt], [lq], 2)
    assert len(PairedImageDataset([gt], [lq], 2, skip_bad_images=True)) == 29


def test_a_large_set_is_kept_in_memory_if_it_fits_and_on_the_disk_if_asked_for(folders, large, asked):
    gt, lq = folders({f"{n:02}": (8, 8) for n in range(30)})

    def opened(mode, share):
        return PairedImageDataset([gt], [lq], 2, cache=CacheSettings(mode, share, 2**30)).kept

    assert opened("auto", 30 * 64 * 15) == "kept in memory once decoded"
    assert len(large) == 60
    asked.clear()
    assert "so that cache: disk has to be asked for" in opened("auto", 1000)
    assert len(asked) < 20  # the folders, and the few files whose headers are read
    assert not list(gt.parent.glob("*.pixels"))
    assert opened("disk", 0).startswith("kept on the disk")
    large.clear()
    assert opened("auto", 1000).startswith("kept on the disk")
    assert len(large) == 10
    os.utime(gt / "07.png", ns=(0, 1))
    assert "so that cache: disk has to be asked for" in opened("auto", 1000)


def test_names_are_matched_without_opening_or_asking_for_files_in_little_memory(tmp_path, asked):
    count = 3_000
    for folder in ("HR", "LR"):
        (tmp_path / folder).mkdir()
        for number in range(count):
            os.close(os.open(tmp_path / folder / f"picture_{number:06}.png", os.O_CREAT))
    tracemalloc.start()
    pairs = paired_files([tmp_path / "HR"], [tmp_path / "LR"], "{}", Problems(skip=False))
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(pairs.gt) == len(pairs.lq) == count
    assert len(asked) < 10  # of the folders
    assert kept < 80 * count
    assert peak < 450 * count


def test_progress_counts_every_pair(folders):
    gt, lq = folders({"a": (8, 8), "b": (8, 8)})
    seen = []
    PairedImageDataset([gt], [lq], 2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 2)]


def test_single_images_need_no_ground_truth(folders, caplog):
    _, lq = folders({"a": (8, 8), "sub/b": (9, 8)})
    data = SingleImageDataset([lq])
    assert (len(data), data.names) == (2, ["a", "sub/b"])
    assert data.pair(1).gt is None
    assert data.pair(1).lq.shape == (9, 8, 3)
    (lq / "a.png").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"unreadable images \(1\):\n  .*a\.png: is empty"):
        SingleImageDataset([lq])
    assert SingleImageDataset([lq], skip_bad_images=True).names == ["sub/b"]
    assert "a.png" in caplog.text
    with pytest.raises(ConfigError, match="dataroot_lq is missing"):
        SingleImageDataset([])


def test_logged_warnings_name_this_module(folders, caplog):
    gt, lq = folders({"a": (8, 8)})
    report_small(PairedImageDataset([gt], [lq], 2), 99)
    assert [(record.name, record.levelno) for record in caplog.records] == [
        ("traiNNer.data.training_set", logging.WARNING)
    ]


def test_a_png_that_says_it_has_billions_of_pixels_is_named(folders):
    gt, lq = folders({"a": (8, 8), "b": (8, 8)})
    for folder, side in ((gt, 0xFFFFFFFE), (lq, 0x7FFFFFFF)):
        data = bytearray((folder / "a.png").read_bytes())
        data[16:24] = side.to_bytes(4, "big") * 2
        (folder / "a.png").write_bytes(bytes(data))
    with pytest.raises(ConfigError, match=r"a\.png: is a PNG that says it has 4294967294 x"):
        PairedImageDataset([gt], [lq], 2)
