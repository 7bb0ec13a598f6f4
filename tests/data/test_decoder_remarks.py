"""Libraries of C write to the standard error without a name: damage is raised, a doubt is said, with the file."""

import io
import os
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from traiNNer.data.decoder_remarks import overheard
from traiNNer.data.image_io import ImageError, read_image


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


def test_what_others_write_meanwhile_is_passed_on_and_a_listener_is_not_waited_for(capfd):
    def decode():
        os.write(2, b"libpng warning: x\na line of somebody\n")
        beside = threading.Thread(target=lambda: unheard.append(overheard(lambda: 2, alone=False)))
        beside.start()
        beside.join(5)
        return 1

    unheard = []
    assert overheard(decode, alone=True) == (1, ["libpng warning: x"])
    assert unheard == [(2, [])]
    assert capfd.readouterr().err == "a line of somebody\n"


def test_without_a_standard_error_images_are_read_all_the_same(monkeypatch):
    def closed(number):
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(os, "dup", closed)
    assert overheard(lambda: 1, alone=True) == (1, [])
