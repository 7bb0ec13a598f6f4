"""Networks that begin as a linear filter: what they compute before the first step, and that all of them learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.data import astronaut
from torch import nn

from traiNNer.archs import build_network
from traiNNer.archs.linear_start import upscaling_filters
from traiNNer.data.images.resize import imresize

NETWORKS: list[dict[str, Any]] = [
    {"type": "compact", "num_feat": 8, "num_conv": 2},
    {"type": "compact", "num_feat": 8, "num_conv": 2, "act_type": "relu"},
    {"type": "compact", "num_feat": 4, "num_conv": 1, "num_in_ch": 1, "num_out_ch": 1},
    {"type": "span", "feature_channels": 8},
    {"type": "span", "feature_channels": 8, "norm": False},
]


def network(spec: dict[str, Any], scale: int) -> nn.Module:
    torch.manual_seed(0)
    return build_network({**spec, "scale": scale, "linear_start": True})


def filtered(image: torch.Tensor, scale: int) -> torch.Tensor:
    """The filters applied by themselves."""
    channels = image.shape[1]
    kernels = upscaling_filters(scale)[:, None].repeat(channels, 1, 1, 1)
    return F.pixel_shuffle(F.conv2d(image, kernels, groups=channels), scale)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("spec", NETWORKS, ids=str)
def test_before_the_first_step_the_network_is_the_filter(spec: dict[str, Any], scale: int) -> None:
    image = torch.rand(1, spec.get("num_in_ch", 3), 9, 10)
    inside = network(spec, scale)(image)[..., scale:-scale, scale:-scale]
    torch.testing.assert_close(inside, filtered(image, scale), atol=1e-5, rtol=0)


@pytest.mark.parametrize("spec", NETWORKS, ids=str)
def test_every_weight_learns_within_three_steps(spec: dict[str, Any]) -> None:
    net = network(spec, 2)
    optimizer = torch.optim.SGD(net.parameters(), 1e-3)
    before = {
        name: weight.detach().clone() for name, weight in net.named_parameters() if weight.requires_grad
    }
    for _ in range(3):
        optimizer.zero_grad()
        net(torch.rand(2, spec.get("num_in_ch", 3), 8, 8)).square().sum().backward()
        optimizer.step()
    still = [name for name, weight in net.named_parameters() if name in before and weight.equal(before[name])]
    assert still == []


@pytest.mark.parametrize(("scale", "gain"), [(2, 0.5), (3, 0.2), (4, 0.2)])
def test_on_a_photograph_the_filters_are_ahead_of_bicubic_upscaling(scale: int, gain: float) -> None:
    hr = astronaut()[: 500 // scale * scale, : 500 // scale * scale].astype(np.float64) / 255
    lq = imresize(hr, 1 / scale)
    planes = F.pad(torch.from_numpy(lq).float().permute(2, 0, 1)[None], (1, 1, 1, 1), mode="replicate")
    ours = filtered(planes, scale)[0].permute(1, 2, 0).numpy()
    edge = slice(4 * scale, -4 * scale)
    errors = [np.square((image - hr)[edge, edge]).mean() for image in (ours, imresize(lq, scale))]
    assert 10 * np.log10(errors[1] / errors[0]) > gain
