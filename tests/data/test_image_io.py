"""Every format gives the same pixels, sizes come from headers, and files that are not whole are refused."""

import io
import pickle

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from traiNNer.data.images.image_io import (
    ImageError,
    eight_bits,
    image_header,
    image_size,
    read_image,
    write_image,
)

RNG = np.random.default_rng(0)
RGB8 = RNG.integers(0, 256, (23, 31, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (23, 31, 3), dtype=np.uint16)
GREY = RGB8[..., 0]
LOSSLESS = [".png", ".bmp", ".tif", ".tiff", ".webp"]


def _pil(kind, image=RGB8, mode=None, **settings):
    buffer = io.BytesIO()
    picture = Image.fromarray(image)
    (picture.convert(mode) if mode else picture).save(buffer, kind, **settings)
    return buffer.getvalue()


def _tiff(array, **settings):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **settings)
    return buffer.getvalue()


def _via(image, mode):
    return np.asarray(Image.fromarray(image).convert(mode).convert("RGB"))


def _turned():
    exif = Image.Exif()
    exif[274] = 6
    return exif


def _transparent():
    return np.dstack([RGB8, np.zeros_like(GREY)])


@pytest.fixture
def saved(tmp_path):
    def save(data, name="a.png"):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return save


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_what_is_written_without_loss_is_read_back_equal(tmp_path, suffix):
    path = tmp_path / f"new/b\u00ebeld{suffix}"
    write_image(path, RGB8)
    np.testing.assert_array_equal(read_image(path), RGB8)
    assert [p.name for p in path.parent.iterdir()] == [path.name], "something was left beside it"


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_stay_sixteen(tmp_path, suffix):
    write_image(tmp_path / f"a{suffix}", RGB16)
    image = read_image(tmp_path / f"a{suffix}")
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image, RGB16)
    assert image_size(tmp_path / f"a{suffix}") == (23, 31)


def test_a_jpeg_is_close_and_in_rgb_order(tmp_path):
    smooth = cv2.resize(RGB8, (248, 184), interpolation=cv2.INTER_CUBIC)
    write_image(tmp_path / "a.JPG", smooth)
    difference = read_image(tmp_path / "a.JPG").astype(float) - smooth
    assert 0 < np.abs(difference).mean() < 5 < np.abs(smooth[..., ::-1].astype(float) - smooth).mean()


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("grey png", _pil("PNG", GREY), np.dstack([GREY] * 3)),
        ("grey tiff", _tiff(GREY), np.dstack([GREY] * 3)),
        ("grey bmp", _pil("BMP", GREY), np.dstack([GREY] * 3)),
        ("grey 16-bit png", _pil("PNG", RGB16[..., 0]), np.dstack([RGB16[..., 0]] * 3)),
        ("grey and alpha", _pil("PNG", GREY, "LA"), np.dstack([GREY] * 3)),
        ("invisible colours", _pil("PNG", _transparent()), RGB8),
        ("opaque tiff", _pil("TIFF", RGB8, "RGBA"), RGB8),
        ("two colours", _pil("PNG", GREY, "1"), _via(GREY, "1")),
        ("palette", _pil("PNG", RGB8, "P"), _via(RGB8, "P")),
        ("palette bmp", _pil("BMP", RGB8, "P"), _via(RGB8, "P")),
        ("compressed tiff", _pil("TIFF", compression="tiff_lzw"), RGB8),
        ("big-endian 16-bit tiff", _tiff(RGB16, photometric="rgb", byteorder=">"), RGB16),
        ("big tiff", _tiff(RGB16, photometric="rgb", bigtiff=True), RGB16),
        ("8-bit planes", _tiff(np.moveaxis(RGB8, 2, 0).copy(), photometric="rgb", planarconfig=2), RGB8),
        ("marked as turned", _pil("PNG", exif=_turned()), RGB8),
        ("marked as turned, webp", _pil("WEBP", exif=_turned(), lossless=True), RGB8),
        ("trailing bytes", _pil("PNG") + b"more", RGB8),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_kind_of_file_becomes_rgb(saved, name, data, expected):
    path = saved(data)
    np.testing.assert_array_equal(read_image(path), expected)
    assert image_header(path) == (*expected.shape[:2], expected.itemsize)


