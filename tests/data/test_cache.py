"""Caches of decoded images: the same samples with and without, made once, and never in the way of a run."""

import errno
import multiprocessing
import os
import pickle
import resource
import shutil
import threading
from collections import namedtuple
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from traiNNer.data.cache import disk as disk_cache
from traiNNer.data.cache import draft_file, pixel_file
from traiNNer.data.cache.memory import SharedImages
from traiNNer.data.cache.pixel_file import Contents
from traiNNer.data.cache.policy import NO_CACHE, CacheSettings
from traiNNer.data.images.image_io import ImageError, read_image, write_image
from traiNNer.data.loader import TrainLoader
from traiNNer.data.paired_dataset import PairedImageDataset
from traiNNer.data.pairs.file_index import Names
from traiNNer.registry import ConfigError

MEMORY = 2**30
RAM = CacheSettings("ram", MEMORY, MEMORY)
DISK = CacheSettings("disk", MEMORY, MEMORY)
AUTO_DISK = CacheSettings("auto", 0, MEMORY)
FORMATS = (
    ("a.png", np.uint8, 3),
    ("b.jpg", np.uint8, 3),
    ("c.webp", np.uint8, 3),
    ("d.tif", np.uint16, 3),
    ("sub/e.png", np.uint16, 3),
    ("sub/alpha.png", np.uint8, 4),
)


@pytest.fixture
def folders(tmp_path):
    """GT and LQ of every format; the LQ of 16-bit images has 8 bits once, and one image is grey."""
    rng = np.random.default_rng(0)
    for name, dtype, channels in FORMATS:
        gt = rng.integers(0, np.iinfo(dtype).max, (40, 36, channels), dtype=dtype, endpoint=True)
        write_image(tmp_path / "HR" / name, gt)
        lq = np.ascontiguousarray(gt[::2, ::2, :3])
        write_image(
            (tmp_path / "LR" / name).with_suffix(".png"),
            (lq >> 8).astype(np.uint8) if name == "d.tif" else lq,
        )

    cv2.imwrite(str(tmp_path / "HR/grey.png"), gt[..., 0])
    cv2.imwrite(str(tmp_path / "LR/grey.png"), gt[::2, ::2, 0])
    return tmp_path


def opened(folders, cache, **settings):
    return PairedImageDataset([folders / "HR"], [folders / "LR"], 2, cache=cache, **settings)


def files_of(folders):
    """Whatever lies beside the folders of images, hidden files too."""
    return sorted(path.name for path in folders.iterdir() if path.is_file())


def no_decoding(images, monkeypatch):
    def fail(path):
        raise AssertionError(f"{path} is decoded")

    monkeypatch.setattr(images, "_decode", fail)


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_are_the_same_bits_with_and_without_any_cache(folders, workers):
    def samples(cache):
        batches = TrainLoader(opened(folders, cache), seed=1, num_workers=workers).batches(0, 3, 8)
        return [next(batches) for _ in range(12)]

    decoded = samples(NO_CACHE)
    assert {batch.gt.dtype for batch in decoded} == {torch.uint8, torch.uint16}
    for cache in (RAM, DISK, DISK):
        for kept, fresh in zip(samples(cache), decoded, strict=True):
            assert kept.lq.dtype == fresh.lq.dtype
            assert torch.equal(kept.lq, fresh.lq)
            assert torch.equal(kept.gt, fresh.gt)


def test_whole_images_are_those_of_the_files(folders):
    for cache in (RAM, DISK):
        images = opened(folders, cache)
        for _ in range(2):
            for index, path in enumerate(map(images.gt_path, range(len(images)))):
                gt = read_image(path)
                pair = images.pair(index)
                assert pair.gt.dtype == gt.dtype
                assert np.array_equal(pair.gt, gt)
                torch.from_numpy(pair.lq)  # which warns of arrays that are not writable


# --- in memory ---------------------------------------------------------------------------------------------


def test_every_file_is_decoded_once_into_memory(folders, monkeypatch):
    images, decoded = opened(folders, RAM), []
    decode = images._decode
    monkeypatch.setattr(images, "_decode", lambda path: decoded.append(path) or decode(path))
    for _ in range(3):
        for index in range(len(images)):
            images.pair(index)
    assert len(decoded) == len(set(decoded)) == 2 * len(images)


