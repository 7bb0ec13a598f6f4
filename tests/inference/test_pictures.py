"""Pictures of others: turned, grey, transparent, profiled, animated, with pages, and what cannot be read."""

import io
import os
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps
from test_upscale import model, run, upscaler, waves  # noqa: F401 -- the first is a fixture

from traiNNer.data.images.image_io import ImageError, read_image, write_image
from traiNNer.inference.picture import Picture, filled, read_picture, read_picture_file, turned

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def saved(path, pixels, form=None, **settings):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, form, **settings)
    return path


def exif(orientation):
    mark = Image.Exif()
    mark[0x0112] = orientation
    return mark


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["jpg", "png", "webp"])
def test_every_format_is_turned_as_viewers_turn_it(tmp_path, form, orientation):
    path = saved(tmp_path / f"a.{form}", waves(12, 20), exif=exif(orientation), **(LOSSLESS.get(form, {})))
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.abs(read_picture(path).pixels.astype(int) - expected).max() <= (6 if form == "jpg" else 0)
    assert read_image(path).shape == (12, 20, 3), "pairs are compared as they are stored"


LOSSLESS = {"webp": {"lossless": True}}


def test_turning_is_that_of_the_standard():
    marks = np.arange(6).reshape(2, 3)
    with_pillow = [
        np.asarray(ImageOps.exif_transpose(marked(marks, orientation))) for orientation in range(1, 9)
    ]
    assert all(np.array_equal(turned(marks, k + 1), expected) for k, expected in enumerate(with_pillow))


def marked(marks, orientation):
    image = Image.fromarray(marks.astype(np.uint8))
    image.getexif()[0x0112] = orientation
    return image


