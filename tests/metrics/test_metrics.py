import math
import time

import cv2
import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from traiNNer.data.images.resize import imresize
from traiNNer.metrics import METRICS, psnr, ssim
from traiNNer.registry import ConfigError

PUBLISHED = {2: (38.274, 0.9614), 3: (34.742, 0.9299), 4: (32.634, 0.9002)}  # RCAN, Set5, luma


def read(path):
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return torch.from_numpy(bgr[:, :, ::-1].copy()).permute(2, 0, 1)[None].float() / 255


def pair(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    gt = torch.randint(0, 256, shape, generator=generator) / 255
    return (gt + 0.1 * torch.randn(shape, generator=generator)).clamp(0, 1), gt


@pytest.mark.parametrize("scale", PUBLISHED)
def test_rcan_outputs_score_as_published(data_root, scale):
    outputs = sorted((data_root / "oracle" / f"RCAN_Set5_x{scale}").glob("*.png"))
    assert len(outputs) == 5
    scores = []
    for path in outputs:
        sr = read(path)
        gt = read(data_root / "bench/Set5/HR" / path.name)[:, :, : sr.shape[2], : sr.shape[3]]
        settings = {"crop_border": scale, "y_channel": True}
        scores.append((psnr(sr, gt, **settings).item(), ssim(sr, gt, **settings).item()))
    decibels, similarity = np.mean(scores, axis=0)
    assert decibels == pytest.approx(PUBLISHED[scale][0], abs=0.0015)
    assert similarity == pytest.approx(PUBLISHED[scale][1], abs=0.00006)


def test_ssim_equals_skimage_on_a_photograph(photographs):
    coarse = imresize(imresize(photographs[0], 1 / 2), 2)
    sr, gt = (torch.from_numpy(x).permute(2, 0, 1)[None].float() / 255 for x in (coarse, photographs[0]))
    a, b = ((255 * image[0]).round().double().numpy() for image in (sr, gt))
    _, similarity = structural_similarity(
        a, b, channel_axis=0, data_range=255, gaussian_weights=True, use_sample_covariance=False, full=True
    )
    assert ssim(sr, gt).item() == pytest.approx(similarity[:, 5:-5, 5:-5].mean(), abs=1e-10)


def test_psnr_of_a_known_error():
    gt = torch.full((2, 3, 8, 8), 100 / 255)
    sr = torch.stack((gt[0] + 5 / 255, gt[1] - 51 / 255))
    assert psnr(sr, gt).tolist() == pytest.approx([20 * math.log10(255 / 5), 20 * math.log10(5)], abs=1e-12)


def test_luma_of_a_grey_error_is_219_parts_of_255():
    gt = torch.full((1, 3, 8, 8), 100 / 255)
    expected = 20 * math.log10(255 / (5 * 219 / 255))
    assert psnr(gt + 5 / 255, gt, y_channel=True).item() == pytest.approx(expected, abs=1e-12)


def test_ssim_of_two_constants_is_its_luminance_term():
    a, b = 50.0, 100.0
    c1 = (0.01 * 255) ** 2
    expected = (2 * a * b + c1) / (a * a + b * b + c1)
    score = ssim(torch.full((1, 3, 16, 12), a / 255), torch.full((1, 3, 16, 12), b / 255))
    assert score.item() == pytest.approx(expected, abs=1e-9)


RANDOM = {"pretrained": False}  # there may be no file of weights
NEEDED = {"lpips": RANDOM, "lpips_vgg": RANDOM, "dists": RANDOM}
SMALLEST = {"lpips": 31, "lpips_vgg": 16, "dists": 16, "niqe": 192}
WITH_GROUND_TRUTH = [name for name in METRICS.names() if name != "niqe"]
BEST = {"psnr": 10 * math.log10(255**2 * 12), "ssim": 1.0}  # all others are distances


def build(name, **options):
    return METRICS.build({"type": name, **NEEDED.get(name, {}), **options})


def pair_for(name, n, height, width, border=0):
    """A pair of these sides, or of the smallest that the metric takes once the border is gone."""
    least = SMALLEST.get(name, 1) + 2 * border
    return pair(n, 3, max(height, least), max(width, least))


@pytest.mark.parametrize("name", WITH_GROUND_TRUTH)
class TestEveryMetricWithGroundTruth:
    def test_prefers_the_smaller_error_in_its_direction(self, name):
        metric = build(name)
        sr, gt = pair_for(name, 1, 16, 16)
        worse, better = metric(sr, gt), metric(gt + 0.3 * (sr - gt), gt)
        assert (better > worse).item() is metric.higher_is_better

    def test_is_best_at_equality(self, name):
        best = BEST.get(name.removesuffix("_y"), 0.0)
        _, gt = pair_for(name, 2, 16, 16)
        assert build(name)(gt, gt).tolist() == pytest.approx([best, best], abs=1e-12)


@pytest.mark.parametrize("name", METRICS.names())
class TestEveryMetric:
    def test_scores_images_singly_as_in_a_batch(self, name):
        metric = build(name)
        sr, gt = pair_for(name, 3, 17, 23)
        scores = metric(sr, gt)
        assert scores.shape == (3,)
        assert scores.dtype == torch.float64
        assert scores.tolist() == [metric(sr[i : i + 1], gt[i : i + 1]).item() for i in range(3)]

    def test_ignores_the_border_it_is_told_to(self, name):
        metric = build(name, crop_border=3)
        sr, gt = pair_for(name, 1, 20, 20, border=3)
        other = torch.rand_like(sr)
        other[:, :, 3:-3, 3:-3] = sr[:, :, 3:-3, 3:-3]
        assert metric(other, gt) == metric(sr, gt)
        other[:, :, 3, 3] = 1 - sr[:, :, 3, 3]
        assert metric(other, gt) != metric(sr, gt)

    def test_sees_8_bits_between_0_and_1(self, name):
        metric = build(name)
        sr, gt = pair_for(name, 1, 16, 16)
        eight_bits = (sr.double() * 255).round() / 255
        assert metric(sr, gt) == metric(eight_bits, gt)
        assert metric(2 * sr - 0.5, gt) == metric((2 * sr - 0.5).clamp(0, 1), gt)

    def test_answers_nan_for_a_broken_image_only(self, name):
        sr, gt = pair_for(name, 2, 16, 16)
        sr[0, 0, 8, 8] = math.nan
        scores = build(name)(sr, gt)
        assert scores.isnan().tolist() == [True, False]

    def test_leaves_its_inputs_alone(self, name):
        sr, gt = pair_for(name, 1, 16, 16)
        before = sr.clone(), gt.clone()
        build(name)(sr, gt)
        assert torch.equal(sr, before[0])
        assert torch.equal(gt, before[1])

    def test_reads_nothing_back_to_the_host(self, name):
        meta = torch.empty(2, 3, 192, 192, device="meta")
        assert build(name)(meta, meta).device.type == "meta"

    def test_refuses_shapes_it_cannot_compare(self, name):
        metric = build(name, crop_border=2)
        with pytest.raises(ValueError, match="both images must be"):
            metric(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 17))
        with pytest.raises(ValueError, match="leaves nothing"):
            metric(torch.rand(1, 3, 4, 16), torch.rand(1, 3, 4, 16))