def test_what_a_worker_decodes_its_parent_need_not(folders, monkeypatch):
    images = opened(folders, RAM)
    batches = TrainLoader(images, seed=1, num_workers=1).batches(0, len(images), 8)
    next(batches)
    no_decoding(images, monkeypatch)
    for index in range(len(images)):
        images.pair(index)


def test_a_set_beyond_its_share_of_the_memory_is_not_kept_there(folders):
    for name in ("d.tif", "sub/e.png"):  # leaves 8 bits only
        (folders / "HR" / name).unlink()
        (folders / "LR" / name).with_suffix(".png").unlink()
    size = opened(folders, NO_CACHE).decoded_bytes
    assert size == 5 * 3 * (40 * 36 + 20 * 18)
    assert opened(folders, CacheSettings("auto", size, MEMORY)).kept == "kept in memory once decoded"
    assert "on the disk" in opened(folders, CacheSettings("auto", size - 1, MEMORY)).kept
    with pytest.raises(ConfigError, match="cache: ram takes 0 MiB, and the memory is 0 MiB; 'disk' or 'off'"):
        opened(folders, CacheSettings("ram", 0, size - 1))


def test_an_image_that_is_not_what_its_header_announced_is_not_kept():
    cache = SharedImages(np.array([[2, 3, 2], [2, 3, 1]], np.int32))
    cache.put(0, np.ones((2, 3, 3), np.uint16))
    cache.put(1, np.ones((2, 3, 3), np.uint16))
    assert cache.get(1) is None
    assert cache.get(0).sum() == 18


@pytest.mark.parametrize(("method", "by_name"), [("spawn", False), ("forkserver", False), ("spawn", True)])
def test_what_a_worker_decodes_is_shared_however_workers_are_started(folders, monkeypatch, method, by_name):
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(method, force=True)
    if by_name:  # as on Windows and macOS
        monkeypatch.delattr(os, "memfd_create")
    try:
        images = opened(folders, CacheSettings("ram", 0, MEMORY))
        loader = TrainLoader(images, seed=1, num_workers=1)
        batches = loader.batches(0, len(images), 8)
        got = next(batches)
    finally:
        multiprocessing.set_start_method(before, force=True)
    no_decoding(images, monkeypatch)
    for index in range(len(images)):
        images.pair(index)  # the worker has decoded it, for this process too
    expected = next(TrainLoader(images, seed=1).batches(0, len(images), 8))
    assert torch.equal(got.lq, expected.lq) and torch.equal(got.gt, expected.gt)


def test_a_cache_on_the_disk_cannot_be_written_through(folders):
    opened(folders, DISK)
    image = pixel_file.PixelFile(folders / "HR.pixels").image(0)
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0] = 0
    whole = opened(folders, DISK).pair(0)
    whole.gt[:] = 0  # a copy
    assert opened(folders, DISK).pair(0).gt.any()


def test_where_mapped_files_cannot_be_removed_ours_is_let_go_and_one_in_use_is_left(folders, monkeypatch):
    opened(folders, DISK)
    monkeypatch.setattr(disk_cache, "_REPLACES_MAPPED", False)  # as on Windows
    closed, in_use = [], []
    close, unlink = pixel_file.PixelFile.close, Path.unlink

    def watched(path, **settings):
        if path.suffix == ".pixels":
            assert path in closed
            if in_use:
                raise PermissionError(13, "Access is denied", str(path))
        unlink(path, **settings)

    monkeypatch.setattr(pixel_file.PixelFile, "close", lambda f: (closed.append(f.path), close(f)))
    monkeypatch.setattr(Path, "unlink", watched)
    _touch(folders)
    assert opened(folders, DISK).kept.startswith("kept on the disk")
    assert closed
    _change(folders)
    in_use.append(True)
    images = opened(folders, DISK)
    assert images.kept.endswith("LR.pixels lacks some of them, and another set or run has it in use")
    assert np.array_equal(images.pair(0).lq, opened(folders, NO_CACHE).pair(0).lq)


