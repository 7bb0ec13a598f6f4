"""What networks of one channel see, and the pictures that become of what they make."""

from __future__ import annotations

import pytest
import torch

from traiNNer.losses.colour import luma as weights_of_losses
from traiNNer.metrics import METRICS, psnr, ssim
from traiNNer.models.colour import Color, as_rgb, coloured, in_color
from traiNNer.models.precision import Precision

ONE: list[Color] = ["y", "grey"]


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    """(n, h, w, 3), 8 bits."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (*shape, 3), generator=generator, dtype=torch.uint8)


def seen(pixels: torch.Tensor, color: Color) -> torch.Tensor:
    return Precision(torch.device("cpu"), dtype=torch.float64, color=color).images(pixels)


def test_the_luma_of_a_data_set_is_that_of_the_metrics():
    """Scores of luma are the same, whether it is taken before the network or from the picture."""
    one, other = pixels(2, 24, 20), pixels(2, 24, 20, seed=1)
    for score in (psnr, ssim):
        of_pictures = score(seen(one, "rgb"), seen(other, "rgb"), crop_border=2, y_channel=True)
        of_planes = score(seen(one, "y"), seen(other, "y"), crop_border=2, y_channel=True)
        torch.testing.assert_close(of_planes, of_pictures, atol=1e-9, rtol=0)
    assert seen(pixels(1, 4, 4), "y").shape == (1, 1, 4, 4)
    white, black = (
        torch.full((1, 1, 1, 3), 255, dtype=torch.uint8),
        torch.zeros(1, 1, 1, 3, dtype=torch.uint8),
    )
    for color, ends in (("y", (16 / 255, 235 / 255)), ("grey", (0, 1))):
        assert (seen(black, color).item(), seen(white, color).item()) == pytest.approx(ends, abs=1e-12)


def test_grey_is_the_brightness_of_the_losses():
    rgb = seen(pixels(1, 8, 8), "rgb")
    torch.testing.assert_close(in_color(rgb, "grey"), weights_of_losses(rgb), atol=1e-9, rtol=0)
    plane = in_color(rgb, "grey")
    assert weights_of_losses(plane) is plane


@pytest.mark.parametrize("color", ONE)
def test_a_picture_has_the_brightness_of_the_network_and_the_colours_of_bicubic(color: Color):
    lq = 0.4 + 0.2 * seen(pixels(1, 12, 10), "rgb")
    bicubic = torch.nn.functional.interpolate(lq, (24, 20), mode="bicubic", antialias=True)
    made = in_color(0.45 + 0.1 * seen(pixels(1, 24, 20, seed=1), "rgb"), color)
    picture = coloured(made, lq, color)
    torch.testing.assert_close(in_color(picture, color), made, atol=1e-9, rtol=0)
    chroma = [image - in_color(image, "grey") for image in (picture, bicubic)]
    torch.testing.assert_close(*chroma, atol=1e-9, rtol=0)
    grey = lq[:, :1].expand(-1, 3, -1, -1)
    assert coloured(made, grey, color).std(1).max() < 1e-9  # no colour where there was none
    torch.testing.assert_close(coloured(made, grey, color), as_rgb(made, color), atol=1e-9, rtol=0)


def test_metrics_that_look_at_pictures_take_planes_too():
    plane = seen(pixels(1, 200, 200), "y")
    lpips = METRICS.build({"type": "lpips", "pretrained": False, "crop_border": 0})
    assert lpips(plane, plane).item() == 0
    assert METRICS.build({"type": "niqe", "crop_border": 0})(plane, plane).item() > 0
