"""Libraries of C write to the standard error without a name: damage is raised, a doubt is said, with the file."""

import io
import multiprocessing
import os
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from traiNNer.data.images.decoder_remarks import overheard
from traiNNer.data.images.image_io import ImageError, read_image


def jpeg(seed=0, **settings):
    buffer = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 255, (64, 48, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG", quality=90, **settings)
    return buffer.getvalue()


WHOLE = jpeg()
MIDDLE = len(WHOLE) // 2
RESTARTS = jpeg(restart_marker_rows=1)
AT = RESTARTS.index(b"\xff\xd2")
DAMAGED = {
    "premature end of data segment": WHOLE[:MIDDLE] + b"\xff\xd9",
    "bad Huffman code": WHOLE[:MIDDLE] + b"\xff\x00" * 40 + WHOLE[MIDDLE + 80 :],
    "found marker 0xd5 instead of RST2": RESTARTS[: AT + 1] + b"\xd5" + RESTARTS[AT + 2 :],
}


@pytest.mark.parametrize("remark", DAMAGED)
def test_a_jpeg_with_other_pixels_than_it_had_is_refused_by_name(tmp_path, capfd, remark):
    (tmp_path / "a.jpg").write_bytes(DAMAGED[remark])
    with pytest.raises(ImageError, match=rf"a\.jpg: is damaged \(Corrupt JPEG data: {remark}\)"):
        read_image(tmp_path / "a.jpg")
    assert capfd.readouterr().err == ""


def test_a_jpeg_with_bytes_too_many_is_read_and_named_once(tmp_path, capfd, caplog):
    (tmp_path / "a.jpg").write_bytes(WHOLE)
    (tmp_path / "b.jpg").write_bytes(WHOLE[:-2] + b"abc" + WHOLE[-2:])
    assert np.array_equal(read_image(tmp_path / "a.jpg"), read_image(tmp_path / "b.jpg"))
    read_image(tmp_path / "b.jpg")
    (line,) = caplog.messages
    assert line.startswith(f"{tmp_path / 'b.jpg'}: may be damaged (Corrupt JPEG data: ")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("content", [b"x", zlib.compress(bytes(10)), zlib.compress(b"\x09" * 200)])
def test_a_png_whose_checksums_are_right_and_whose_pixels_are_not_is_refused_in_one_line(
    tmp_path, capfd, content
):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    data = buffer.getvalue()
    at = data.index(b"IDAT")
    end = data.index(b"IEND") - 4
    body = b"IDAT" + content
    made = data[: at - 4] + len(content).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(made + data[end:])
    with pytest.raises(ImageError, match=r"a\.png: is damaged"):
        read_image(tmp_path / "a.png")
    assert capfd.readouterr().err == ""


def test_every_thread_is_told_of_its_own_image(tmp_path, capfd):
    for index in range(40):
        (tmp_path / f"{index}.jpg").write_bytes(WHOLE if index % 2 else DAMAGED["bad Huffman code"])

    def fault(index):
        try:
            read_image(tmp_path / f"{index}.jpg")
        except ImageError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        faults = list(pool.map(fault, range(40)))
    assert [bool(line) for line in faults] == [index % 2 == 0 for index in range(40)]
    assert all(line is None or line.startswith(f"{tmp_path / str(i)}.jpg: ") for i, line in enumerate(faults))
    assert capfd.readouterr().err == ""


def test_threads_decode_beside_each_other_and_only_the_remark_decides_who_repeats(capfd):
    beside, calls = threading.Barrier(4), []

    def decode(index):
        calls.append(index)
        if calls.count(index) == 1:
            beside.wait(10)
        if index == 2:
            os.write(2, b"a line of somebody\nlibpng warning: x\n")
        if calls.count(index) == 1:
            beside.wait(10)
        return index

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda index: overheard(lambda: decode(index)), range(4)))
    assert told == [(0, []), (1, []), (2, ["libpng warning: x"]), (3, [])]
    calls.clear()
    beside = threading.Barrier(1)
    assert overheard(lambda: decode(2)) == (2, ["libpng warning: x"])
    assert overheard(lambda: decode(1)) == (1, [])
    assert calls == [2, 1]  # nobody was beside them
    assert capfd.readouterr().err == "a line of somebody\n" * 3


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_a_process_that_is_born_meanwhile_is_not_waited_for_and_loses_no_word(capfd):
    def decode():
        script = "echo early >&2; read line; echo late >&2"
        born.append(subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE))

    born = []
    overheard(decode)  # does not come back while a pipe is read that the shell holds
    born[0].communicate(b"\n", timeout=10)
    assert born[0].returncode == 0
    assert overheard(lambda: 1) == (1, [])
    assert capfd.readouterr().err == "early\nlate\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs os.fork")
def test_a_forked_process_listens_for_itself(capfd):
    overheard(lambda: None)
    run = multiprocessing.get_context("fork").Process(target=_say_and_listen)
    run.start()
    run.join(10)
    assert run.exitcode == 0
    assert overheard(lambda: os.write(2, b"libpng warning: y\n"))[1] == ["libpng warning: y"]
    assert capfd.readouterr().err == "of the child\n"


def _say_and_listen():
    assert overheard(lambda: os.write(2, b"libpng warning: x\n"))[1] == ["libpng warning: x"]
    os.write(2, b"of the child\n")


def test_without_a_standard_error_images_are_read_all_the_same(monkeypatch):
    def closed(number):
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(os, "dup", closed)
    assert overheard(lambda: 1) == (1, [])