@pytest.mark.parametrize("form", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("deep", [False, True])
def test_grey_stays_grey(model, tmp_path, form, deep):  # noqa: F811
    grey = waves(16, 18, white=65535 if deep else 255)[..., :1]
    write_image(tmp_path / "in.png", grey)
    assert run(model, tmp_path / "in.png", tmp_path / "out", "--format", form) == 0
    with Image.open(tmp_path / f"out/in.{form}") as image:
        assert form == "webp" or image.mode in ("L", "I;16")
        made = read_image(tmp_path / f"out/in.{form}")
    assert np.ptp(made, axis=2).max() == 0
    white = 65535 if made.dtype == np.uint16 else 255
    of_three = upscaler().pixels(np.repeat(grey, 3, axis=2)).mean(axis=2) / (65535 if deep else 255)
    assert np.abs(made[..., 0] / white - of_three).max() < (0.03 if form == "jpg" else 0.005)


def test_a_grey_picture_in_colours_keeps_its_kind_and_has_no_tint():
    grey = np.repeat(waves(16, 18)[..., :1], 3, axis=2)
    assert np.ptp(upscaler().pixels(grey), axis=2).max() > 0, "the network tints"
    made = upscaler().picture(Picture(grey, None))
    assert made.shape == (32, 36, 3)
    assert np.ptp(made, axis=2).max() == 0
    assert np.ptp(upscaler().picture(Picture(waves(16, 18), None)), axis=2).max() > 0


@pytest.mark.parametrize("form", ["png", "jpg", "webp", "tif"])
def test_a_colour_profile_is_kept(model, tmp_path, form):  # noqa: F811
    for kind in ("png", "jpg", "webp", "tiff"):
        saved(tmp_path / f"{kind}.{kind}", waves(12, 14), icc_profile=SRGB)
        assert run(model, tmp_path / f"{kind}.{kind}", tmp_path / "out", "--format", form) == 0
        with Image.open(tmp_path / f"out/{kind}.{form}") as image:
            assert image.info["icc_profile"] == SRGB, kind


def test_sixteen_bits_keep_their_profile_and_what_cannot_is_said(model, tmp_path, capsys):  # noqa: F811
    write_image(tmp_path / "in.png", waves(12, 14, white=65535), profile=SRGB)
    assert run(model, tmp_path / "in.png", tmp_path / "out.png") == 0
    assert read_image(tmp_path / "out.png").dtype == np.uint16
    assert read_picture_file(tmp_path / "out.png").profile == SRGB
    assert run(model, tmp_path / "in.png", tmp_path / "out.bmp") == 0
    assert "1 without the colour profile" in capsys.readouterr().out
    saved(tmp_path / "grey.png", Image.fromarray(waves(9, 9)[..., 0]), icc_profile=SRGB)
    assert run(model, tmp_path / "grey.png", tmp_path / "grey2.png") == 0
    assert read_picture_file(tmp_path / "grey2.png").profile == SRGB, "of RGB, so it is written as RGB"


def test_hidden_colours_do_not_reach_the_edge():
    rows, columns = np.mgrid[-16:16, -16:16]
    disc = (rows**2 + columns**2 < 100).astype(np.uint8) * 255
    on_black = np.repeat(disc[..., None], 3, axis=2)
    made = upscaler().picture(Picture(on_black, disc))
    white = upscaler().pixels(np.full((32, 32, 3), 255, np.uint8))
    visible = made[..., 3] > 0
    assert np.abs(made[..., :3][visible] - white[visible].mean(axis=-1, keepdims=True)).max() <= 1
    dark = upscaler().pixels(on_black)[visible]
    assert dark.min() < made[..., :3][visible].min() - 50, "black would have come in"


def test_filling_takes_the_nearest_visible_colour():
    pixels = np.zeros((1, 7, 3), np.uint8)
    pixels[0, 1], pixels[0, 6] = 10, 90
    alpha = np.array([[0, 5, 0, 0, 0, 0, 255]], np.uint8)
    assert filled(pixels, alpha)[0, :, 0].tolist() == [10, 10, 10, 10, 90, 90, 90]
    for same in (np.zeros_like(alpha), np.full_like(alpha, 9)):
        assert filled(pixels, same) is pixels


def frames(count, alpha=False):
    shapes = [np.roll(waves(12, 16), 3 * k, axis=1) for k in range(count)]
    return [Image.fromarray(np.dstack([s, s[..., 0]]) if alpha else s) for s in shapes]


def animation(path, count=3, alpha=False, **settings):
    first, *others = frames(count, alpha)
    first.save(path, save_all=True, append_images=others, duration=[40, 80, 120][:count], loop=2, **settings)
    return path


@pytest.mark.parametrize("form", ["png", "webp"])
@pytest.mark.parametrize("kind", ["webp", "png", "gif"])
@pytest.mark.parametrize("alpha", [False, True])
def test_every_frame_of_an_animation_is_enlarged(model, tmp_path, form, kind, alpha):  # noqa: F811
    source = animation(tmp_path / f"in.{kind}", alpha=alpha, **LOSSLESS.get(kind, {}))
    assert run(model, source, tmp_path / "out", "--format", form) == 0
    made, given = read_picture_file(tmp_path / f"out/in.{form}"), read_picture_file(source)
    assert (made.number, made.durations, made.loop) == (3, given.durations, given.loop)
    for big, small in zip(made.frames, given.frames, strict=True):
        expected = upscaler().picture(small)
        assert np.array_equal(big.pixels, expected[..., :3]) or small.alpha is not None
        assert (big.alpha is None) == (small.alpha is None)


def test_a_format_without_frames_gets_the_first_and_it_is_said(model, tmp_path, capsys):  # noqa: F811
    animation(tmp_path / "in.webp", lossless=True)
    assert run(model, tmp_path / "in.webp", tmp_path / "out.jpg") == 0
    assert (
        "1 without all frames but the first, as jpg files (--format webp keeps them)"
        in capsys.readouterr().out
    )


def test_every_page_of_a_tiff_is_enlarged(model, tmp_path, capsys):  # noqa: F811
    first, *others = frames(3)
    saved(tmp_path / "in.tif", first, save_all=True, append_images=others)
    assert run(model, tmp_path / "in.tif", tmp_path / "out.tif") == 0
    made = read_picture_file(tmp_path / "out.tif")
    assert made.number == 3
    for big, small in zip(made.frames, frames(3), strict=True):
        assert np.array_equal(big.pixels, upscaler().pixels(np.array(small)))
    assert run(model, tmp_path / "in.tif", tmp_path / "out.png") == 0
    assert "1 without all pages but the first" in capsys.readouterr().out


def test_every_file_of_a_folder_is_done_or_named(model, tmp_path, capsys):  # noqa: F811
    (tmp_path / "in").mkdir()
    for name, form in (("a.jfif", "JPEG"), ("b.gif", "GIF"), ("c.avif", "AVIF"), ("d.PNG", "PNG")):
        saved(tmp_path / "in" / name, waves(9, 11), form)
    (tmp_path / "in/notes.txt").write_text("x")
    (tmp_path / "in/photo.heic").write_bytes(b"x")
    os.mkfifo(tmp_path / "in/pipe.png")
    assert run(model, tmp_path / "in", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png", "c.png", "d.png"]
    assert "3 other files passed over: .heic .txt pipes and devices" in capsys.readouterr().out


def test_a_pipe_is_refused_instead_of_waited_for(model, tmp_path, capsys):  # noqa: F811
    os.mkfifo(tmp_path / "pipe.png")
    assert run(model, tmp_path / "pipe.png", tmp_path / "out") == 1
    assert "pipe.png: cannot be read (a pipe, device or socket, no file)" in capsys.readouterr().err


def test_where_nothing_can_be_written_it_is_said_and_nothing_is_left(model, tmp_path, capsys):  # noqa: F811
    write_image(tmp_path / "in.png", waves(8, 8))
    (tmp_path / "file").write_text("x")
    assert run(model, tmp_path / "in.png", tmp_path / "file/out") == 1
    assert "file/out: Not a directory" in capsys.readouterr().err
    (tmp_path / "out/in.png").mkdir(parents=True)
    assert run(model, tmp_path / "in.png", tmp_path / "out", "--overwrite") == 1
    assert "in.png: Is a directory" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.part"))


def chunk(name, data):
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


REMARKABLE = {
    "profile": chunk(b"iCCP", b"x\0\0not zlib"),
    "significant bits": chunk(b"sBIT", b"\xff\xff\xff"),
    "checksum": chunk(b"gAMA", b"\0\0\xb1\x8f")[:-1] + b"?",
    "text": chunk(b"tEXt", b""),
    "exif": chunk(b"eXIf", b"nonsense"),
}


@pytest.mark.parametrize("extra", REMARKABLE.values(), ids=REMARKABLE)
def test_libpng_has_nothing_to_say_of_what_no_pixel_depends_on(tmp_path, capfd, extra):
    data = png(waves(8, 9))
    (tmp_path / "a.png").write_bytes(data[:33] + extra + data[33:])
    assert np.array_equal(read_image(tmp_path / "a.png"), waves(8, 9))
    read_picture_file(tmp_path / "a.png")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("size", [(0xFFFFFFFE, 8), (0x7FFFFFFF, 4), (0, 4), (4, 0), (999_999, 999_999)])
def test_a_header_of_impossible_size_is_refused_by_name(tmp_path, capfd, size):
    header = size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + png(waves(4, 4))[33:])
    with pytest.raises(ImageError, match=rf"a\.png: is a PNG that says it has {size[0]} x {size[1]} pixels"):
        read_image(tmp_path / "a.png")
    assert capfd.readouterr().err == ""


def originals(folder):
    """A file of each kind."""
    settings = {"icc_profile": SRGB, "exif": exif(6)}
    yield saved(folder / "0.png", waves(20, 24), **settings)
    yield saved(folder / "1.jpg", waves(20, 24), **settings)
    yield saved(folder / "2.webp", waves(20, 24), lossless=True, **settings)
    yield saved(folder / "3.tif", waves(20, 24), compression="tiff_lzw", icc_profile=SRGB)
    yield animation(folder / "4.gif")
    yield animation(folder / "5.webp", alpha=True, lossless=True)
    yield animation(folder / "6.png")
    yield saved(folder / "7.avif", waves(20, 24))
    yield saved(folder / "8.bmp", waves(20, 24))
    first, *others = frames(3)
    yield saved(folder / "9.tif", first, save_all=True, append_images=others)


def campaign(folder, count, seed):
    """Damaged pictures are read, or refused in one line that begins with the name; how many were read."""
    rng, read = random.Random(seed), 0
    whole = [(path.suffix, path.read_bytes()) for path in originals(folder)]
    for index in range(count):
        suffix, data = whole[index % len(whole)]
        data = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(data) if rng.random() < 0.5 else min(len(data), 200))
            data[at] = rng.choice([0, 255, data[at] ^ 1 << rng.randrange(8), rng.randrange(256)])
        if rng.random() < 0.1:
            del data[rng.randrange(len(data)) :]
        path = folder / f"damaged{suffix}"
        path.write_bytes(bytes(data))
        try:
            file = read_picture_file(path)
            assert all(picture.pixels.shape[2] == 3 for picture in file.frames)
            read += 1
        except ImageError as error:
            assert str(error).startswith(f"{path}: "), error
            assert "\n" not in str(error), error
    return read


