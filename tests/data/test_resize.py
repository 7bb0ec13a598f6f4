"""Our bicubic is MATLAB's: the benchmarks' own LR images and published PSNR say so."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from traiNNer.data.images.resize import imresize, shrink


def _rgb(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _luma(rgb: np.ndarray) -> np.ndarray:
    return 16 + rgb.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255


def _psnr(a: np.ndarray, b: np.ndarray, crop: int) -> float:
    difference = (a - b)[crop:-crop, crop:-crop]
    return float(10 * np.log10(255**2 / np.mean(difference**2)))


def _set5(data_root: Path, scale: int):
    for low in sorted((data_root / f"bench/Set5/LRx{scale}").iterdir()):
        lq, gt = _rgb(low), _rgb(data_root / "bench/Set5/HR" / low.name)
        yield lq, gt[: lq.shape[0] * scale, : lq.shape[1] * scale]


@pytest.mark.parametrize("folder", ["Set5", "Set14"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_benchmarks_lr_images_are_reproduced_bit_for_bit(data_root, folder, scale):
    names = sorted(p.name for p in (data_root / f"bench/{folder}/LRx{scale}").iterdir())
    assert len(names) == {"Set5": 5, "Set14": 14}[folder]
    for name in names:
        lq = _rgb(data_root / f"bench/{folder}/LRx{scale}" / name)
        gt = _rgb(data_root / f"bench/{folder}/HR" / name)[: lq.shape[0] * scale, : lq.shape[1] * scale]
        np.testing.assert_array_equal(imresize(gt, 1 / scale), lq, err_msg=name)


def test_enlarged_set5_has_the_recorded_psnr_with_and_without_rounding_luma(data_root):
    pairs = [(imresize(lq, 2), gt) for lq, gt in _set5(data_root, 2)]
    unrounded = np.mean([_psnr(_luma(up), _luma(gt), 2) for up, gt in pairs])
    rounded = np.mean([_psnr(_luma(up).round(), _luma(gt).round(), 2) for up, gt in pairs])
    assert unrounded == pytest.approx(33.673, abs=0.001)
    assert rounded == pytest.approx(33.640, abs=0.001)


@pytest.mark.parametrize(("scale", "published"), [(2, 33.661), (3, 30.392), (4, 28.421)])
def test_floats_down_and_up_then_rounded_give_the_published_psnr_of_set5(data_root, scale, published):
    lumas = [_luma(gt).round() for _, gt in _set5(data_root, scale)]
    scores = [_psnr(imresize(imresize(y, 1 / scale), scale).round(), y, scale) for y in lumas]
    assert np.mean(scores) == pytest.approx(published, abs=0.003)


def test_bytes_and_words_are_rounded_between_the_passes_and_floats_never():
    noise = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)
    rows = imresize(noise.astype(np.float64), 0.5)
    assert not np.array_equal(np.floor(rows + 0.5), imresize(noise, 0.5)), "one rounding instead of two"
    assert np.abs(rows - imresize(noise, 0.5)).max() < 1.5
    ink = np.zeros((8, 8))
    ink[:, 4:] = 1.0
    assert imresize(ink, 2.0).min() < 0 and imresize(ink, 2.0).max() > 1, "overshoot was clipped"
    words = imresize(noise.astype(np.uint16) * 257, 0.5)
    assert words.dtype == np.uint16
    np.testing.assert_allclose(words / 257, np.clip(rows, 0, 255), atol=0.01)


def test_halves_are_rounded_up():
    edge = np.array([[0] * 6 + [1] * 6], np.uint8).repeat(12, axis=0)  # means 0.5, which rint would make 0
    np.testing.assert_array_equal(imresize(edge, 1 / 12), [[1]])


@pytest.mark.parametrize("scale", [0.25, 1 / 3, 0.5, 0.75, 1.0, 1.5, 2, 3])
def test_an_even_image_stays_even_and_mirroring_the_input_mirrors_the_output(scale):
    np.testing.assert_array_equal(np.unique(imresize(np.full((17, 23, 3), 77, np.uint8), scale)), [77])
    image = np.random.default_rng(1).random((24, 36))
    mirrored = imresize(image[::-1, ::-1], scale)[::-1, ::-1]
    np.testing.assert_allclose(mirrored, imresize(image, scale), atol=1e-12)
    np.testing.assert_allclose(imresize(image.T, scale), imresize(image, scale).T, atol=1e-12)


def test_sizes_are_rounded_up_and_grey_equals_a_channel_of_colour():
    image = np.random.default_rng(2).integers(0, 65536, (35, 50, 3), dtype=np.uint16)
    assert imresize(image, 1 / 5).shape == (7, 10, 3)
    assert imresize(image, 1 / 3).shape == (12, 17, 3)
    np.testing.assert_array_equal(imresize(image[..., 1], 0.5), imresize(image, 0.5)[..., 1])
    assert imresize(image, 0.5).flags.c_contiguous
    np.testing.assert_array_equal(imresize(image, 1.0), image)


def test_ground_truth_is_cut_to_a_multiple_before_it_is_shrunk():
    image = np.random.default_rng(3).integers(0, 256, (14, 17, 3), dtype=np.uint8)
    np.testing.assert_array_equal(shrink(image, 4), imresize(image[:12, :16], 1 / 4))
    with pytest.raises(ValueError, match="non-empty"):
        shrink(image, 15)


@pytest.mark.parametrize(
    ("image", "scale"),
    [
        (np.zeros((4, 4), np.int32), 2),
        (np.zeros(4, np.uint8), 2),
        (np.zeros((0, 4), np.uint8), 2),
        (np.zeros((4, 4), np.uint8), 0),
    ],
)
def test_what_cannot_be_resized_is_refused(image, scale):
    with pytest.raises(ValueError, match=r"imresize takes|scale should be"):
        imresize(image, scale)