@pytest.mark.parametrize(
    "data",
    [
        _pil("JPEG"),
        _pil("JPEG", progressive=True, exif=_turned()),
        _pil("JPEG", GREY),
        _pil("JPEG", RGB8, "CMYK"),
        _pil("WEBP"),
        _pil("WEBP", lossless=True),
        _pil("WEBP", _transparent()),
        _pil("TIFF", exif=_turned()),
        _pil("BMP"),
        _pil("BMP")[:22] + (-23).to_bytes(4, "little", signed=True) + _pil("BMP")[26:],
        _pil("JPEG")[:2] + b"\xff\xff\xff" + _pil("JPEG")[2:],
    ],
)
def test_the_header_tells_the_size_that_decoding_gives(saved, data):
    path = saved(data, "a.bin")
    assert image_size(path) == read_image(path).shape[:2]
    assert image_header(path).value_bytes == 1


def test_the_headers_of_real_photographs_agree_with_decoding(photograph_files):
    files = [p for p in photograph_files[0].parent.iterdir() if p.suffix in (".png", ".jpg")]
    assert len(files) > 25
    for path in files:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        assert image is not None
        assert image_size(path) == image.shape[:2], path


def test_sizes_are_read_without_decoding(saved, monkeypatch):
    paths = [saved(_pil(kind), f"a.{kind}") for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF")]

    def refuse(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(cv2, "imdecode", refuse)
    assert {image_size(path) for path in paths} == {(23, 31)}


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.8, 0.99])
@pytest.mark.parametrize(
    "data",
    [
        _pil("PNG"),
        _pil("JPEG"),
        _pil("WEBP"),
        _pil("WEBP", lossless=True),
        _pil("BMP"),
        _tiff(RGB8, photometric="rgb"),
        _tiff(np.moveaxis(RGB8, 2, 0).copy(), photometric="rgb", planarconfig=2),
        _pil("TIFF", compression="tiff_lzw"),
    ],
    ids=["png", "jpeg", "webp", "webp lossless", "bmp", "tiff", "tiff planes", "tiff lzw"],
)
def test_a_file_that_is_cut_short_is_refused_by_name(saved, data, share):
    path = saved(data[: int(share * len(data))], "a file.img")
    with pytest.raises(ImageError, match=r"a file\.img: is (empty|cut short|damaged)"):
        read_image(path)


def test_a_thumbnails_end_is_not_taken_for_the_photographs(saved):
    whole = _pil("JPEG")
    thumbnail = b"\xff\xe1" + (2 + len(whole)).to_bytes(2, "big") + whole
    data = whole[:2] + thumbnail + whole[2:]
    np.testing.assert_array_equal(read_image(saved(data)), read_image(saved(whole)))
    with pytest.raises(ImageError, match="cut short"):
        read_image(saved(data[:-40]))


def test_a_changed_byte_in_a_png_is_noticed(saved):
    data = bytearray(_pil("PNG"))
    data[len(data) // 2] ^= 0x10
    with pytest.raises(ImageError, match="damaged"):
        read_image(saved(bytes(data)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (_tiff(RGB8.astype(np.float32), photometric="rgb"), "3 channels of float32; save it as"),
        (_tiff(GREY.astype(np.int16)), "1 channel of int16"),
        (_tiff(np.moveaxis(RGB16, 2, 0).copy(), photometric="rgb", planarconfig=2), "separate planes"),
        (_tiff(RGB16[..., 0], photometric="miniswhite"), "0 is white"),
        (_pil("TIFF", RGB8, "CMYK"), "CMYK"),
        (_pil("TIFF", _transparent()), "transparency"),
        (b"<html>not found</html>", "not a PNG, JPEG, WebP, BMP, TIFF"),
    ],
)
def test_what_would_come_out_wrong_is_refused_with_a_remedy(saved, data, reason):
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(saved(data, "odd.tif"))
    assert str(caught.value).startswith(str(saved(data, "odd.tif")))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value), "workers send it by pickle"


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=r"none\.png: cannot be read"):
            read(tmp_path / "none.png")
        with pytest.raises(ImageError, match="cannot be read"):
            read(tmp_path)


def test_writing_what_a_format_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ImageError, match="16 bits"):
        write_image(tmp_path / "a.jpg", RGB16)
    with pytest.raises(ImageError, match="suffix"):
        write_image(tmp_path / "a.gif", RGB8)
    with pytest.raises(ImageError, match="float64"):
        write_image(tmp_path / "a.png", RGB8 / 255)
    assert not list(tmp_path.iterdir())


def test_decoding_starts_no_threads():
    assert cv2.getNumThreads() == 1


def test_sixteen_bits_become_the_nearest_of_eight():
    words = np.arange(2**16, dtype=np.uint16).reshape(1, -1, 1)
    nearest = (words.astype(np.int64) + 128) // 257
    assert np.array_equal(eight_bits(words), nearest)
    assert eight_bits(words).dtype == np.uint8