def test_damaged_pictures_are_read_or_refused_by_name(tmp_path, capfd):
    assert 0 < campaign(tmp_path, 200, seed=1) < 200
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_many_damaged_pictures_are_read_or_refused_by_name(tmp_path, capfd):
    assert 0 < campaign(tmp_path, 8000, seed=2) < 8000
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_grey_level_that_is_transparent_stays_so(tmp_path, depth):
    """PNG of every depth with a tRNS chunk, written by hand: of two pixels the second is clear."""
    most = 2**depth - 1
    row = {1: b"\x80", 2: b"\xc0", 4: b"\xf0", 8: b"\xff\x00", 16: b"\xff\xff\x00\x00"}[depth]

    def chunk(name, content):
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    def stored(clear):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, depth, 0, 0, 0, 0))
        trns = chunk(b"tRNS", struct.pack(">H", clear))
        data = (
            b"\x89PNG\r\n\x1a\n"
            + header
            + trns
            + chunk(b"IDAT", zlib.compress(b"\0" + row))
            + chunk(b"IEND", b"")
        )
        path = tmp_path / "a.png"
        path.write_bytes(data)
        return read_picture(path)

    white = 65535 if depth == 16 else 255
    assert stored(0).alpha.tolist() == [[white, 0]]
    assert stored(most).alpha.tolist() == [[0, white]]
    assert stored(most).pixels.tolist() == [[[white] * 3, [0] * 3]]
    assert not stored(0).grey  # two channels are written in no format