# --- on the disk -------------------------------------------------------------------------------------------


def test_the_disk_holds_what_is_never_decoded_again(folders, monkeypatch, caplog):
    caplog.set_level("INFO")
    images = opened(folders, DISK)
    assert files_of(folders) == ["HR.pixels", "LR.pixels"]
    assert images.kept == f"kept on the disk ({folders}/HR.pixels, {folders}/LR.pixels)"
    assert f"decoding 7 images of {folders}/HR into {folders}/HR.pixels" in caplog.text
    monkeypatch.setattr(pixel_file, "read_image", None)
    again = opened(folders, DISK)
    for kept in (images, again, pickle.loads(pickle.dumps(again))):
        no_decoding(kept, monkeypatch)
        for index in range(len(kept)):
            kept.pair(index)
    assert caplog.text.count("decoding ") == 2


def test_two_folders_of_one_name_share_a_cache_dir(folders, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("caches") / "new"
    settings = CacheSettings("disk", 0, MEMORY, elsewhere)
    shutil.copytree(folders / "LR", folders / "other/LR")
    opened(folders, settings)
    PairedImageDataset([folders / "HR"], [folders / "other/LR"], 2, cache=settings)
    assert sorted(path.name.split("-")[0] for path in elsewhere.iterdir()) == ["HR", "LR", "LR"]
    assert files_of(folders) == []


def test_a_folder_that_is_listed_twice_has_one_file(folders, monkeypatch):
    shutil.copytree(folders / "LR", folders / "LR_noisy")
    (folders / "LR_noisy/a.png").unlink()
    roots = [folders / "HR"] * 2, [folders / "LR", folders / "LR_noisy"]
    images = PairedImageDataset(*roots, 2, skip_bad_images=True, cache=DISK)
    fresh = PairedImageDataset(*roots, 2, skip_bad_images=True)
    no_decoding(images, monkeypatch)
    for index in range(13):
        assert np.array_equal(images.pair(index).gt, fresh.pair(index).gt)
    assert files_of(folders) == ["HR.pixels", "LR.pixels", "LR_noisy.pixels"]


def _change(folders):
    write_image(folders / "LR/a.png", read_image(folders / "LR/a.png")[:, ::-1].copy())


def _touch(folders):
    os.utime(folders / "LR/a.png", ns=(0, 1))


def _add(folders):
    for folder in ("HR", "LR"):
        shutil.copy(folders / folder / "a.png", folders / folder / "aa.png")


@pytest.mark.parametrize("change", [_change, _touch, _add])
def test_only_files_of_pixels_whose_images_changed_are_made_again(folders, change, caplog):
    caplog.set_level("INFO")
    opened(folders, DISK)
    before = {path: path.stat().st_ino for path in folders.glob("*.pixels")}
    change(folders)
    images, fresh = opened(folders, DISK), opened(folders, NO_CACHE)
    for index in range(len(images)):
        assert np.array_equal(images.pair(index).lq, fresh.pair(index).lq)
    text = f"LR.pixels is out of date (1 of {len(images)} images are new or have changed) and is made again"
    assert text in caplog.text
    assert ("HR.pixels is out of date" in caplog.text) == (change is _add)
    same = {path for path, inode in before.items() if path.stat().st_ino == inode}
    assert (folders / "HR.pixels" in same) == (change is not _add)


def test_sets_of_other_images_of_one_folder_share_its_file_and_read_their_own(folders, monkeypatch):
    names = [Path(name).with_suffix("") for name, _, _ in FORMATS]
    lists = [folders / "train.txt", folders / "val.txt"]
    for file, part in zip(lists, (names[:3], names[2:]), strict=True):
        file.write_text("".join(f"{name}\n" for name in part))
    sets = [opened(folders, DISK, meta_info_file=file) for file in lists]
    decoded = [opened(folders, NO_CACHE, meta_info_file=file) for file in lists]
    with monkeypatch.context() as patch:
        patch.setattr(disk_cache, "write_pixels", None)  # nothing is made a second time
        again = [opened(folders, DISK, meta_info_file=file) for file in lists]
    sent = list(map(pickle.dumps, sets))  # as to workers that are spawned
    for number, images in enumerate([*sets, *map(pickle.loads, sent), *again]):
        no_decoding(images, monkeypatch)
        for index, name in enumerate(images.names):
            pair, fresh = images.pair(index), decoded[number % 2].pair(index)
            assert np.array_equal(pair.gt, fresh.gt) and np.array_equal(pair.lq, fresh.lq), name

    for folder in ("HR", "LR"):
        (folders / folder / "sub/e.png").unlink()  # of the other set
    _change(folders)
    opened(folders, DISK, meta_info_file=lists[0])
    rows = pixel_file.PixelFile(folders / "LR.pixels")._names
    assert list(rows) == ["a.png", "b.png", "c.png", "d.png", "sub/alpha.png"]
    (folders / "HR.pixels").unlink()
    assert np.array_equal(pickle.loads(sent[0]).gt_image(0), decoded[0].gt_image(0))


def test_a_file_that_others_use_is_not_given_up_for_want_of_space(folders, monkeypatch):
    (folders / "one.txt").write_text("a\n")
    opened(folders, DISK)
    before = (folders / "LR.pixels").read_bytes()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(disk_cache.shutil, "disk_usage", lambda _: usage(0, 0, len(before) - 1))
    _touch(folders)
    with pytest.raises(ConfigError, match="are free, of which"):
        opened(folders, DISK, meta_info_file=folders / "one.txt")
    assert (folders / "LR.pixels").read_bytes() == before
    assert opened(folders, DISK).kept.startswith("kept on the disk")  # its own goes first, which makes room


def test_images_that_are_gone_leave_the_rest_valid(folders, monkeypatch, caplog):
    caplog.set_level("INFO")
    opened(folders, DISK)
    (folders / "HR/a.png").unlink()
    (folders / "LR/a.png").unlink()
    images = opened(folders, DISK)
    assert "out of date" not in caplog.text
    fresh = opened(folders, NO_CACHE)
    no_decoding(images, monkeypatch)
    for index in range(6):
        assert np.array_equal(images.pair(index).gt, fresh.pair(index).gt)


def test_an_image_that_cannot_be_decoded_is_named_when_it_is_read(folders, caplog):
    caplog.set_level("INFO")
    path = folders / "HR/a.png"
    path.write_bytes(path.read_bytes()[:200])
    images = opened(folders, DISK)
    assert f"1 of 7 images of {folders}/HR cannot be decoded" in caplog.text
    with pytest.raises(ImageError, match=r"HR/a\.png"):
        images.pair(0)
    images.pair(1)
    shutil.copy(folders / "HR/b.jpg", folders / "HR/aa.jpg")
    shutil.copy(folders / "LR/b.png", folders / "LR/aa.png")
    opened(folders, DISK)
    assert "with 6 from the older file" in caplog.text  # of HR; not the one that has no pixels there


def test_an_image_that_is_not_what_its_header_announced_is_left_out_and_touches_no_other(folders, tmp_path):
    contents = Contents.of(folders / "HR", Names.of(["a.png", "b.jpg", "grey.png"]))
    sizes = np.array([[30, 36, 1], [40, 36, 1], [40, 36, 2]], np.int32)  # of 40 x 36, and 8 bits
    path = tmp_path / "written"
    path.touch()
    assert pixel_file.write_pixels(path, contents, sizes, 2, lambda done: None) == 2
    written = pixel_file.PixelFile(path)
    assert written.image(0) is None
    assert np.array_equal(written.image(1), read_image(folders / "HR/b.jpg"))
    assert written.image(2) is None


def test_what_a_killed_run_left_is_taken_over(folders):
    (folders / ".HR.pixels.partial").write_bytes(b"half" * 100_000)
    images = opened(folders, DISK)
    assert files_of(folders) == ["HR.pixels", "LR.pixels"]
    assert np.array_equal(images.pair(0).gt, read_image(folders / "HR/a.png"))


def test_of_two_runs_that_start_together_one_decodes_and_the_other_waits(folders, monkeypatch, caplog):
    caplog.set_level("INFO")
    waiting, written, found = threading.Event(), [], []
    write = disk_cache.write_pixels

    def slow(path, *arguments):
        written.append(path)
        assert waiting.wait(10)
        return write(path, *arguments)

    flock = draft_file.fcntl.flock

    def watched(file, how):
        if how == draft_file.fcntl.LOCK_EX:
            waiting.set()
        return flock(file, how)

    monkeypatch.setattr(disk_cache, "write_pixels", slow)
    monkeypatch.setattr(draft_file.fcntl, "flock", watched)
    threads = [threading.Thread(target=lambda: found.append(opened(folders, DISK))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(written) == 2  # one for each folder
    assert "another process writes" in caplog.text
    assert files_of(folders) == ["HR.pixels", "LR.pixels"]
    assert all(np.array_equal(images.pair(0).gt, read_image(folders / "HR/a.png")) for images in found)


# --- where the disk does not do ----------------------------------------------------------------------------


@contextmanager
def largest_file(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def refused(folders, settings, reason):
    """Asked for by name it is an error, `auto` goes on without; nothing stays behind."""
    with pytest.raises(ConfigError, match=f"cache: disk: .*{reason}"):
        opened(folders, replace(settings, mode="disk"))
    images = opened(folders, replace(settings, mode="auto", share=0))
    assert images.kept.startswith("decoded for every sample: 0 MiB of memory do not hold them; ")
    assert reason in images.kept
    assert np.array_equal(images.pair(0).gt, read_image(folders / "HR/a.png"))


@pytest.mark.parametrize("size", [5_000, 20_000])
def test_a_disk_that_fills_up_is_left_clean_and_named(folders, size):
    with largest_file(size):
        refused(folders, DISK, "cannot be written")
    assert files_of(folders) == []


def test_space_is_counted_before_anything_is_written(folders, monkeypatch):
    usage = namedtuple("usage", "total used free")
    needed = sum(path.stat().st_size for path in _made(folders))
    monkeypatch.setattr(disk_cache.shutil, "disk_usage", lambda _: usage(0, 0, needed // 2))
    monkeypatch.setattr(disk_cache, "write_pixels", None)
    refused(folders, DISK, "are free, of which at most")
    assert files_of(folders) == []


def test_auto_takes_half_of_the_free_space_and_disk_more(folders, monkeypatch):
    usage = namedtuple("usage", "total used free")
    needed = sum(path.stat().st_size for path in _made(folders))
    monkeypatch.setattr(disk_cache.shutil, "disk_usage", lambda _: usage(0, 0, int(needed * 1.5)))
    assert "at most 50% may be taken" in opened(folders, AUTO_DISK).kept
    assert "kept on the disk" in opened(folders, DISK).kept


def _made(folders):
    """The files of pixels, which are removed once their size is known."""
    opened(folders, DISK)
    for path in folders.glob("*.pixels"):
        yield path
        path.unlink()


def test_a_folder_that_cannot_be_written_to_is_named_with_the_remedy(folders):
    (folders / "file").write_text("")
    refused(folders, replace(DISK, folder=folders / "file/inside"), "cache_dir names another folder")


def test_a_read_only_file_system_still_gives_what_is_there(folders, monkeypatch):
    def read_only(path):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    opened(folders, DISK)
    monkeypatch.setattr(draft_file, "_locked", read_only)
    assert opened(folders, DISK).kept.startswith("kept on the disk")
    _touch(folders)
    refused(folders, DISK, "Read-only file system")


def test_a_file_of_another_kind_is_not_overwritten(folders):
    (folders / "LR.pixels").write_text("mine" * 100)
    refused(folders, DISK, "is not a cache of decoded images")
    assert (folders / "LR.pixels").read_text() == "mine" * 100
    (folders / "LR.pixels").unlink()
    opened(folders, DISK)
    whole = (folders / "LR.pixels").read_bytes()
    (folders / "LR.pixels").write_bytes(whole[:-1])
    refused(folders, DISK, "is damaged; remove it")


def test_a_check_uses_the_disk_but_does_not_write_to_it(folders):
    settings = replace(DISK, may_write=False)
    assert "only a training makes the cache" in opened(folders, settings).kept
    assert files_of(folders) == []
    opened(folders, DISK)
    assert opened(folders, settings).kept.startswith("kept on the disk")
