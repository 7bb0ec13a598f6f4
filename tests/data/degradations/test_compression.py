import io

import numpy as np
import pytest
from chains import draws, picture
from PIL import Image
from scipy import stats

from traiNNer.data.degradations.chroma import subsample_chroma, to_rgb, to_ycc
from traiNNer.data.degradations.compression import (
    SUBSAMPLINGS,
    CompressionSettings,
    compress,
    jpeg_bytes,
    webp_bytes,
)
from traiNNer.data.degradations.video import CODECS, video_frame

PILLOW = {"444": 0, "422": 1, "420": 2}


def through_pillow(image, **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, **options)
    file.seek(0)
    return np.asarray(Image.open(file).convert("RGB")).astype(float)


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((np.asarray(a, float) - b) ** 2))


@pytest.mark.parametrize("quality", [30, 60, 95])
@pytest.mark.parametrize("sampling", PILLOW)
def test_jpeg_is_that_of_libjpeg(quality, sampling):
    image = picture(97).astype(np.uint8)
    ours = jpeg_bytes(image, quality, sampling).astype(float)
    theirs = through_pillow(image, format="JPEG", quality=quality, subsampling=PILLOW[sampling])
    assert np.abs(ours - theirs).mean() < 0.5


@pytest.mark.parametrize("quality", [40, 90])
def test_webp_is_that_of_libwebp(quality):
    image = picture(97).astype(np.uint8)
    ours = webp_bytes(image, quality)
    theirs = through_pillow(image, format="WEBP", quality=quality)
    assert abs(psnr(ours, image) - psnr(theirs, image)) < 0.3


def test_quality_is_drawn_evenly_and_the_grid_begins_anywhere():
    settings = CompressionSettings(1.0, (30, 95))
    image = picture(16)
    drawn = [compress(image, settings, draws(position).stage(5))[1]["quality"] for position in range(10_000)]
    assert stats.kstest(drawn, stats.uniform(30, 65).cdf).statistic < 0.03
    edge = np.zeros((40, 40, 3), np.float32)
    edge[18:, 18:] = 255
    settings = CompressionSettings(1.0, (30, 30))
    results = {compress(edge, settings, draws(position).stage(5))[0].tobytes() for position in range(60)}
    assert len(results) > 30


def test_shares_of_formats():
    settings = CompressionSettings(1.0, (60, 60), webp_prob=0.3, subsamplings=("444", "420"))
    found = [compress(picture(16), settings, draws(position).stage(5))[1] for position in range(400)]
    assert 80 < sum(p["format"] == "webp" for p in found) < 160
    assert {p["chroma"] for p in found if p["format"] == "jpeg"} == {"444", "420"}


def test_last_rows_and_columns_are_as_good_as_the_others():
    """Real-ESRGAN's JPEG pads with black, which costs the last columns decibels."""
    settings = CompressionSettings(1.0, (40, 40))
    errors = np.zeros((75, 75))
    for position in range(60):
        image = picture(96, position % 12)[:75, :75]
        errors += ((compress(image, settings, draws(position).stage(5))[0] - image) ** 2).mean(2)
    assert errors[:, -3:].mean() < 1.15 * errors[:, 16:-16].mean()
    assert errors[-3:].mean() < 1.15 * errors[16:-16].mean()


@pytest.mark.parametrize("codec", CODECS)
def test_video_gets_better_with_quality_and_keeps_mean_and_place(codec):
    pytest.importorskip("av")
    image = picture(61)
    found = [video_frame(image, codec, quality) for quality in (0, 0.5, 1)]
    assert psnr(found[0], image) < psnr(found[1], image) < psnr(found[2], image)
    assert np.abs(found[2].mean((0, 1)) - image.mean((0, 1))).max() < 1
    assert found[2].shape == image.shape
    moved = [psnr(found[2][2:-2, 2:-2], np.roll(image, s, (0, 1))[2:-2, 2:-2]) for s in (-1, 0, 1)]
    assert moved[1] == max(moved)
    assert np.array_equal(video_frame(image, codec, 0.3), video_frame(image, codec, 0.3))


def test_luma_and_chroma_come_back():
    image = picture(32)
    np.testing.assert_allclose(to_rgb(to_ycc(image)), image, atol=1e-3)


@pytest.mark.parametrize("sampling", ["422", "420", "411", "410"])
@pytest.mark.parametrize("smooth", [False, True])
def test_subsampled_chroma_keeps_luma_and_mean(sampling, smooth):
    image = picture(33)
    lost = subsample_chroma(image, sampling, smooth=smooth)
    np.testing.assert_allclose(to_ycc(lost)[..., 0], to_ycc(image)[..., 0], atol=1e-2)
    assert np.abs(lost - image).max() > 1
    gray = np.repeat(image[..., :1], 3, 2)
    np.testing.assert_allclose(subsample_chroma(gray, sampling, smooth=smooth), gray, atol=1e-2)


def test_all_subsamplings_work():
    image = picture(40).astype(np.uint8)
    quality = [psnr(jpeg_bytes(image, 90, sampling), image) for sampling in SUBSAMPLINGS]
    assert quality[0] == max(quality)


def test_jpeg_leaves_the_borders_of_a_patch_as_good_as_its_middle():
    settings = CompressionSettings(1.0, (30, 30))
    image = np.full((40, 40, 3), 200, np.float32)
    for position in range(20):
        found, _ = compress(image, settings, draws(position).stage(5))
        assert np.abs(found - image).max() <= 3
