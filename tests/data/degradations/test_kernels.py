import cv2
import numpy as np
import pytest
import scipy.ndimage
import scipy.special
from chains import draws, picture
from scipy import stats

from traiNNer.data.degradations.blur import blur, sharpen
from traiNNer.data.degradations.kernels import (
    KERNELS,
    Kernel,
    KernelMix,
    draw_kernel,
    gaussian,
    low_pass,
    sinc,
)

MIX = KernelMix(KERNELS, (0.45, 0.25, 0.12, 0.03, 0.12, 0.03), (7, 21), (0.2, 3), (0.5, 4), (1, 2), 0.1)


def test_a_round_gaussian_is_that_of_scipy():
    impulse = np.zeros((21, 21))
    impulse[10, 10] = 1
    expected = scipy.ndimage.gaussian_filter(impulse, 1.7, truncate=10)
    np.testing.assert_allclose(gaussian(21, (1.7, 1.7)), expected / expected.sum(), atol=1e-9)


def test_an_oblong_gaussian_has_its_covariance():
    angle, sigma = 0.7, (2.4, 1.1)
    weights = gaussian(41, sigma, angle, "aniso")
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    expected = turn @ np.diag(np.square(sigma)) @ turn.T
    x, y = np.arange(41) - 20, (np.arange(41) - 20)[:, None]
    found = [[(weights * a * b).sum() for a in (x, y)] for b in (x, y)]
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("kind", KERNELS)
def test_kernels_add_up_to_one_and_are_point_symmetric(kind):
    weights = gaussian(15, (2.0, 1.2), 0.4, kind, 1.6)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-12)


def test_exponents_make_them_pointed_or_flat():
    middle = [gaussian(21, (2, 2), 0, kind, beta)[10, 8:13] for kind, beta in
              (("generalized_iso", 0.6), ("iso", 1), ("generalized_iso", 3))]  # fmt: skip
    ratios = [row[0] / row[2] for row in middle]
    assert ratios == sorted(ratios)
    q = np.hypot(*np.meshgrid(np.arange(-7, 8), np.arange(-7, 8))) ** 2 / 4
    np.testing.assert_allclose(
        gaussian(15, (2, 2), 0, "plateau_iso", 1.5), (w := 1 / (1 + q**1.5)) / w.sum(), atol=1e-12
    )


def test_the_low_pass_filter_is_that_of_bessel():
    radius = np.hypot(*np.meshgrid(np.arange(-6, 7), np.arange(-6, 7)))
    with np.errstate(invalid="ignore"):
        expected = 2.0 * scipy.special.j1(2.0 * radius) / (2 * np.pi * radius)
    expected[6, 6] = 4.0 / (4 * np.pi)
    np.testing.assert_allclose(sinc(13, 2.0), expected / expected.sum(), atol=1e-8)


def test_ten_thousand_kernels_are_drawn_as_the_mix_says():
    drawn = [draw_kernel(MIX, draws(position).stage(2)).parameters for position in range(10_000)]
    low = [p for p in drawn if p["kernel"] == "sinc"]
    others = [p for p in drawn if p["kernel"] != "sinc"]
    assert stats.binomtest(len(low), 10_000, 0.1).pvalue > 1e-3
    counts = [sum(p["kernel"] == kind for p in others) for kind in KERNELS]
    assert stats.chisquare(counts, np.array(MIX.weights) * len(others)).pvalue > 1e-3
    sizes = np.bincount([p["size"] for p in drawn])
    assert set(np.flatnonzero(sizes)) == set(range(7, 22, 2))
    assert stats.chisquare(sizes[7::2]).pvalue > 1e-3
    sigma = [p["sigma"] for p in others if p["kernel"] == "iso"]
    assert stats.kstest(sigma, stats.uniform(0.2, 2.8).cdf).pvalue > 1e-3
    beta = [p["beta"] for p in others if p["kernel"] == "generalized_iso"]
    assert stats.binomtest(sum(b < 1 for b in beta), len(beta)).pvalue > 1e-3
    assert min(beta) >= 0.5 and max(beta) <= 4
    for wide, least in ((False, np.pi / 3), (True, np.pi / 5)):
        cutoff = [p["cutoff"] for p in low if (p["size"] >= 13) == wide]
        assert stats.kstest(cutoff, stats.uniform(least, np.pi - least).cdf).pvalue > 1e-3


@pytest.mark.parametrize("size", [3, 7, 11, 13, 21])
@pytest.mark.parametrize("side", [40, 150])
def test_every_way_of_blurring_gives_the_same_image(size, side):
    image = picture(side)
    weights = gaussian(size, (2.5, 1.0), 0.5, "aniso").astype(np.float32)
    expected = scipy.ndimage.correlate(image, weights[..., None], mode="mirror")
    np.testing.assert_allclose(blur(image, Kernel(weights, None, {})), expected, atol=0.02)


def test_a_separable_kernel_is_applied_as_such():
    image = picture(64)
    kernel = next(
        k for p in range(99) if (k := draw_kernel(MIX, draws(p).stage(2))).row is not None and len(k.row) > 5
    )
    np.testing.assert_allclose(blur(image, kernel), blur(image, kernel._replace(row=None)), atol=1e-3)


def test_cutting_the_rim_of_a_kernel_changes_next_to_nothing():
    image = picture(64)
    full = gaussian(21, (0.9, 0.9)).astype(np.float32)
    mix = KernelMix(("iso",), (1,), (21, 21), (0.9, 0.9), (1, 1), (1, 1), 0)
    kernel = draw_kernel(mix, draws(0).stage(2))
    assert len(kernel.weights) < 9
    assert (
        np.abs(blur(image, kernel) - cv2.filter2D(image, -1, full, borderType=cv2.BORDER_REFLECT_101)).max()
        < 1
    )


def test_the_low_pass_filter_rings():
    edge = np.zeros((64, 64, 3), np.float32)
    edge[:, 32:] = 200
    assert blur(edge, low_pass(21, 1.2)).max() > 205


def test_sharpening_steepens_edges_and_leaves_flat_parts_alone():
    image = cv2.GaussianBlur(np.repeat(np.repeat([[50.0, 180.0]], 64, 0), 64, 1), (0, 0), 2)
    image = np.repeat(image[..., None], 3, 2).astype(np.float32)
    sharp = sharpen(image)
    assert np.diff(sharp[32, :, 0]).max() > 1.2 * np.diff(image[32, :, 0]).max()
    flat = np.full((64, 64, 3), 77, np.float32)
    np.testing.assert_allclose(sharpen(flat), flat, atol=1e-3)


def test_three_boxes_stand_for_the_gaussian():
    image = picture(160)
    residual = image - cv2.GaussianBlur(image, (51, 51), 8)
    soft = cv2.GaussianBlur((np.abs(residual) > 10).astype(np.float32), (51, 51), 8)
    expected = image + soft * (np.clip(image + 0.5 * residual, 0, 255) - image)
    assert np.abs(sharpen(image) - expected).mean() < 0.5