@pytest.mark.parametrize("function", [psnr, ssim])
def test_the_names_of_users_build_the_function(function):
    sr, gt = pair(1, 3, 24, 24)
    name = function.__name__
    metric = METRICS.build({"type": f"calculate_{name}", "crop_border": 2, "test_y_channel": True})
    expected = function(sr, gt, crop_border=2, y_channel=True)
    assert metric(sr, gt) == expected
    assert METRICS.build({"type": f"{name.upper()}_Y", "crop_border": 2})(sr, gt) == expected
    with pytest.raises(ConfigError, match="did you mean 'crop_border'"):
        METRICS.build({"type": name, "crop_boarder": 2})


def test_luma_needs_one_or_three_channels():
    with pytest.raises(ValueError, match="1 or 3 channels, not 2"):
        psnr(torch.rand(1, 2, 16, 16), torch.rand(1, 2, 16, 16), y_channel=True)


def test_ssim_refuses_images_smaller_than_its_window():
    with pytest.raises(ValueError, match="needs 11 pixels"):
        ssim(torch.rand(1, 3, 10, 30), torch.rand(1, 3, 10, 30))


def test_ssim_of_a_photograph_takes_less_than_a_third_of_a_second():
    sr, gt = pair(1, 3, 512, 768)
    ssim(sr, gt)
    runs = []
    for _ in range(3):
        start = time.process_time()
        ssim(sr, gt)
        runs.append(time.process_time() - start)
    assert min(runs) < 0.3
