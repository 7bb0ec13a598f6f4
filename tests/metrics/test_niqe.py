"""NIQE of photographs: the figures of MATLAB and of BasicSR, and what it says about damage."""

import cv2
import pytest
import torch

from traiNNer.metrics import METRICS

# basicsr 1.4.2, calculate_niqe(image, crop_border=4, convert_to="y"). It computes in float32; see the tolerance
RECORDED = {
    "Set5/HR/baby": 3.3221, "Set5/HR/bird": 5.2831, "Set5/HR/butterfly": 5.2051, "Set5/HR/head": 8.7408,
    "Set5/HR/woman": 4.6352, "Set14/HR/comic": 4.3325, "Set14/HR/foreman": 5.9889, "Set14/HR/ppt3": 5.2231,
}  # fmt: skip
BABOON_BY_MATLAB = 5.72957338  # R2021a, the authors' release; recorded in the documentation of basicsr


def read(path):
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return torch.from_numpy(bgr[:, :, ::-1].copy()).permute(2, 0, 1)[None].double() / 255


def niqe(image, **options):
    return METRICS.build({"type": "niqe", **options})(image, image).item()


def test_baboon_scores_as_in_matlab(data_root):
    assert niqe(read(data_root / "bench/Set14/HR/baboon.png")) == pytest.approx(BABOON_BY_MATLAB, abs=2e-6)


@pytest.mark.parametrize("name", RECORDED)
def test_photographs_score_as_by_basicsr(data_root, name):
    score = niqe(read(data_root / f"bench/{name}.png"), crop_border=4)
    assert score == pytest.approx(RECORDED[name], abs=0.004)


def test_blur_and_noise_make_it_worse(photograph_files):
    image = read(photograph_files[1])
    blurred = torch.nn.functional.avg_pool2d(image, 5, stride=1, padding=2)
    noisy = image + 0.1 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    assert min(niqe(blurred), niqe(noisy)) > niqe(image) + 1


def test_ground_truth_does_not_matter():
    sr, gt = torch.rand(2, 1, 3, 192, 96, generator=torch.Generator().manual_seed(0))
    metric = METRICS.build({"type": "niqe"})
    assert metric(sr, gt) == metric(sr, sr)


def test_a_single_colour_is_no_photograph_but_a_part_of_one_may_be_even():
    image = torch.rand(1, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    image[..., :96, :96] = 0.5
    assert niqe(image) > 0
    assert torch.tensor(niqe(torch.full_like(image, 0.3))).isnan()


def test_images_of_one_block_are_refused():
    with pytest.raises(ValueError, match="NIQE needs 192 x 96 pixels"):
        niqe(torch.rand(1, 3, 191, 100))
