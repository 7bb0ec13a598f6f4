"""Formulas that stand in more than one room are one formula (decision 43)."""

import numpy as np
import pytest
import torch

from traiNNer.archs import munet
from traiNNer.archs.paragonsr2 import resampler
from traiNNer.data.degradations import chroma
from traiNNer.data.images import resize
from traiNNer.losses import LOSSES, LossInputs, colour, consistency, edges
from traiNNer.metrics import ssim
from traiNNer.training import structure


def test_keys_cubic_is_one_kernel():
    places = np.linspace(-3, 3, 1201)
    exact = resize._cubic(places)
    for own in (consistency._cubic, resampler._keys):
        np.testing.assert_allclose(own(torch.from_numpy(places)).numpy(), exact, atol=1e-14)


def test_luma_has_one_set_of_weights():
    assert munet.LUMA == colour._Y == tuple(chroma._TO_YCC[0])


def test_the_sobel_ratio_of_validation_and_the_edge_loss_take_the_same_slopes():
    image = torch.rand(1, 1, 9, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    inner = edges._sobel(image)[:, :, 1:-1, 1:-1]
    kernel = structure._sobel(torch.device("cpu"), torch.float64)
    torch.testing.assert_close(torch.nn.functional.conv2d(image, kernel), inner)


@pytest.mark.parametrize("seed", range(3))
def test_the_ssim_loss_of_the_channels_is_one_minus_the_metric(seed):
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randint(0, 256, (2, 3, 24, 20), generator=generator).double() / 255 for _ in range(2))
    loss = LOSSES.build({"type": "SSIMLoss", "test_y_channel": False}).double()
    value = loss(LossInputs(a, b, b))
    assert value.item() == pytest.approx(1 - ssim(a, b).mean().item(), abs=1e-6)
