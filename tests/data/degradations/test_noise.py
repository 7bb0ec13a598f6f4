import math

import numpy as np
import pytest
from chains import draws, picture
from scipy import stats

from traiNNer.data.degradations.noise import NoiseSettings, add_noise, normal_table, poisson_table

GAUSSIAN = NoiseSettings(1.0, (10, 10), (0, 0), 0.0)
POISSON = NoiseSettings(0.0, (0, 0), (1, 1), 0.0)


def flat(level, size=128):
    return np.full((size, size, 3), level, np.float32)


def noisy(image, settings, position=0):
    return add_noise(image, settings, draws(position).stage(4))[0]


def test_quantiles_are_those_of_scipy():
    table = normal_table()
    expected = stats.norm.ppf((np.arange(65536) + 0.5) / 65536)
    assert table.std() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(table, expected, atol=1e-3)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("quanta", [1, 16, 256])
def test_counts_have_mean_and_variance_of_poisson(quanta, symmetric):
    table = poisson_table(quanta, symmetric=symmetric).reshape(256, -1).astype(np.float64)
    expected = np.arange(256) * quanta / 255
    np.testing.assert_allclose(table.mean(1), 0, atol=1e-3 * 255 / quanta)
    np.testing.assert_allclose(table.var(1), expected * (255 / quanta) ** 2, rtol=1e-4)
    if symmetric:
        np.testing.assert_allclose(table, -table[:, ::-1], atol=1e-3)


def test_counts_are_distributed_as_poisson():
    table = poisson_table(256, symmetric=False).reshape(256, -1).astype(np.float64)
    for level in (1, 5, 40, 200, 255):
        expected = level * 256 / 255
        counts = np.rint(table[level] * 256 / 255 + expected)
        found = np.bincount(counts.astype(int), minlength=400)[:400] / table.shape[1]
        assert np.abs(np.cumsum(found) - stats.poisson.cdf(np.arange(400), expected)).max() < 0.01


def test_gaussian_noise_has_its_sigma():
    noise = noisy(flat(127), GAUSSIAN) - 127
    assert noise.std() == pytest.approx(10, rel=0.01)
    assert stats.kstest(noise[::5, ::5].ravel() / 10, "norm").pvalue > 1e-3


@pytest.mark.parametrize("level", [30, 127, 200])
@pytest.mark.parametrize("keep", [False, True])
def test_poisson_noise_has_the_variance_of_counting(level, keep):
    settings = NoiseSettings(0.0, (0, 0), (0.5, 0.5), 0.0, keep_mean=keep)
    noise = noisy(flat(level), settings) - level
    assert noise.var() == pytest.approx(0.25 * level * 255 / 256, rel=0.03)


@pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
@pytest.mark.parametrize("settings", [GAUSSIAN, POISSON, NoiseSettings(0.5, (1, 30), (0.05, 3), 0.4)])
def test_noise_keeps_the_mean(level, settings):
    means = [noisy(flat(level, 64), settings, position).mean() for position in range(40)]
    assert abs(np.mean(means) - level) < 0.1


def test_clipping_as_others_do_lifts_black_and_dims_white():
    settings = NoiseSettings(0.5, (1, 30), (0.05, 3), 0.4, keep_mean=False)
    means = [
        np.mean([noisy(flat(level, 32), settings, position).mean() for position in range(200)]) - level
        for level in (0, 255)
    ]
    assert means[0] > 2 and means[1] < -5


def test_gray_noise_is_the_same_in_all_channels():
    for settings in (GAUSSIAN, POISSON):
        gray = NoiseSettings(settings.gaussian_prob, settings.sigma, settings.poisson_scale, 1.0)
        noise = noisy(flat(127), gray) - 127
        np.testing.assert_allclose(noise[..., 0], noise[..., 2], atol=1e-4)
        assert noise.std() > 1
        colour = noisy(flat(127), settings) - 127
        assert abs(np.corrcoef(colour[..., 0].ravel(), colour[..., 1].ravel())[0, 1]) < 0.03


def test_correlated_noise_depends_on_the_other_channels_and_keeps_its_sigma():
    settings = NoiseSettings(1.0, (10, 10), (0, 0), 0.0, correlated_prob=1.0)
    noise = [noisy(flat(127, 64), settings, position) - 127 for position in range(20)]
    correlations = [abs(np.corrcoef(n[..., 0].ravel(), n[..., 1].ravel())[0, 1]) for n in noise]
    assert np.median(correlations) > 0.15
    np.testing.assert_allclose([n.std(axis=(0, 1)) for n in noise], 10, rtol=0.06)


@pytest.mark.parametrize("distinct", [1, 2, 3, 8, 200])
def test_content_levels_follow_the_published_rule(distinct):
    image = (
        np.resize(np.linspace(0, 255, distinct).round(), 64 * 64 * 3).reshape(64, 64, 3).astype(np.float32)
    )
    settings = NoiseSettings(0.0, (0, 0), (1, 1), 0.0, content_levels=True)
    levels = add_noise(image, settings, draws(0).stage(4))[1]["levels"]
    assert levels == 2 ** math.ceil(math.log2(len(np.unique(image))))


def test_noise_stays_in_range_and_none_is_none():
    image = picture(64) * 1.2 - 20
    for position in range(20):
        out = noisy(image, NoiseSettings(0.5, (30, 30), (3, 3), 0.4), position)
        assert out.min() >= 0 and out.max() <= 255
    assert noisy(image, NoiseSettings(1, (0, 0), (0, 0), 0)) is image
